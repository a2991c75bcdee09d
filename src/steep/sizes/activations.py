"""What the forward pass keeps for the backward pass, tensor by tensor.

Counted as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1), for what transformers' Llama, PEFT's adapters and
steep's attention compute; the tests compare it with what PyTorch holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steep.sizes.parameters import adapted_linears, prompted_layers, rank
from steep.sizes.shape import Linear, Shape

if TYPE_CHECKING:
    from steep.recipe import Recipe, Train

TEMPORARY = {"full": (6, 3), "lora": (5, 6), "dora": (13, 10), "adalora": (18, 10), "adaption-prompt": (6, 3)}
"""Bytes per token and unit of a layer's intermediate and hidden size that its backward pass needs beside what was kept,
in bfloat16; read off PyTorch."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How the numbers are held while a recipe trains."""

    half: bool
    """In bfloat16, or in float32."""
    autocast: bool
    """Weights and the residual stream in float32 or bfloat16, and products in bfloat16."""

    @classmethod
    def of(cls, recipe: Recipe, *, cuda: bool) -> Arithmetic:
        half = recipe.train.dtype != "float32"
        return cls(half, half and (cuda or recipe.train.mixed))

    @property
    def size(self) -> int:
        return 2 if self.half else 4


def layer_activations(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """Bytes per token that one decoder layer keeps.

    Norms keep their input in float32, and what they scale where their weight is trained. Attention keeps queries, keys,
    values and its output, and a float32 per head. The MLP keeps gate, up and the activated gate.
    """
    train, numbers = recipe.train, Arithmetic.of(recipe, cuda=cuda)
    query, key = (shape.linears[index].outputs for index in (0, 1))
    norms = 8 * shape.hidden_size + 8 + (8 * shape.hidden_size if train.method == "full" else 0)
    attention = (2 * query + 2 * key) * numbers.size + 4 * shape.num_attention_heads
    mlp = 3 * shape.intermediate_size * numbers.size
    return norms + attention + mlp + _inputs(shape, recipe, cuda=cuda) + _beside(shape, recipe, numbers)


def _inputs(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """The inputs of trained layers.

    Each layer keeps a copy of its own where its input has to be cast: by autocast, or because PEFT casts it to the
    adapter's float32. Otherwise those that read the same tensor keep it once, and that of attention is kept anyway.
    """
    train, numbers = recipe.train, Arithmetic.of(recipe, cuda=cuda)
    trained = list(shape.linears) if train.method == "full" else list(dict.fromkeys(adapted_linears(shape, train)))
    quantized = recipe.model.quantization != "none"
    if recipe.model.quantization == "int8":
        if cuda:
            return rounded_inputs(shape)
        trained = list(shape.linears)
    if train.shares_inputs(recipe.model.quantization) or not numbers.half or (quantized and numbers.autocast):
        mask = 1 if train.adapter and train.adapter.dropout else 0
        return _once(trained) * (numbers.size * (1 + mask) + mask)
    if train.method == "full":
        copied = [one for one in trained if one.source in ("attention", "mlp")]
        return (sum(one.inputs for one in copied) + shape.intermediate_size) * 2
    copy = 2 if numbers.autocast else 4
    mask = 1 if train.adapter and train.adapter.dropout else 0
    return sum(one.inputs for one in trained) * (copy + mask)


def rounded_inputs(shape: Shape) -> int:
    """Bytes per token that bitsandbytes' int8 layers keep of their inputs, each a float16 copy of its own; they do so
    behind the back of checkpointing, which therefore saves little beside int8 weights."""
    return 2 * sum(one.inputs for one in shape.linears)


def _once(linears: list[Linear]) -> int:
    return sum({one.source: one.inputs for one in linears if one.source != "attended"}.values())


def _beside(shape: Shape, recipe: Recipe, numbers: Arithmetic) -> float:
    """What an adapter's own arithmetic keeps: the low-rank product's middle; DoRA also both terms of its sum, AdaLoRA
    the product, which it divides by its rank; an adaption prompt the query and its scores."""
    train, kept = recipe.train, 2 if numbers.autocast or not numbers.half else 4
    kept = 4 if not numbers.half else kept
    if train.method == "adaption-prompt":
        scores = shape.num_attention_heads * train.adaption_prompt.adapter_len
        return shape.linears[0].outputs * numbers.size + scores * (4 + 2 * numbers.size)
    linears = list(dict.fromkeys(adapted_linears(shape, train)))
    outputs = sum(one.outputs for one in linears)
    terms = 1 if train.method == "adalora" else 2 if train.method == "lora" and train.lora.use_dora else 0
    return len(linears) * rank(train) * kept + terms * outputs * kept


def kept_activations(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """Bytes per token that all layers keep, with the angles of the positions; checkpointed layers keep their input."""
    train, numbers = recipe.train, Arithmetic.of(recipe, cuda=cuda)
    angles = 2 * shape.head_dim * _stream(train, numbers)
    again = _inputs_of_layers(shape, recipe, cuda=cuda)
    if train.checkpointed == 1:
        return again + angles
    return train.checkpointed * again + (1 - train.checkpointed) * _everything(shape, recipe, cuda=cuda) + angles


def _stream(train: Train, numbers: Arithmetic) -> int:
    return 4 if train.method == "full" else numbers.size


def _inputs_of_layers(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """What checkpointed layers keep; offloaded ones on the host, but for two that are on their way."""
    train = recipe.train
    rounded = rounded_inputs(shape) if recipe.model.quantization == "int8" and cuda else 0
    here = 2 if train.gradient_checkpointing == "offloaded" and cuda else shape.num_hidden_layers
    stream = here * shape.hidden_size * _stream(train, Arithmetic.of(recipe, cuda=cuda))
    return stream + shape.num_hidden_layers * rounded


def _everything(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    train, numbers = recipe.train, Arithmetic.of(recipe, cuda=cuda)
    layer = layer_activations(shape, recipe, cuda=cuda)
    if train.method == "full":
        return shape.num_hidden_layers * layer
    if train.method == "adaption-prompt":  # nothing below the first prompt has a gradient, nor its layer's attention
        attention = layer - _beside(shape, recipe, numbers) - 3 * shape.intermediate_size * numbers.size
        return prompted_layers(shape, train) * layer - attention + 4 * shape.hidden_size + 4
    return shape.num_hidden_layers * layer - 4 * shape.hidden_size  # the first norm's input has no gradient


def backward_activations(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """Bytes per token that the backward pass of one layer needs beside what is kept."""
    train = recipe.train
    name = "dora" if train.method == "lora" and train.lora.use_dora else train.method
    wide, narrow = TEMPORARY[name]
    needed = (wide * shape.intermediate_size + narrow * shape.hidden_size) * (1 if train.dtype != "float32" else 1.5)
    return needed + (layer_activations(shape, recipe, cuda=cuda) if train.checkpointed else 0)


def dora_bytes(shape: Shape, recipe: Recipe) -> float:
    """What PEFT needs to measure the columns of one adapted weight, whatever the batch: a unit matrix that is sent
    through the adapter, the product, the weight in float32 and their sum."""
    train = recipe.train
    if train.method != "lora" or not train.lora.use_dora:
        return 0
    return max((2 * one.inputs**2 + 18 * one.inputs * one.outputs for one in adapted_linears(shape, train)), default=0)

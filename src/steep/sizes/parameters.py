"""How many numbers a method trains, and in how many bytes the others are kept."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from steep.sizes.shape import Linear, Shape, adapted

if TYPE_CHECKING:
    from steep.recipe import Model, Train

NF4_BLOCK, CONSTANTS_BLOCK = 64, 256
"""Weights that share a constant, and constants that share one when they are quantised as well (bitsandbytes)."""


def trainable_parameters(shape: Shape, train: Train, added_tokens: int = 0) -> int:
    """How many numbers are trained: exactly what PEFT makes; of new tokens only the rows of the embeddings."""
    matrices = 1 if shape.tie_word_embeddings else 2
    added = added_tokens * shape.hidden_size * matrices
    if train.method == "full":
        return shape.parameters + added
    if train.method == "adaption-prompt":  # prompts and one gate in each layer
        return prompted_layers(shape, train) * (train.adaption_prompt.adapter_len * shape.hidden_size + 1)
    return sum(_adapter(train, one) for one in adapted_linears(shape, train)) + added


def _adapter(train: Train, linear: Linear) -> int:
    """LoRA's two matrices, and DoRA's lengths; AdaLoRA has a singular value for each rank as well."""
    both = rank(train) * (linear.inputs + linear.outputs)
    if train.method == "adalora":
        return both + rank(train)
    return both + (linear.outputs if train.lora.use_dora else 0)


def rank(train: Train) -> int:
    """Of every adapter at the start, when it is largest."""
    return train.adalora.init_r if train.method == "adalora" else train.lora.rank


def adapted_linears(shape: Shape, train: Train) -> tuple[Linear, ...]:
    """The linear layers of the whole model that get an adapter."""
    return () if train.adapter is None else adapted(shape, train.adapter.target_modules)


def prompted_layers(shape: Shape, train: Train) -> int:
    """How many layers, from the top, get an adaption prompt."""
    return train.adaption_prompt.adapter_layers or max(1, shape.num_hidden_layers - 2)


def base_bytes(shape: Shape, model: Model, size: int) -> float:
    """The frozen weights, ``size`` bytes each where they are not quantised: embeddings, head and norms never are."""
    matrices = sum(quantized_bytes(shape.linears, model, size)) * shape.num_hidden_layers
    return matrices + size * (shape.parameters - shape.layer_matrices)


def quantized_bytes(linears: Sequence[Linear], model: Model, size: int) -> list[float]:
    """Of each linear layer.

    nf4: 4 bits and a float32 constant per block, or one of 8 bits and a float32 per block of constants (Dettmers et al.
    2023, arXiv 2305.14314, section 3). int8: one byte and a float32 per row (Dettmers et al. 2022, arXiv 2208.07339).
    fp8: a byte, twice, and a float32 per row.
    """
    return [_stored(one, model, size) for one in linears]


def _stored(linear: Linear, model: Model, size: int) -> float:
    numbers = linear.inputs * linear.outputs
    bias = size * (linear.size - numbers)
    if model.quantization == "int8":
        return numbers + 4 * linear.outputs + bias
    if model.quantization == "fp8":
        return 2 * numbers + 4 * linear.outputs + bias
    if model.quantization == "nf4":
        blocks = ceil(numbers / NF4_BLOCK)
        constants = blocks + 4 * ceil(blocks / CONSTANTS_BLOCK) if model.double_quantization else 4 * blocks
        return numbers / 2 + constants + bias
    return size * numbers + bias


TRAINED = 4
"""Bytes of a trained number: `steep.train` keeps all of them in float32."""

"""What training takes at its largest moment.

Not all parts are at their largest at the same time, so some moments are compared: the loss at the end of the forward
pass and the layer before it, the begin and the end of the backward pass, and the optimizer's step. What `torch.compile`
saves is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from steep.sizes.activations import Arithmetic, backward_activations, dora_bytes, kept_activations
from steep.sizes.answers import answer_bytes
from steep.sizes.memory import Memory
from steep.sizes.optimizers import optimizer_bytes, step_bytes
from steep.sizes.parameters import TRAINED, base_bytes, trainable_parameters
from steep.sizes.shape import Shape

if TYPE_CHECKING:
    from steep.recipe import Recipe

HOLES = {"cpu": 1.4, "cuda": 1.03}
"""What the allocator takes for activations beside their size: on a CPU peaks of tiny were 1.2 (full) to 1.45
(LoRA); for a GPU it is assumed until ``benchmarks/memory.py`` has told."""
TRAINED_LOGITS = {"cpu": 2**24, "cuda": 2**27}
"""Largest number of logits that `steep.speed.loss` holds at a time: 64 MiB of float32 in a CPU's reach, 256 MiB of
bfloat16 to keep a GPU busy."""
TRAINED_HEAD = {"cpu": 1, "cuda": 4}
"""Times that number where the head is trained: each time its whole gradient is read and written again."""
ENTRIES = 32768
"""Of the vocabulary, at a time, for which TRL computes log-probabilities in the other objectives."""
PAIRED, ROLLED = ("dpo", "reward"), ("rloo", "grpo")


def training_memory(shape: Shape, recipe: Recipe, *, cuda: bool) -> Memory:
    """What the train stage needs on each device, with full rows, in its largest moment."""
    return max(moments(shape, recipe, cuda=cuda), key=lambda memory: memory.total)


def moments(shape: Shape, recipe: Recipe, *, cuda: bool) -> Iterator[Memory]:
    """Of a step after the first: loss, last layer, begin and end of the backward pass, answers where the model writes
    them, and the step of the optimizer.

    Weights, gradients and moments are those of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1), with
    trained weights in float32 and, while they are used, the bfloat16 copies that autocast makes of them.
    """
    states, copies = _states(shape, recipe), _copies(shape, recipe, cuda=cuda)
    holes, tokens = HOLES["cuda" if cuda else "cpu"], tokens_at_a_time(recipe)
    kept = holes * tokens * kept_activations(shape, recipe, cuda=cuda)
    layer = holes * tokens * backward_activations(shape, recipe, cuda=cuda) + _one_matrix(shape, recipe)
    early = states.gradients if recipe.train.gradient_accumulation_steps > 1 else 0
    head = early + _head_gradient(shape, recipe)
    cast = states.weights + copies
    later = states.weights + (copies / shape.num_hidden_layers if recipe.train.checkpointed else copies)
    yield replace(states, weights=cast, gradients=early, activations=kept, logits=_loss(shape, recipe, cuda=cuda))
    yield replace(states, weights=cast, gradients=early, activations=kept + dora_bytes(shape, recipe))
    yield replace(states, weights=later, gradients=head, activations=kept + layer)
    last = _embedding_gradient(shape, recipe)
    yield replace(states, activations=(kept / shape.num_hidden_layers + layer), gradients=states.gradients + last)
    if recipe.train.objective in ROLLED:
        yield _answers(shape, recipe, states)
    yield replace(states, gradients=states.gradients + _step(shape, recipe))


def _one_matrix(shape: Shape, recipe: Recipe) -> float:
    """What a backward pass needs for the largest matrix, whatever the batch: nf4 and int8 weights in bfloat16, as one
    where layers share an input, and DoRA's columns where the forward pass is done again."""
    columns = dora_bytes(shape, recipe) if recipe.train.checkpointed else 0
    if recipe.model.quantization not in ("nf4", "int8"):
        return columns
    shared, sizes = recipe.train.shares_inputs(recipe.model.quantization), Counter[str]()
    for one in shape.linears:
        sizes[one.source if shared else one.name] += one.inputs * one.outputs
    return columns + 2 * max(sizes.values())


def tokens_at_a_time(recipe: Recipe) -> int:
    """On each device: a pair of answers is two rows; answers that the model writes follow their prompts."""
    train, length = recipe.train, recipe.prepare.max_length
    if train.objective in ROLLED:
        length += train.rollouts.max_completion_length
    return train.rows_at_a_time * length * (2 if train.objective in PAIRED else 1)


def _places(recipe: Recipe) -> int:
    return recipe.train.devices * recipe.train.nodes


def _states(shape: Shape, recipe: Recipe) -> Memory:
    """What stays from step to step. FSDP2 shares it out (Zhao et al. 2023, arXiv 2304.11277) and gathers two layers and
    the embeddings; DDP has the gradients twice, in buckets (Li et al. 2020, arXiv 2006.15704, section 3.2)."""
    train, added = recipe.train, len(recipe.model.added_tokens)
    trained, size = trainable_parameters(shape, train, added), TRAINED
    weights = 4.0 * trained if train.method == "full" else _base(shape, recipe) + size * trained
    state = optimizer_bytes(shape, train, added) * (size / 4 if train.optim.startswith("adamw_torch") else 1)
    gradients = float(size * trained)
    if train.sharded:
        shards = _places(recipe)
        weights, gradients, state = weights / shards + _gathered(shape, recipe), gradients / shards, state / shards
    elif _places(recipe) > 1:
        gradients *= 2
    return Memory(weights + _reference(shape, recipe), gradients, state, 0, 0)


def _base(shape: Shape, recipe: Recipe) -> float:
    return base_bytes(shape, recipe.model, 2 if recipe.train.dtype != "float32" else 4)


def _gathered(shape: Shape, recipe: Recipe) -> float:
    size = 2 if recipe.train.dtype != "float32" else 4
    layer = (base_bytes(shape, recipe.model, size) - size * _embeddings(shape)) / shape.num_hidden_layers
    return 2 * layer + size * _embeddings(shape)


def _embeddings(shape: Shape) -> int:
    return shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)


def _reference(shape: Shape, recipe: Recipe) -> float:
    """A frozen copy of the model, where leaving it costs something and no adapter can be switched off instead."""
    train = recipe.train
    compared = train.objective == "dpo" or (train.objective in ROLLED and train.rollouts.beta > 0)
    return 4 * shape.parameters if compared and train.method == "full" else 0


def _copies(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """In bfloat16, of every trained matrix that is held in float32; AdaLoRA's arithmetic keeps three of each."""
    train = recipe.train
    if not Arithmetic.of(recipe, cuda=cuda).autocast or train.sharded:
        return 0
    if train.method == "full":
        return 2 * shape.layer_matrices
    times = 3 if train.method == "adalora" else 1
    return 2 * times * trainable_parameters(shape, train)


def _answers(shape: Shape, recipe: Recipe, states: Memory) -> Memory:
    """While answers are written: keys and values of all their tokens, and the logits of the next, as they are and in
    float32 to sample from."""
    size = 2 if recipe.train.dtype != "float32" else 4
    token, row = answer_bytes(shape.num_hidden_layers, shape.linears[1].outputs, shape.vocab_size, size)
    logits = recipe.train.rows_at_a_time * (row + 8 * shape.vocab_size)
    return replace(states, activations=token * tokens_at_a_time(recipe), logits=logits)


def _loss(shape: Shape, recipe: Recipe, *, cuda: bool) -> float:
    """The head of `steep.speed.loss`: logits in float32 and once more while they are summed. Beside them the hidden
    states, their gradient, the last norm's input, and where the head is trained its gradient in float32 and its weights
    in bfloat16."""
    size, full = (2 if recipe.train.dtype != "float32" else 4), recipe.train.method == "full"
    tokens = tokens_at_a_time(recipe)
    hidden = tokens * shape.hidden_size * (2 * size + (8 if full else 4))
    head = shape.vocab_size * shape.hidden_size * (6 if full else 0)
    if recipe.train.objective in (*PAIRED, *ROLLED):
        entries = 1 if recipe.train.objective == "reward" else min(ENTRIES, shape.vocab_size)
        return tokens * entries * 12 + hidden + head
    place, logits = "cuda" if cuda else "cpu", tokens * shape.vocab_size
    limit = TRAINED_LOGITS[place] * (TRAINED_HEAD[place] if full else 1)
    return 8 * min(limit, logits) + hidden + head


def _head_gradient(shape: Shape, recipe: Recipe) -> float:
    """The output layer's, kept by the loss, scaled, and cast to bfloat16."""
    return 10.0 * shape.vocab_size * shape.hidden_size if recipe.train.method == "full" else 0.0


def _embedding_gradient(shape: Shape, recipe: Recipe) -> float:
    """Dense, before it is added to the output layer's where both are one matrix."""
    full, tied = recipe.train.method == "full", shape.tie_word_embeddings
    return 4.0 * shape.vocab_size * shape.hidden_size if full and tied else 0.0


def _step(shape: Shape, recipe: Recipe) -> float:
    trained = trainable_parameters(shape, recipe.train) / (_places(recipe) if recipe.train.sharded else 1)
    return step_bytes(shape, recipe.train, trained)

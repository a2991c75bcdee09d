"""What evaluating and merging take: no gradients, one model at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steep.sizes.answers import PREFILL, SORTED, SORTED_BYTES, answer_budget, answer_bytes
from steep.sizes.memory import LIBRARIES, Memory
from steep.sizes.parameters import TRAINED, adapted_linears, base_bytes, trainable_parameters
from steep.sizes.shape import Shape

if TYPE_CHECKING:
    from steep.recipe import Recipe

SCORED_TOKENS, SCORED_LOGITS = 4096, 2**26
"""As in `steep.evaluate.perplexity`, which cannot be imported without torch."""


def evaluation_memory(shape: Shape, recipe: Recipe, *, cuda: bool, memory: float = math.inf) -> Memory:
    """What the evaluate stage needs at most: one model at a time, base or tuned, and no gradients.

    Perplexity holds a limited number of logits, as they are and twice in float32. Answers hold keys and values of all
    their tokens, in batches that fit into half of what ``memory`` leaves free unless a batch_size is given. All hold
    the widest layer's activations.
    """
    size, max_length = (2 if cuda else 4), recipe.prepare.max_length
    weights = _model(shape, recipe, size)
    token, row = answer_bytes(shape.num_hidden_layers, shape.linears[1].outputs, shape.vocab_size, size)
    wide = (3 * shape.intermediate_size + 4 * shape.hidden_size) * size
    activations, logits = [0.0], [0.0]
    for name, options in (step.chosen for step in recipe.evaluate):
        if name in ("continuation", "completion", "reward"):
            budget = answer_budget(max(0.0, memory - weights - LIBRARIES) if cuda else None)
            rows = options.batch_size or max(1, budget // (token * max_length + row))
            activations.append(rows * max_length * token + min(rows * max_length, max(PREFILL, max_length)) * wide)
            logits.append(
                rows * row + (SORTED_BYTES * min(rows * shape.vocab_size, SORTED) if options.temperature else 0)
            )
        elif name in ("perplexity", "forgetting"):
            read = max(SCORED_TOKENS, max_length)
            activations.append(read * (token + wide))
            logits.append(min(SCORED_LOGITS, read * shape.vocab_size) * (size + 8))
    return Memory(weights, 0, 0, max(activations), max(logits))


def _model(shape: Shape, recipe: Recipe, size: int) -> float:
    """The tuned one's weights; quantised ones as they are trained, with the largest one in ``size`` bytes again."""
    if recipe.train.method == "full":
        return shape.parameters * size
    quantized = recipe.model.quantization != "none"
    largest = size * max(one.inputs * one.outputs for one in shape.linears) if quantized else 0
    return base_bytes(shape, recipe.model, size) + _adapter(shape, recipe) + largest


def _adapter(shape: Shape, recipe: Recipe) -> float:
    return TRAINED * trainable_parameters(shape, recipe.train, len(recipe.model.added_tokens))


def merge_memory(shape: Shape, recipe: Recipe) -> Memory | None:
    """What merging the adapter into the base takes, on the CPU; None where there is nothing to merge.

    In float32, since adding to anything coarser changes answers. Beside the whole model: the adapter, and for the
    largest layer the product and its sum.
    """
    if recipe.train.method in ("full", "adaption-prompt"):
        return None
    size = 4
    largest = max((one.inputs * one.outputs for one in adapted_linears(shape, recipe.train)), default=0)
    return Memory(shape.parameters * size + _adapter(shape, recipe), 0, 0, 8 * largest, 0)

"""What an optimizer keeps from step to step, and what it needs during one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steep.sizes.parameters import adapted_linears, rank, trainable_parameters
from steep.sizes.shape import Shape

if TYPE_CHECKING:
    from steep.recipe import Train

BLOCK, SMALLEST = 256, 4096
"""8-bit optimizers share a constant among so many values, and keep smaller tensors in 32 bits (bitsandbytes)."""
MOMENTS = {"adamw_8bit": 2, "paged_adamw_8bit": 2, "lion_8bit": 1}
PAGED = ("paged_adamw_32bit", "paged_adamw_8bit")
"""Their state may move to the host's memory when the GPU's is short."""
NEWTON_SCHULZ = 14
"""Bytes per number of Muon's largest matrix: its update in float32 and the five products in bfloat16."""


def optimizer_bytes(shape: Shape, train: Train, added_tokens: int = 0) -> float:
    """The state of all trained numbers.

    AdamW: two moments in float32. 8 bits: a byte each and a float32 per block (Dettmers et al. 2021, arXiv 2110.02861,
    section 2), but float32 for embeddings, as transformers has it, and for small tensors. Adafactor: a row and a column
    for each matrix (Shazeer and Stern 2018, arXiv 1804.04235). Muon: one moment for the layers' matrices. SGD without
    momentum: nothing.
    """
    trained = trainable_parameters(shape, train, added_tokens)
    if train.optim in MOMENTS:
        small = _small(shape, train, added_tokens)
        kept = MOMENTS[train.optim]
        return 4 * kept * small + kept * (1 + 4 / BLOCK) * (trained - small)
    if train.optim == "adafactor":
        return _factored(shape, train)
    if train.optim == "muon":
        return 8 * trained - 4 * shape.layer_matrices
    return 0 if train.optim == "sgd" else 8 * trained


def step_bytes(shape: Shape, train: Train, trained: float) -> float:
    """What a step needs beside weights, gradients and state."""
    if train.optim == "adamw_torch":  # the square roots of all second moments at a time
        return 4 * trained
    if train.optim == "adafactor":  # squares and update of one matrix
        return 12 * _largest(shape, train)
    return NEWTON_SCHULZ * _largest(shape, train, embeddings=False) if train.optim == "muon" else 0


def _largest(shape: Shape, train: Train, *, embeddings: bool = True) -> int:
    if train.method != "full":
        return 0
    matrices = [one.inputs * one.outputs for one in shape.linears]
    return max(matrices + ([shape.vocab_size * shape.hidden_size] if embeddings else []))


def _small(shape: Shape, train: Train, added_tokens: int) -> float:
    """How many trained numbers an 8-bit optimizer keeps in 32 bits."""
    embeddings = shape.vocab_size * shape.hidden_size
    if train.method == "full":
        norms = (2 * shape.num_hidden_layers + 1) * shape.hidden_size
        return embeddings + (norms if shape.hidden_size < SMALLEST else 0)
    if train.adapter is None:
        return 0
    sides = [rank(train) * side for one in adapted_linears(shape, train) for side in (one.inputs, one.outputs)]
    return sum(side for side in sides if side < SMALLEST)


def _factored(shape: Shape, train: Train) -> float:
    if train.method == "full":
        sides = shape.num_hidden_layers * sum(one.inputs + one.outputs for one in shape.linears)
        return 4 * (sides + 2 * (shape.vocab_size + shape.hidden_size))
    sides = sum(one.inputs + one.outputs + 2 * rank(train) for one in adapted_linears(shape, train))
    return 4 * sides

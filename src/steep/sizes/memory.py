"""Bytes, by what holds them."""

from __future__ import annotations

from dataclasses import astuple, dataclass

LIBRARIES = 0.7 * 2**30
"""PyTorch, transformers, TRL and Daft in a process, or the CUDA context on a GPU."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one moment holds: the one that holds most."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    libraries: float = LIBRARIES

    @property
    def total(self) -> float:
        return float(sum(astuple(self)))

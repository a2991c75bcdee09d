"""What answers in the making hold, and how many of them a budget has room for."""

from __future__ import annotations

ANSWERED = {"cpu": 2**30, "cuda": 2**35}
"""Bytes at most for what the prompts that are answered at the same time hold."""
PREFILL, SORTED = 2**13, 2**24
"""Tokens of prompts that are read in one pass, padding included, and probabilities that sampling sorts at a time."""
SORTED_BYTES = 48
"""For each of them: in float64, their order, their sums, and what sorting needs beside them."""


def answer_bytes(layers: int, key_size: int, vocab_size: int, size: int) -> tuple[int, int]:
    """What an answer in the making holds: for each token, with those of its prompt, keys and values; and its logits."""
    return 2 * layers * key_size * size, vocab_size * size


def answer_budget(free: float | None) -> float:
    """Bytes for all answers in the making, on a GPU with so many free, or on the CPU.

    The other half is for activations, for what sampling sorts, and for others on the same GPU.
    """
    return ANSWERED["cpu"] if free is None else min(ANSWERED["cuda"], free / 2)

"""Rewards of recipes/grpo.yaml: how close an answer comes to the reference, in words and in length.

Both run from 0 to 1. Copying the abstract would share many words too, which is why the length counts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any


def words(completions: list[str], reference: list[str], **others: Any) -> list[float]:
    """F1 of the words that an answer shares with the reference."""
    return [
        _f1(said.lower().split(), meant.lower().split()) for said, meant in zip(completions, reference, strict=True)
    ]


def length(completions: list[str], reference: list[str], **others: Any) -> list[float]:
    """The shorter of the two over the longer one, in words."""
    return [_ratio(len(said.split()), len(meant.split())) for said, meant in zip(completions, reference, strict=True)]


def _f1(said: list[str], meant: list[str]) -> float:
    shared = sum((Counter(said) & Counter(meant)).values())
    return 2 * shared / max(1, len(said) + len(meant))


def _ratio(one: int, other: int) -> float:
    return min(one, other) / max(one, other, 1)

"""A stream of texts as lists of bounded size, for what is computed over many texts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(texts: Iterable[T], length: Callable[[T], int], at_once: int) -> Iterator[list[T]]:
    """Lists whose lengths reach ``at_once`` together; the last may be shorter, and none is empty."""
    portion: list[T] = []
    size = 0
    for text in texts:
        portion.append(text)
        size += length(text)
        if size >= at_once:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion

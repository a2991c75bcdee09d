"""What a sweep may try: ranges of numbers and choices of values, by key of the recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

MOST_CHECKED = 500
"""Combinations that are checked beforehand; a recipe is checked in about 5 ms."""
DECADE = 10
"""A range of numbers whose end is so many times its beginning is searched by their logarithm."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Range:
    """All numbers from ``low`` to ``high``, both included."""

    key: str
    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return not self.whole and self.low > 0 and self.high / self.low >= DECADE

    @property
    def ends(self) -> list[Any]:
        return [self.low, self.high]

    @property
    def count(self) -> float:
        return self.high - self.low + 1 if self.whole else math.inf

    def every(self) -> list[Any]:
        return list(range(int(self.low), int(self.high) + 1))

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True, slots=True)
class Choice:
    key: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> list[Any]:
        return list(self.values)

    @property
    def count(self) -> float:
        return len(self.values)

    def every(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return ",".join(map(written, self.values))


Dimension = Range | Choice


@dataclass(frozen=True, slots=True)
class Space:
    dimensions: tuple[Dimension, ...]
    overrides: tuple[str, ...]
    """The same for every trial."""

    @property
    def size(self) -> float:
        """How many combinations there are."""
        return math.prod(one.count for one in self.dimensions)

    def every(self) -> Iterator[Values]:
        """All combinations of a finite space."""
        for values in product(*(one.every() for one in self.dimensions)):
            yield dict(zip(self._keys, values, strict=True))

    @property
    def _keys(self) -> list[str]:
        return [one.key for one in self.dimensions]

    def corners(self) -> Iterator[Values]:
        """The ends of each range and all choices: each by itself, and in combination as far as they are few."""
        ends = [one.ends for one in self.dimensions]
        alone = (
            [*(e[0] for e in ends[:i]), end, *(e[0] for e in ends[i + 1 :])] for i, e in enumerate(ends) for end in e
        )
        for values in (*alone, *islice(product(*ends), MOST_CHECKED)):
            yield dict(zip(self._keys, values, strict=True))


def written(value: Any) -> str:
    """For people; floats in as many digits as a trial uses."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def as_overrides(values: Values) -> list[str]:
    """JSON is YAML."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def plain_number(value: float, low: float, high: float) -> float:
    """In four digits, for people: what a fifth one would change is far below what a seed does."""
    return min(max(float(f"{value:.4g}"), low), high)

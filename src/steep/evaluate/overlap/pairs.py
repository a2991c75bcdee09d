"""Texts beside their references as numbers, a number for each word, so that all of them are counted at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.overlap.words import Vocabulary, words

Whole = NDArray[np.int64]
Lines = list[list[int]]
"""A text: the words of each of its lines."""

WORDS = 1 << 16
"""Words that are counted at once, and more only of a single text: sixteen times as many take twice as long to count."""


@dataclass(frozen=True)
class Side:
    """The texts, or the references, of some pairs."""

    codes: Whole
    """The words of all texts, one text after the other."""
    lengths: Whole
    """Words of each text."""
    line_lengths: list[list[int]]
    """And of each of its lines."""

    @cached_property
    def owners(self) -> Whole:
        """The pair of each of the words."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def texts(self) -> list[list[int]]:
        codes = self.codes.tolist()
        ends = np.cumsum(self.lengths).tolist()
        return [codes[start:end] for start, end in pairwise([0, *ends])]

    def lines(self, place: int) -> Lines:
        """Of one text."""
        ends = accumulate(self.line_lengths[place], initial=0)
        return [self.texts[place][start:end] for start, end in pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts and references, in the same order; every word is a number below ``vocabulary``."""

    found: Side
    wanted: Side
    vocabulary: int

    def __len__(self) -> int:
        return len(self.found.lengths)


def pairs_of(texts: Sequence[str], references: Sequence[Sequence[str]], *, stem: bool) -> Iterator[Pairs]:
    """Each text with each of its references, in order, as many at a time as have `WORDS` words."""
    found, wanted = _Words(), _Words()
    for text, several in zip(texts, references, strict=True):
        if len(found.words) + len(wanted.words) > WORDS:
            yield _coded(found, wanted, stem)
            found, wanted = _Words(), _Words()
        for reference in several:
            found.add(text)
            wanted.add(reference)
    yield _coded(found, wanted, stem)


class _Words:
    """The words of many texts in one list: a list for each would keep the garbage collector busy."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.line_lengths: list[list[int]] = []

    def add(self, text: str) -> None:
        lengths = []
        for line in text.split("\n"):
            found = words(line)
            self.words += found
            lengths.append(len(found))
        self.line_lengths.append(lengths)

    def side(self, vocabulary: Vocabulary) -> Side:
        codes = np.fromiter(map(vocabulary.__getitem__, self.words), np.int64, len(self.words))
        lengths = np.fromiter(map(sum, self.line_lengths), np.int64, len(self.line_lengths))
        return Side(codes, lengths, self.line_lengths)


def _coded(found: _Words, wanted: _Words, stem: bool) -> Pairs:
    vocabulary = Vocabulary(stemmed=stem)
    return Pairs(found.side(vocabulary), wanted.side(vocabulary), len(vocabulary.stems))

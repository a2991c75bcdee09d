"""Drops documents that hold text of evaluation sets, as GPT-3's training data was filtered: by runs of words that they
share, compared without case and punctuation (Brown et al. 2020, arXiv 2005.14165, appendix C).

There a run has 8 to 13 words, depending on the set, and what is left of a document after the run was cut out may stay.
Here a run has 13 unless the recipe says otherwise, a text of a set that is shorter counts as a whole from 8 words on,
and the document goes. A document that is itself shorter than a run shares none. About 60 MB a second.

Words are letters and digits; all else separates them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from steep.clean.evaluation_sets import texts_of
from steep.clean.rows import Drop, RowStep, judging
from steep.clean.words import (
    AT_ONCE,
    Number,
    Runs,
    Whole,
    Words,
    letters_and_digits,
    numbers,
    parts,
    split,
    without_case,
)
from steep.errors import UsageError
from steep.recipe.clean import Decontaminate

SHORTEST = 8
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class _Index:
    """Runs of so many words that the sets hold: their numbers in ascending order, and of each the place of its set."""

    length: int
    runs: Number
    owners: NDArray[np.uint16]
    sieve: NDArray[np.bool_]
    """Whether there is a run whose number begins with these bits: it spares most of the searching."""

    def find(self, runs: Number, places: Whole) -> Whole:
        """Those of the places whose runs are here."""
        likely: Whole = places[self.sieve[_head(runs[places], self.sieve)]]
        at = np.minimum(np.searchsorted(self.runs, runs[likely]), len(self.runs) - 1)
        found: Whole = likely[self.runs[at] == runs[likely]]
        return found

    def owner(self, run: np.uint64) -> int:
        return int(self.owners[np.searchsorted(self.runs, run)])


def decontaminate_step(options: Decontaminate, folder: Path) -> RowStep:
    indexes = _indexes(options, folder)

    def judge(texts: Sequence[str]) -> list[Drop | None]:
        drops: list[Drop | None] = [None] * len(texts)
        for part in parts(texts):
            drops[part] = _shared(texts[part], indexes, options.against)
        return drops

    return judging(judge)


def _indexes(options: Decontaminate, folder: Path) -> list[_Index]:
    found: dict[int, list[tuple[int, Number]]] = {}
    for owner, address in enumerate(options.against):
        before = sum(map(len, found.values()))
        for length, runs in _runs_of_set(texts_of(address, options.columns, folder), options.ngram):
            found.setdefault(length, []).append((owner, runs))
        if sum(map(len, found.values())) == before:
            words = min(SHORTEST, options.ngram)
            raise UsageError(f"clean: decontaminate: {address} holds no text of {words} words or more")
    return [_index(length, pairs) for length, pairs in sorted(found.items(), reverse=True)]


def _runs_of_set(texts: Iterable[str], ngram: int) -> Iterator[tuple[int, Number]]:
    """Runs of each length that counts; never an empty array."""
    for batch in _batches(texts):
        words, runs = _words(batch)
        counts = words.counts
        for length in range(min(SHORTEST, ngram), ngram):
            if len(whole := words.bounds[:-1][counts == length]):
                yield length, runs.of(length)[whole]
        if len(places := _inside(words, ngram)):
            yield ngram, runs.of(ngram)[places]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _index(length: int, pairs: Sequence[tuple[int, Number]]) -> _Index:
    runs = np.concatenate([runs for _, runs in pairs])
    owners = np.repeat([owner for owner, _ in pairs], [len(runs) for _, runs in pairs])
    runs, first = np.unique(runs, return_index=True)  # the first set that holds it
    sieve = np.zeros(1 << min(24, max(10, (16 * len(runs)).bit_length())), bool)
    sieve[_head(runs, sieve)] = True
    return _Index(length, runs, owners[first].astype(np.uint16), sieve)


def _head(runs: Number, sieve: NDArray[np.bool_]) -> Number:
    return runs >> np.uint64(65 - len(sieve).bit_length())


def _words(texts: Sequence[str]) -> tuple[Words, Runs]:
    words = split(texts, letters_and_digits())
    return words, Runs(numbers(words, without_case()))


def _inside(words: Words, length: int) -> Whole:
    """Words with which a run of so many begins that ends in the same text."""
    last = np.repeat(words.bounds[1:], words.counts) - length
    return np.flatnonzero(np.arange(len(last)) <= last)


def _shared(texts: Sequence[str], indexes: Sequence[_Index], names: Sequence[str]) -> list[Drop | None]:
    drops: list[Drop | None] = [None] * len(texts)
    words, every = _words(texts)
    for index in indexes:
        runs = every.of(index.length)
        places = index.find(runs, _inside(words, index.length))
        rows, firsts = np.unique(words.text[places], return_index=True)
        for row, first in zip(rows, firsts, strict=True):
            if drops[row] is None:
                shared = _following(places[first:]) + index.length - 1
                drops[row] = _drop(words, places[first], shared, names[index.owner(runs[places[first]])])
    return drops


def _following(places: Whole) -> int:
    """How many of the places follow each other without a gap."""
    gaps = np.flatnonzero(np.diff(places) != 1)
    return int(gaps[0]) + 1 if len(gaps) else len(places)


def _drop(words: Words, first: int, count: int, name: str) -> Drop:
    codes = words.codes[words.starts[first] : words.ends[first + count - 1]]
    run = codes.tobytes().decode("utf-32-le", "replace")
    return Drop(f"{count} words of {name}: {shorten(run, _SHOWN, placeholder=' …')}", f"text of {name}")

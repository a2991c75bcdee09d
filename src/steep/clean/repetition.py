"""How much of a text repeats itself: the shares of its characters in frequent and in repeated runs of words.

A run of words that recurs holds shorter ones that recur. So from one length to the next only the places are looked at
where the shorter run did: all lengths from 2 to 10 cost twice as much as the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steep.clean.words import Number, Runs, Values, Whole, Words, exact, numbers, scattered


@dataclass(frozen=True, slots=True)
class Recurring:
    """Runs of n words that occur more than once in their text."""

    words: Words
    n: int
    places: Whole
    """Where they begin, as numbers of words; those of equal runs side by side, in groups."""
    sizes: Whole
    """Of the groups."""
    firsts: Whole
    """Of each group the first place in the text."""

    def top(self) -> Values:
        """Of each text the share of its characters in its most frequent run, as often as that occurs.

        Of several the longest; at most 1, which a run that overlaps itself would exceed.
        """
        text = np.searchsorted(self.words.bounds, self.firsts, side="right") - 1
        most = np.zeros(len(self.words.offsets), np.int64)
        np.maximum.at(most, text, self.sizes)
        characters = np.concatenate(([0], np.cumsum(self.words.lengths)))
        held = self.sizes * (characters[self.firsts + self.n] - characters[self.firsts])
        found = np.zeros_like(most)
        winners = self.sizes == most[text]
        np.maximum.at(found, text[winners], held[winners])
        return np.minimum(found / self._totals(), 1)

    def repeated(self) -> Values:
        """Of each text the share of its characters in runs that occurred before, each character once."""
        repeats = self.places[self.places != np.repeat(self.firsts, self.sizes)]
        steps = np.zeros(len(self.words.starts) + 1, np.int64)
        steps[repeats] += 1
        steps[repeats + self.n] -= 1
        inside = np.cumsum(steps[:-1]) > 0
        return self.words.per_text(self.words.lengths * inside) / self._totals()

    def _totals(self) -> Whole:
        return np.maximum(self.words.per_text(self.words.lengths), 1)


def recurring_runs(words: Words, lengths: Sequence[int]) -> Iterator[Recurring]:
    """For each number of words; they ascend."""
    # with the place of the text in its number, no run recurs in another text or across the border of two
    runs = Runs(numbers(words, exact()) ^ scattered(words.text))
    recurs, shorter = np.ones(len(words.starts) + 1, bool), 0
    for n in lengths:
        step = n - shorter
        count = max(0, len(words.starts) - n + 1)
        places = np.flatnonzero(recurs[:count] & recurs[step : step + count])
        found = _groups(words, n, places, runs.of(n)[places])
        yield found
        recurs, shorter = np.zeros(len(words.starts) + 1, bool), n
        recurs[found.places] = True


def _groups(words: Words, n: int, places: Whole, keys: Number) -> Recurring:
    order = np.argsort(keys)
    borders = keys[order[1:]] != keys[order[:-1]]
    sizes = np.diff(np.flatnonzero(np.concatenate(([True], borders, [True]))))[: len(keys)]
    several = sizes > 1
    places = places[order][np.repeat(several, sizes)]
    sizes = sizes[several]
    firsts = np.minimum.reduceat(places, np.cumsum(sizes) - sizes) if len(sizes) else sizes
    return Recurring(words, n, places, sizes, firsts)

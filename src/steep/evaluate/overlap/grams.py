"""Shared n-grams and skip-bigrams of many pairs of texts at once: each is one number, and equal numbers are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.overlap.pairs import Pairs, Side, Whole

FOLLOWED = 1 << 22
"""Skip-bigrams that are in memory at once, 32 MiB; a text of 10,000 words has 50 million where no distance limits."""


def ngrams(pairs: Pairs, n: int) -> Whole:
    """[pairs, 3]: the n-grams that text and reference share, those of the text, and those of the reference.

    One that a text repeats counts no more often than it stands in the other.
    """
    count = len(pairs)
    codes = np.concatenate([pairs.found.codes, pairs.wanted.codes])
    owners = np.concatenate([pairs.found.owners, pairs.wanted.owners + count])
    grams = codes
    for step in range(1, n):
        if step > 1:
            grams = np.unique(grams, return_inverse=True)[1]  # as small as numbers of words
        grams = grams[:-1] * pairs.vocabulary + codes[step:]
    owner = owners[: len(grams)]
    whole = owner == owners[n - 1 :]
    keys = grams * count + owner % count
    shared = _shared(keys[whole & (owner < count)], keys[whole & (owner >= count)], count)
    totals = (np.maximum(side.lengths - n + 1, 0) for side in (pairs.found, pairs.wanted))
    return np.stack([shared, *totals], axis=1)


def _shared(found: Whole, wanted: Whole, count: int) -> Whole:
    """How many of the keys (gram times ``count`` plus pair) both have, of each pair."""
    ours, times = np.unique(found, return_counts=True)
    theirs, wanted_times = np.unique(wanted, return_counts=True)
    both, i, j = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return np.bincount(both % count, np.minimum(times[i], wanted_times[j]), minlength=count).astype(np.int64)


# ------------------------------------------------------------------------------------------------------- skip-bigrams


def skip_bigrams(pairs: Pairs, skip: int | None, *, unigrams: bool = False) -> Whole:
    """[pairs, 3], as `ngrams`: two words in their order with at most ``skip`` words between them; None sets no limit.

    ROUGE-S of Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", section 5: of m words without a
    limit there are m(m-1)/2. ``unigrams`` are counted besides for ROUGE-SU (section 5.1), as ROUGE-1.5.5 does it: those
    that a skip-bigram may begin with, all but the last of each text.
    """
    shared = np.zeros(len(pairs), np.int64)
    for ours, theirs in _blocks(pairs, skip):
        shared += _shared(ours, theirs, len(pairs))
    totals = (_number(side.lengths, skip) for side in (pairs.found, pairs.wanted))
    counts = np.stack([shared, *totals], axis=1)
    if not unigrams:
        return counts
    found, wanted = _without_last(pairs.found), _without_last(pairs.wanted)
    return np.asarray(counts + ngrams(Pairs(found, wanted, pairs.vocabulary), 1))


def _without_last(side: Side) -> Side:
    last = np.cumsum(side.lengths)[side.lengths > 0] - 1
    return Side(np.delete(side.codes, last), np.maximum(side.lengths - 1, 0), [])


def _number(lengths: Whole, skip: int | None) -> Whole:
    reach = np.maximum(lengths - 1, 0) if skip is None else np.minimum(skip + 1, np.maximum(lengths - 1, 0))
    return np.asarray(reach * lengths - reach * (reach + 1) // 2)


@dataclass(frozen=True, slots=True)
class _Firsts:
    """The words of one side that may begin a shared skip-bigram, in the order of their ``ranks``."""

    codes: Whole
    """Of all words, those that follow among them; ``places`` are indices into it."""
    owners: Whole
    both: NDArray[np.bool_]
    """Whether both texts of the pair have a word."""
    places: Whole
    followers: Whole
    """How many words follow within the distance."""
    ranks: Whole
    """Of word and pair among those that both texts have."""

    def keys(self, low: int, high: int, pairs: Pairs) -> Whole:
        """The skip-bigrams that begin with the words of these ranks."""
        part = slice(*np.searchsorted(self.ranks, [low, high]))
        followers = self.followers[part]
        first = np.repeat(self.places[part], followers)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(followers) - followers, followers)
        first, second = first[self.both[second]], second[self.both[second]]
        return np.asarray((self.codes[first] * pairs.vocabulary + self.codes[second]) * len(pairs) + self.owners[first])


def _blocks(pairs: Pairs, skip: int | None) -> Iterator[tuple[Whole, Whole]]:
    """The skip-bigrams of both sides as keys; all that begin with one word of one pair are in the same block."""
    sides = pairs.found, pairs.wanted
    words = [side.codes * len(pairs) + side.owners for side in sides]
    common = np.intersect1d(_sorted(words[0]), _sorted(words[1]), assume_unique=True)
    if not len(common):
        return
    found, wanted = (_firsts(side, one, common, skip) for side, one in zip(sides, words, strict=True))
    load = sum(np.bincount(one.ranks, one.followers, minlength=len(common)) for one in (found, wanted))
    edges = np.flatnonzero(np.diff(np.cumsum(load) // FOLLOWED, prepend=-1)).tolist()
    for low, high in pairwise([*edges, len(common)]):
        yield found.keys(low, high, pairs), wanted.keys(low, high, pairs)


def _sorted(keys: Whole) -> Whole:
    """Each once. Without counts, np.unique hashes them: 3.6 s instead of 0.04 s for two million."""
    return np.unique(keys, return_counts=True)[0]


def _firsts(side: Side, words: Whole, common: Whole, skip: int | None) -> _Firsts:
    codes, owners, ranks = side.codes, side.owners, np.searchsorted(common, words)
    both = common[np.minimum(ranks, len(common) - 1)] == words
    if skip is None:  # what only one text has can be left away: it does not move the others apart
        codes, owners, ranks, both = codes[both], owners[both], ranks[both], both[both]
    followers = np.searchsorted(owners, owners, side="right") - np.arange(len(owners)) - 1
    if skip is not None:
        followers = np.minimum(followers, skip + 1)
    places = np.flatnonzero(both)
    places = places[np.argsort(ranks[places], kind="stable")]
    return _Firsts(codes, owners, both, places, followers[places], ranks[places])

"""Common subsequences: their length, which words of a reference's lines they hold, and how these hang together.

The length of the longest one comes from rapidfuzz. ROUGE-1.5.5 asks more of a text of several lines: which words of
each reference line the lines of the text reach together (the union LCS of Lin 2004, section 3.2). Of several longest
subsequences it follows the one whose words stand last in the reference, and so do we.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from steep.evaluate.overlap.pairs import Lines, Pairs, Whole

Floats = NDArray[np.float64]
Mark = Callable[[Sequence[int], Sequence[int], set[int]], None]

WEIGHT = 1.2
"""Exponent of the length of a run of consecutive words in ROUGE-W: what ROUGE-1.5.5 is used with."""


def longest(pairs: Pairs) -> Whole:
    """[pairs, 3]: words in the longest common subsequence of text and reference, words of each; lines are not told."""
    common = cpdist(pairs.found.texts, pairs.wanted.texts, scorer=LCSseq.similarity, dtype=np.int64)
    return np.stack([common, pairs.found.lengths, pairs.wanted.lengths], axis=1)


def longest_by_line(pairs: Pairs) -> Whole:
    """[pairs, 3]: as `longest`, of the union LCS of each reference line with all lines of the text.

    A word counts no more often than it stands in the text.
    """
    counts = longest(pairs)
    for place, sizes in enumerate(zip(pairs.found.line_lengths, pairs.wanted.line_lengths, strict=True)):
        if max(map(len, sizes)) > 1:
            found, wanted = pairs.found.lines(place), pairs.wanted.lines(place)
            reached = (line[word] for line in wanted for word in _union(line, found, mark_longest))
            counts[place, 0] = (Counter(reached) & Counter(chain.from_iterable(found))).total()
    return counts


def weighted(pairs: Pairs) -> Floats:
    """[pairs, 3]: the summed weights of the runs of consecutive words in common, and of text and reference.

    ROUGE-W of Lin (2004), section 4, with f(k) = k**1.2, by line as in `longest_by_line`, and as ROUGE-1.5.5 counts it.
    That differs from the paper in two ways: the runs are those of the reference, however far apart their words stand in
    the text; and the recall divides by the reference's weight weighted once more, f(f(m)), so that it is below 1 of a
    text equal to its reference.
    """
    runs = [_weight_of_runs(pairs.found.lines(place), pairs.wanted.lines(place)) for place in range(len(pairs))]
    wanted = [sum(length**WEIGHT for length in lengths) for lengths in pairs.wanted.line_lengths]
    return np.stack([np.array(runs), pairs.found.lengths**WEIGHT, np.array(wanted)], axis=1)


def _weight_of_runs(found: Lines, wanted: Lines) -> float:
    """As ROUGE-1.5.5: a word that the text has no more of is passed over, and a run that ends in one is not counted."""
    left, total = Counter(chain.from_iterable(found)), 0.0
    for line in wanted:
        reached, run = _union(line, found, mark_weighted), 0
        for place in sorted(reached):
            if not left[line[place]]:
                continue
            left[line[place]] -= 1
            run += 1
            if place + 1 not in reached:
                total += run**WEIGHT
                run = 0
    return total


def _union(line: Sequence[int], found: Lines, mark: Mark) -> set[int]:
    """Places of the line that a common subsequence with any of the text's lines holds."""
    reached: set[int] = set()
    for other in found:
        if not set(line).isdisjoint(other):
            mark(line, other, reached)
    return reached


def mark_longest(line: Sequence[int], other: Sequence[int], reached: set[int]) -> None:
    """Add the places of the longest common subsequence: a row of the table of lengths is the bits of one integer.

    Hyyrö (2004), "Bit-parallel LCS-length computation revisited": a bit is 0 where the length grows in the line.
    """
    masks: dict[int, int] = {}
    for place, word in enumerate(line):
        masks[word] = masks.get(word, 0) | 1 << place
    every = (1 << len(line)) - 1
    rows = [every]
    for word in other:
        matches = rows[-1] & masks.get(word, 0)
        rows.append((rows[-1] + matches | rows[-1] - matches) & every)
    _walk(line, other, lambda i, j: bool(rows[j] >> (i - 1) & 1), reached)


def mark_weighted(line: Sequence[int], other: Sequence[int], reached: set[int]) -> None:
    """Add the places of the common subsequence whose runs weigh most, by the recursion of Lin (2004), section 4.

    Takes a byte for each pair of words.
    """
    columns: dict[int, list[int]] = {}
    for place, word in enumerate(other, 1):
        columns.setdefault(word, []).append(place)
    gains = np.diff(np.arange(len(line) + 1.0) ** WEIGHT).tolist()
    upward = np.ones((len(line) + 1, len(other) + 1), bool)
    row, runs = np.zeros(len(other) + 1), dict[int, int]()
    for i, word in enumerate(line, 1):
        above, row, before, runs = row, row.copy(), runs, {}
        start = 0
        for j in columns.get(word, ()):
            np.maximum.accumulate(row[start:j], out=row[start:j])
            runs[j] = before.get(j - 1, 0) + 1
            row[j] = above[j - 1] + gains[runs[j] - 1]
            start = j
        np.maximum.accumulate(row[start:], out=row[start:])
        upward[i, 1:] = above[1:] >= row[:-1]
    _walk(line, other, lambda i, j: bool(upward[i, j]), reached)


def _walk(line: Sequence[int], other: Sequence[int], upward: Callable[[int, int], bool], reached: set[int]) -> None:
    """From the ends back, as ROUGE-1.5.5: equal words are taken, else the line's word is left if that loses nothing."""
    i, j = len(line), len(other)
    while i and j:
        if line[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            reached.add(i)
        elif upward(i, j):
            i -= 1
        else:
            j -= 1

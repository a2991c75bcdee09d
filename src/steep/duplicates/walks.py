"""Walks over documents that may be alike, in the order of rows: which are copies, and which belong together.

A document is compared with earlier ones of its buckets, and with the latest of a bucket where it is large. So 20,000
pages of one template that are no copies of each other cost a bounded number of comparisons each, not one for each pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from steep.duplicates.members import Members

LATEST = 1000

Found = tuple[int, int, float | None]
"""A member, an earlier one, and how similar they are where that was asked."""


def similar_copies(members: Members) -> Iterator[Found]:
    """Each member that is similar to an earlier one which is itself no copy, with the most similar of these."""
    originals: dict[int, list[int]] = defaultdict(list)
    for member in range(len(members)):
        buckets = members.buckets(member)
        best = max(_similar(members, member, _latest(originals, buckets)), default=None)
        if best:
            yield member, -best[1], best[0]
        else:
            for bucket in buckets:
                originals[bucket].append(member)


def similar_groups(members: Members) -> Iterator[Found]:
    """Each member that a chain of similar pairs joins to an earlier one, with the earliest of these."""
    groups = _Groups(len(members))
    seen: dict[int, list[int]] = defaultdict(list)
    mixed: set[int] = set()
    for member in range(len(members)):
        buckets = members.buckets(member)
        heads = {bucket: seen[bucket][0] for bucket in buckets if seen[bucket]}
        groups.join_similar(members, member, set(heads.values()))
        # Buckets of one group that the member is in by now need no second look: the usual case of copies of one page.
        apart = {bucket for bucket, head in heads.items() if not groups.same(head, member)}
        groups.join_similar(members, member, _latest(seen, apart | mixed.intersection(heads)))
        mixed.update(bucket for bucket in apart if not groups.same(heads[bucket], member))
        for bucket in buckets:
            seen[bucket].append(member)
    for member, first in enumerate(groups.firsts()):
        if first != member:
            yield member, first, None


def _similar(members: Members, member: int, others: set[int]) -> Iterator[tuple[float, int]]:
    """Similarity and, negative so that the earliest is the greatest, number of those that are similar enough."""
    for other in members.likeliest(member, others):
        similarity = members.similarity(member, other)
        if similarity >= members.threshold:
            yield similarity, -other


def _latest(held: dict[int, list[int]], buckets: Iterable[int]) -> set[int]:
    return set().union(*(held[bucket][-LATEST:] for bucket in buckets))


class _Groups:
    """Disjoint sets of members; each set has a label, and joining relabels the smaller one."""

    def __init__(self, size: int) -> None:
        self._labels = np.arange(size)
        self._sets = {member: [member] for member in range(size)}

    def same(self, one: int, other: int) -> bool:
        return bool(self._labels[one] == self._labels[other])

    def join_similar(self, members: Members, member: int, others: set[int]) -> None:
        found = np.fromiter(others, np.int64, len(others))
        apart = found[self._labels[found] != self._labels[member]]
        for other in members.likeliest(member, apart.tolist()):
            if not self.same(member, other) and members.similarity(member, other) >= members.threshold:
                self._join(int(self._labels[member]), int(self._labels[other]))

    def firsts(self) -> list[int]:
        """For each member the first of its set."""
        first = {label: min(found) for label, found in self._sets.items()}
        return [first[label] for label in self._labels.tolist()]

    def _join(self, one: int, other: int) -> None:
        large, small = (one, other) if len(self._sets[one]) >= len(self._sets[other]) else (other, one)
        moved = self._sets.pop(small)
        self._labels[moved] = large
        self._sets[large] += moved

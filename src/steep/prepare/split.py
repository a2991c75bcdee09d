"""Which documents are held out.

Documents that resemble each other (half of their word 5-grams) form a group, and a group lies on one side as a whole:
a model is not asked about what it was trained on. Groups are ranked by a hash of the seed and their name, so the split
depends on the ids of the documents and the seed, not on the order of rows, and documents that come later move few
others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.errors import SteepError

if TYPE_CHECKING:
    from steep.recipe import Split

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Sides:
    """Row numbers. ``removed`` resemble documents of a source that is held out, so neither side may have them."""

    train: list[int]
    test: list[int]
    removed: list[int]


def group_documents(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The near-duplicate group of each document; ids must be distinct."""
    import daft

    from steep.duplicates import near_duplicate_groups

    documents = daft.from_pydict({name: [row[name] for row in rows] for name in ("id", "text")})
    groups = near_duplicate_groups(documents, THRESHOLD).to_pydict()
    group_of = dict(zip(groups["id"], groups["group"], strict=True))
    return [group_of[row["id"]] for row in rows]


def split_documents(sources: Sequence[str], groups: Sequence[str], options: Split) -> Sides:
    """``sources`` and ``groups`` are those of the rows, in their order."""
    return _by_source(sources, groups, options.sources) if options.sources else _by_share(groups, options)


def _by_share(groups: Sequence[str], options: Split) -> Sides:
    held_out = _pick(groups, options)
    sides: tuple[list[int], list[int]] = ([], [])
    for row, group in enumerate(groups):
        sides[group in held_out].append(row)
    return Sides(train=sides[0], test=sides[1], removed=[])


def _pick(groups: Sequence[str], options: Split) -> set[str]:
    """Groups in the order of their hashes as long as they fit; where none does, the smallest one."""
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    if len(sizes) < 2:
        raise SteepError(
            f"prepare: {len(groups)} document{'s' * (len(groups) != 1)} in 1 group of near-duplicates: cannot hold out "
            "text that the model has not seen. Gather more, or what differs more"
        )
    ranked = sorted(sizes, key=lambda group: hashlib.sha256(f"{options.seed}:{group}".encode()).digest())
    room, held_out = min(max(1, round(options.test * len(groups))), len(groups) - 1), set()
    for group in ranked:
        if sizes[group] <= room:
            held_out.add(group)
            room -= sizes[group]
    return held_out or {min(ranked, key=sizes.__getitem__)}


def _by_source(sources: Sequence[str], groups: Sequence[str], held_out: Sequence[str]) -> Sides:
    test = [row for row, source in enumerate(sources) if source in held_out]
    unseen = {groups[row] for row in test}
    rest = [row for row, source in enumerate(sources) if source not in held_out]
    train = [row for row in rest if groups[row] not in unseen]
    if not test:
        raise SteepError(f"prepare: no example comes from what split.sources holds out: {', '.join(held_out)}")
    if not train:
        raise SteepError(
            f"prepare: split.sources holds out {', '.join(held_out)}, and nothing is left to train on: "
            f"{len(rest)} documents come from other sources, and all of them resemble held-out ones"
        )
    return Sides(train, test, removed=[row for row in rest if groups[row] in unseen])

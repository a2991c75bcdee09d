"""Which documents are held out.

Documents that resemble each other (half of their word 5-grams, of the text or of all that the template uses) form a
group, and a group lies on one side as a whole: a model is not asked about what it was trained on. Groups are ranked by
a hash of the seed and their name, so the split depends on the ids of the documents and the seed, not on the order of
rows, and documents that come later move few others. The validation side is drawn from what the test leaves, by another
hash, so that asking for one changes no test.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    validation: list[int] = field(default_factory=list)


def group_documents(rows: Sequence[Mapping[str, Any]], contents: Sequence[str] | None = None) -> list[str]:
    """The near-duplicate group of each document; ids must be distinct.

    ``contents`` are what examples hold where that is more than the text: those that resemble each other in either are
    one group. What a template adds to every example is no part of it, or all examples would look alike.
    """
    ids = [row["id"] for row in rows]
    groups = _near_duplicates(ids, [row["text"] for row in rows])
    return groups if contents is None else _joined(ids, groups, _near_duplicates(ids, contents))


def _near_duplicates(ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    import daft

    from steep.duplicates import near_duplicate_groups

    groups = near_duplicate_groups(daft.from_pydict({"id": list(ids), "text": list(texts)}), THRESHOLD).to_pydict()
    group_of = dict(zip(groups["id"], groups["group"], strict=True))
    return [group_of[name] for name in ids]


def _joined(ids: Sequence[str], *groupings: Sequence[str]) -> list[str]:
    """Chains over all groupings; a group is named after its first member, as each of them names its own."""
    rank = {name: number for number, name in enumerate(ids)}
    parent = {name: name for name in ids}

    def first(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for grouping in groupings:
        for name, group in zip(ids, grouping, strict=True):
            low, high = sorted((first(name), first(group)), key=rank.__getitem__)
            parent[high] = low
    return [first(name) for name in ids]


def split_documents(sources: Sequence[str], groups: Sequence[str], options: Split) -> Sides:
    """``sources`` and ``groups`` are those of the rows, in their order."""
    sides = _by_source(sources, groups, options.sources) if options.sources else _by_share(groups, options)
    return _with_validation(sides, groups, options) if options.validation else sides


def _by_share(groups: Sequence[str], options: Split) -> Sides:
    train, test = _draw(range(len(groups)), groups, options.test, f"{options.seed}")
    return Sides(train, test, removed=[])


def _with_validation(sides: Sides, groups: Sequence[str], options: Split) -> Sides:
    train, validation = _draw(sides.train, groups, options.validation, f"{options.seed}:validation")
    return replace(sides, train=train, validation=validation)


def _draw(rows: Sequence[int], groups: Sequence[str], share: float, salt: str) -> tuple[list[int], list[int]]:
    """Which rows stay, and which share of them goes to another side."""
    drawn = _pick([groups[row] for row in rows], share, salt)
    sides: tuple[list[int], list[int]] = ([], [])
    for row in rows:
        sides[groups[row] in drawn].append(row)
    return sides


def _pick(groups: Sequence[str], share: float, salt: str) -> set[str]:
    """Groups in the order of their hashes as long as they fit; where none does, the smallest one."""
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    if len(sizes) < 2:
        raise SteepError(
            f"prepare: {len(groups)} document{'s' * (len(groups) != 1)} in 1 group of near-duplicates: cannot hold out "
            "text that the model has not seen. Gather more, or what differs more"
        )
    ranked = sorted(sizes, key=lambda group: hashlib.sha256(f"{salt}:{group}".encode()).digest())
    room, drawn = min(max(1, round(share * len(groups))), len(groups) - 1), set()
    for group in ranked:
        if sizes[group] <= room:
            drawn.add(group)
            room -= sizes[group]
    return drawn or {min(ranked, key=sizes.__getitem__)}


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

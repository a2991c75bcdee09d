"""From what was gathered to examples: how many documents each step of cleaning saw, changed and dropped, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A step of the funnel."""

    name: str
    before: int
    after: int
    changed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        return self.before - self.after


def funnel_of(summaries: Mapping[str, Any]) -> list[Row]:
    steps = summaries["clean"]["funnel"] if "clean" in summaries else []
    if "gather" in summaries:
        gathered = summaries["gather"]["documents"]
        steps = [{"step": "gathered", "before": gathered, "after": gathered, "changed": 0, "reasons": {}}, *steps]
    return [Row(step["step"], step["before"], step["after"], step["changed"], step["reasons"]) for step in steps]


def sides_of(summaries: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What prepare counted of each side; there may be none for validation."""
    prepare = summaries.get("prepare", {})
    return {name: prepare[name] for name in ("train", "validation", "test") if name in prepare}


def unit_of(funnel: Sequence[Row], sides: Mapping[str, Mapping[str, Any]]) -> float:
    """Thousandths of the page's width per document, so that the longest bar fills it."""
    examples: int = sum(side["examples"] for side in sides.values())
    return 1000 / max(1, examples, *(row.before for row in funnel))

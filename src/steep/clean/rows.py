"""Steps that look at one document at a time, and how a run of them is applied to a batch.

Such a step is a function over a batch: columns in, changed columns out, row for row. So a step may work on all texts
of the batch at once, and a run of steps needs one pass over the documents, in as many processes as there are cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Finding = Mapping[str, Any]


class Drop(NamedTuple):
    """Why a document goes: ``reason`` names the particulars, ``cause`` is what the funnel counts by."""

    reason: str
    cause: str


@dataclass(slots=True)
class Batch:
    """Documents, column by column, in their order."""

    text: list[str]
    title: list[str | None]
    meta: list[str | None]
    """JSON objects."""
    facts: Mapping[str, Sequence[Any]]
    """The other columns (id, source, url, licence, published ...), which no step changes."""
    drops: list[Drop | None]
    """One for each row; set by the step, null where a row stays."""
    findings: list[list[Finding]] = field(default_factory=list)
    """Of each row what the step wants on record, such as what was redacted; empty where it records nothing."""

    def __len__(self) -> int:
        return len(self.text)


RowStep = Callable[[Batch], None]
"""Changes a batch in place: its texts, titles and meta, or its drops."""


def rewriting(text: Callable[[str], str], title: Callable[[str], str]) -> RowStep:
    """A step that passes each text and title through a function; a title that is left empty becomes null.

    Templates train on ``meta`` too, so its strings are rewritten: of one line as titles are, longer ones as texts.
    """

    def step(batch: Batch) -> None:
        batch.text = [text(value) for value in batch.text]
        batch.title = [(title(value) or None) if value else None for value in batch.title]
        batch.meta = [_with_strings(value, text, title) if value else value for value in batch.meta]

    return step


def judging(judge: Callable[[Sequence[str]], list[Drop | None]]) -> RowStep:
    """A step that drops documents by their texts."""

    def step(batch: Batch) -> None:
        batch.drops = judge(batch.text)

    return step


def _with_strings(meta: str, text: Callable[[str], str], title: Callable[[str], str]) -> str:
    """The JSON object with its top-level strings rewritten; the same characters where none of them changes."""
    before = json.loads(meta)
    after = {
        key: (text(value) if "\n" in value else title(value)) if isinstance(value, str) else value
        for key, value in before.items()
    }
    return meta if after == before else json.dumps(after, ensure_ascii=False, sort_keys=True)

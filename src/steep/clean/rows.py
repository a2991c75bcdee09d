"""Steps that look at one document at a time, and what a batch of documents is to them.

Such a step is a function over a batch: it changes columns, row for row. So a step may work on all texts of the batch at
once, and a run of steps needs one pass over the documents, in as many processes as there are cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

Finding = Mapping[str, str]
"""What a step wants on record of a document: its ``kind`` and a ``hash`` of what was found."""


class Drop(NamedTuple):
    """Why a document goes: ``reason`` names the particulars, ``cause`` is what the funnel counts by."""

    reason: str
    cause: str


class Facts(Mapping[str, Sequence[Any]]):
    """Columns of a table as Python lists, each made when it is first asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._lists: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._lists:
            self._lists[name] = self.table[name].to_pylist()
        return self._lists[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.column_names)

    def __len__(self) -> int:
        return len(self.table.column_names)


@dataclass(slots=True)
class Batch:
    """Documents, column by column, in their order."""

    text: list[str]
    title: list[str | None]
    meta: list[str | None]
    """JSON objects."""
    facts: Mapping[str, Sequence[Any]]
    """The other columns (id, source, url, licence, published, row), which no step changes."""
    drops: list[Drop | None] = field(default_factory=list)
    """Set by a step, one for each row, None where it stays; empty where the step drops nothing."""
    findings: list[list[Finding]] = field(default_factory=list)
    """Set by a step, one list for each row; empty where the step has nothing on record."""

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step learned that sees all documents: a table for its row step, and what readers are shown."""

    table: pa.Table
    evidence: list[dict[str, Any]]


RowStep = Callable[[Batch], None]
"""Changes a batch in place: it gives it new columns `text`, `title` and `meta`, or sets its `drops`."""


def rewriting(text: Callable[[str], str], title: Callable[[str], str]) -> RowStep:
    """A step that passes each text and title through a function; a title that is left empty becomes None.

    Templates train on ``meta`` too, so its strings are rewritten: of one line as titles are, longer ones as texts. So
    are the turns of a conversation.
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
    """The JSON object with its top-level strings and all that turns say rewritten; the same characters where nothing
    changes."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, str):
            return text(value) if "\n" in value else title(value)
        if isinstance(value, list):
            return [{**one, "content": rewritten(one["content"])} if _is_turn(one) else one for one in value]
        return value

    before = json.loads(meta)
    after = {key: rewritten(value) for key, value in before.items()}
    return meta if after == before else json.dumps(after, ensure_ascii=False, sort_keys=True)


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and isinstance(value.get("content"), str)

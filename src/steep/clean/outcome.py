"""What a step of cleaning hands back, and the one way in which steps rewrite texts.

A step sees all documents and returns the same rows in the same order. A row to be dropped carries a ``reason``, which
names the particulars, and a ``cause``, by which the funnel counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import daft
import pyarrow as pa
from daft import DataType, col


class Drop(NamedTuple):
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class Outcome:
    documents: daft.DataFrame
    evidence: Sequence[Mapping[str, Any]] = field(default_factory=list)


def rewritten(documents: daft.DataFrame, text: Callable[[str], str], title: Callable[[str], str]) -> daft.DataFrame:
    """The documents with each text and title passed through a function; a title that is left empty becomes null.

    Templates train on ``meta`` too, so its strings are rewritten: of one line as titles are, longer ones as texts.
    """

    def rewrite_title(value: str | None) -> str | None:
        return title(value) or None if value else None

    def rewrite_meta(value: str | None) -> str | None:
        return _with_strings(value, lambda found: text(found) if "\n" in found else title(found)) if value else value

    functions: dict[str, Callable[..., str | None]] = {
        "text": lambda value: text(value),
        "title": rewrite_title,
        "meta": rewrite_meta,
    }
    return documents.with_columns({name: on_strings(function)(col(name)) for name, function in functions.items()})


def _with_strings(meta: str, rewrite: Callable[[str], str]) -> str:
    """The JSON object with its top-level strings rewritten; the same characters where none of them changes."""
    before = json.loads(meta)
    after = {key: rewrite(value) if isinstance(value, str) else value for key, value in before.items()}
    return meta if after == before else json.dumps(after, ensure_ascii=False, sort_keys=True)


def with_drops(documents: daft.DataFrame, drops: Sequence[Drop | None]) -> daft.DataFrame:
    """The documents with the columns ``reason`` and ``cause``, null where a row stays."""
    table = documents.to_arrow()
    for column in Drop._fields:
        values = [getattr(drop, column) if drop else None for drop in drops]
        table = table.append_column(column, pa.array(values, pa.string()))
    return daft.from_arrow(table)


def on_strings(function: Callable[..., str | None]) -> Any:
    """A Python function of rows as a function of columns, in this process: texts are not worth a copy to another."""
    return daft.func(function, return_dtype=DataType.string(), use_process=False)

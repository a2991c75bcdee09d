"""What a step of cleaning hands back, and the one way in which steps rewrite texts.

A step sees all documents and returns the same rows in the same order. A row to be dropped carries a ``reason``, which
names the particulars, and a ``cause``, by which the funnel counts.
"""

from __future__ import annotations

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
    """The documents with each text and title passed through a function; a title that is left empty becomes null."""

    def rewrite_title(value: str | None) -> str | None:
        return title(value) or None if value else None

    return documents.with_columns(
        {"text": on_strings(lambda value: text(value))(col("text")), "title": on_strings(rewrite_title)(col("title"))}
    )


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

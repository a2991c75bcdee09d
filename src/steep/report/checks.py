"""What the checks and the steps of evaluation found besides measures, as facts and tables.

A step writes what it found as it likes, and it is shown by its keys, so that nothing that was found is left out: single
values as facts, rows of values as a table, values by model as a table with a column for each model. The names of the
keys, a confusion matrix and the scores without leaked texts have forms of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steep.figures import NAMES
from steep.metrics import METRICS
from steep.report.key_names import ABOUT, KEYS
from steep.report.wording import excerpt, plain

ROWS_SHOWN = 12
LABELS_SHOWN = 12
"""In a matrix; of more labels the most frequent mistakes are listed."""
LONG = 40
"""A longer text has no room in a column."""
LONGEST = 200
ELSEWHERE = {"metrics_without"}
"""Keys whose values have tables of their own."""

Clean = Callable[[str], str]
_MODELS: Mapping[str, str] = {str(model): name for model, name in NAMES.items()}


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    figure: bool = False
    note: str = ""
    """Below it, in small."""


@dataclass(frozen=True, slots=True)
class Table:
    """The first cell of a row is its head; ``more`` rows are not shown. The caption may be empty."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: int = 0
    texts: Sequence[str] = ()
    """A text for each row, which is shown below it over all columns."""


@dataclass(frozen=True, slots=True)
class Finding:
    title: str
    about: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """Puts what one step found into words. ``clean`` takes personal data out of texts."""

    step: str
    clean: Clean

    def finding(self, found: Mapping[str, Any]) -> Finding:
        title, about = self.title(self.step), ABOUT.get(self.step, "")
        if set(found) <= set(_MODELS):
            return Finding(title, about, tables=list(self.by_model(found)))
        single = {key: value for key, value in found.items() if not _is_table(value)}
        facts = {self.title(key): self.cell(value).text for key, value in single.items()}
        tables = [self.table(self.title(key), value) for key, value in found.items() if key not in single]
        return Finding(title, about, facts, tables)

    def by_model(self, found: Mapping[str, Any]) -> Iterator[Table]:
        """A column for each model, and a table for the rows of each."""
        named = {model: value if isinstance(value, Mapping) else {"found": value} for model, value in found.items()}
        keys = list(dict.fromkeys(key for one in named.values() for key in one))
        single = [key for key in keys if not any(isinstance(one.get(key), list) for one in named.values())]
        if single:
            yield self.table("", {key: {model: one.get(key) for model, one in named.items()} for key in single})
        for key in (key for key in keys if key not in single):
            for model, one in named.items():
                if one.get(key) and _is_table(one[key]):
                    yield self.table(f"{self.title(key)}: {self.title(model)}", one[key])

    def table(self, caption: str, value: Any) -> Table:
        named = isinstance(value, Mapping)
        rows = [{"": self.title(key), **row} for key, row in value.items()] if named else list(value)
        shown = rows[:ROWS_SHOWN]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        long = [key for key in columns[1:] if any(_is_long(row.get(key)) for row in shown)]
        columns = [key for key in columns if key not in long]
        cells = [[self.cell(row.get(column)) for column in columns] for row in shown]
        texts = [" · ".join(self.cell(row[key]).text for key in long if row.get(key)) for row in shown] if long else ()
        heads = [self.title(key) if key else "" for key in columns]
        return Table(caption, heads, cells, max(0, len(rows) - ROWS_SHOWN), texts)

    def confusion(self, model: str, value: Mapping[str, Any]) -> Table:
        truths, answers = value["labels"], [*value["labels"], "other"]
        pairs = [
            (truth, answer, times)
            for truth, counts in zip(truths, value["counts"], strict=True)
            for answer, times in zip(answers, counts, strict=True)
        ]
        always = f"always answering the most frequent label is right in {value['most_frequent']:.1%}"
        if len(truths) <= LABELS_SHOWN:
            rows = [[label, *counts] for label, counts in zip(truths, value["counts"], strict=True)]
            heads = ["Truth", *map(self.clean, answers)]
            return Table(f"{self.title(model)}: truth by answer; {always}", heads, self.cells(rows))
        wrong = sorted((pair for pair in pairs if pair[2] and pair[0] != pair[1]), key=lambda pair: -pair[2])
        caption = f"{self.title(model)}: the most frequent mistakes among {len(truths)} labels; {always}"
        more = max(0, len(wrong) - ROWS_SHOWN)
        return Table(caption, ["Truth", "Answer", "Times"], self.cells(wrong[:ROWS_SHOWN]), more)

    def cells(self, rows: Sequence[Sequence[Any]]) -> list[list[Cell]]:
        return [[self.cell(value) for value in row] for row in rows]

    def cell(self, value: Any) -> Cell:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return Cell("–", figure=True)
        if isinstance(value, bool):
            return Cell("yes" if value else "no", figure=True)
        if isinstance(value, int | float):
            shown = f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
            return Cell(shown.replace("-", "−"), figure=True)
        if isinstance(value, Mapping):
            return Cell(", ".join(f"{self.title(key)}: {plain(inner)}" for key, inner in value.items()) or "–", True)
        return Cell(excerpt(self.clean(plain(value)), LONGEST) or "–")

    def title(self, key: str) -> str:
        """A key as words; a measure and a model by their names."""
        if known := KEYS.get(self.step, {}).get(key) or _MODELS.get(key):
            return known
        step, _, name = key.rpartition(".")
        if name in METRICS:
            return f"{METRICS[name].label} ({step})" if step else METRICS[name].label
        words = self.clean(key.replace("_", " "))
        return words[:1].upper() + words[1:]


def findings(checks: Mapping[str, Any], clean: Clean) -> Iterator[tuple[str, Finding]]:
    """Of each check that found something, with its step; what is shown elsewhere is left out."""
    for step, value in checks.items():
        found = value if isinstance(value, Mapping) else {step: value}
        if shown := {
            key: inner for key, inner in found.items() if inner not in (None, [], {}) and key not in ELSEWHERE
        }:
            yield step, Reader(step, clean).finding(shown)


def details(found: Mapping[str, Any], reader: Reader) -> Iterator[Finding]:
    """What a step found of each model; ``found`` is by model."""
    for key in dict.fromkeys(key for said in found.values() for key in said):
        if values := {model: said[key] for model, said in found.items() if said.get(key)}:
            title = f"{reader.title(key)} of {reader.clean(reader.step)}"
            yield Finding(title, ABOUT.get(key, ""), tables=list(_tables(reader, values)))


def _tables(reader: Reader, values: Mapping[str, Any]) -> Iterator[Table]:
    matrices = {model: value for model, value in values.items() if _is_confusion(value)}
    for model, value in matrices.items():
        yield reader.confusion(model, value)
    if others := {model: value for model, value in values.items() if model not in matrices}:
        yield from reader.by_model(others)


def _is_table(value: Any) -> bool:
    """Rows of keys and values, by number or by name."""
    rows = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return bool(rows) and all(isinstance(row, Mapping) for row in rows)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONG


def _is_confusion(value: Any) -> bool:
    return isinstance(value, Mapping) and {"labels", "counts"} <= value.keys()

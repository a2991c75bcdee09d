"""The scores with and without the held-out texts that leaked into training, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from steep.figures import Row, rows_of
from steep.report.checks import Cell, Table
from steep.scores import Model, Scores


def without_leaks(scores: Scores) -> Iterator[Table]:
    """Against the base model and against the prompted one, as far as the check of contamination found leaks."""
    check = scores.checks.get("contamination", {})
    if metrics := check.get("metrics_without"):
        rest = Scores(test_set=scores.test_set, models=scores.models, metrics=metrics)
        rows = {row.name: row for row in rows_of(rest)}
        others: Mapping[Model, str] = {"base": "the base model", "few_shot": "the base model with examples"}
        for other, name in others.items():
            if made := [_row(row, rows[row.name], other) for row in rows_of(scores) if _compared(row, rows, other)]:
                yield Table(f"Tuned minus {name}, with and without the leaked texts", _HEADS, made)


_HEADS = ("Measure", "With: difference", "Verdict", "Without: difference", "Verdict")


def _compared(row: Row, rest: Mapping[str, Row], other: Model) -> bool:
    return row.told and other in row.gaps and row.name in rest and other in rest[row.name].gaps


def _row(row: Row, rest: Row, other: Model) -> list[Cell]:
    gaps = (row.gaps[other], rest.gaps[other])
    pairs = [(Cell(gap.value, True, gap.interval), Cell(str(gap.word or "–"), True)) for gap in gaps]
    return [Cell(row.label), *(cell for pair in pairs for cell in pair)]

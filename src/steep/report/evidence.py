"""What the steps of cleaning put on record, as tables: blocks taken out, what was redacted, groups of duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steep.report.wording import excerpt, plain

ROWS_SHOWN = 12
LONGEST_HEAD = 240
LONGEST_NOTE = 300


@dataclass(frozen=True, slots=True)
class Form:
    """How a step's findings are shown, a row each: the keys whose values head it, stand below, and are its figures."""

    title: str
    caption: str
    head: str
    notes: Sequence[str] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    """Key -> what stands above its column. The rows with the largest first figure come first."""


FORMS = {
    "boilerplate": Form(
        "Repeated blocks",
        "Blocks taken out because they repeat over the pages of a site; copies of a page count once",
        head="block",
        notes=("site",),
        figures={"documents": "Pages", "of": "Of"},
    ),
    "redact": Form(
        "Redacted",
        "What was replaced by its kind. clean/redacted has a keyed hash for each, never the value",
        head="kind",
        figures={"occurrences": "Times", "distinct": "Different", "documents": "Documents"},
    ),
    "deduplicate": Form(
        "Largest groups of duplicates",
        "Documents that stay, and how many copies of each were dropped",
        head="title",
        notes=("document", "text"),
        figures={"copies": "Copies"},
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    head: str
    note: str
    figures: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What one step found; ``more`` rows are not among ``rows``."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    more: int


def found(evidence: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Found]:
    """Of each step that found something."""
    for step, rows in evidence.items():
        if rows:
            yield _found(FORMS.get(step) or _form(step, rows[0]), rows)


def _form(step: str, row: Mapping[str, Any]) -> Form:
    head, *others = row
    return Form(step.capitalize(), "What this step found", head, figures={key: key.capitalize() for key in others})


def _found(form: Form, rows: Sequence[Mapping[str, Any]]) -> Found:
    first = next(iter(form.figures), "")
    most = sorted(rows, key=lambda row: -row[first]) if isinstance(rows[0].get(first), int | float) else rows
    columns = (form.head.capitalize(), *form.figures.values())
    shown = [_row(form, row) for row in most[:ROWS_SHOWN]]
    return Found(form.title, form.caption, columns, shown, max(0, len(rows) - ROWS_SHOWN))


def _row(form: Form, row: Mapping[str, Any]) -> Row:
    head = plain(row.get(form.head) or "(none)")
    note = " · ".join(plain(row[key]) for key in form.notes if row.get(key))
    figures = [row.get(key) for key in form.figures]
    return Row(excerpt(head, LONGEST_HEAD), excerpt(note, LONGEST_NOTE), figures)

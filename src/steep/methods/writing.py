"""The methods side by side: ``methods.json``, ``methods.html`` and the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steep.compare import Comparison, compare_runs
from steep.compare.page import write_page
from steep.compare.printing import print_comparison
from steep.methods import Outcome
from steep.methods.costs import HEAD, Method, as_json, finished, unequal
from steep.runs import write_atomically
from steep.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def write_methods(folder: Path, outcomes: Sequence[Outcome], console: Console) -> Path | None:
    """Print and write the comparison; returns its page, None where fewer than two methods were trained."""
    methods = finished(outcomes)
    found = compare_runs([one.run.folder for one in methods]) if len(methods) > 1 else None
    text = json.dumps(as_json(methods, outcomes) | _differences(found), indent=1, ensure_ascii=False)
    write_atomically(folder / "methods.json", text)
    if found:
        print_comparison(found, console)
        console.print()
    console.print(_table(methods))
    for note in notes(methods, outcomes):
        console.print(harmless(note), markup=False)
    if not found:
        return None
    costs = {"head": HEAD, "methods": methods, "notes": notes(methods, outcomes)}
    return write_page(found, folder / "methods.html", template="methods.html.jinja", more=costs)


def notes(methods: Sequence[Method], outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader of the table has to know."""
    skipped = [f"{one.method} was skipped: {one.skipped}." for one in outcomes if one.skipped]
    failed = [f"{one.method} failed: {one.failed}." for one in outcomes if one.failed]
    return [*filter(None, [unequal(methods)]), *skipped, *failed]


def _differences(found: Comparison | None) -> dict[str, object]:
    return {} if found is None else {"first": found.first, "differences": found.as_json()["differences"]}


def _table(methods: Sequence[Method]) -> Table:
    from rich.table import Table

    table = Table("method", *HEAD, "verdict", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for column in table.columns[1:-1]:
        column.justify = "right"
    for one in methods:
        table.add_row(one.name, *one.cost.cells, one.verdict)
    return table

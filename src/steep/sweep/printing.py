"""A sweep on the terminal: a line as each trial is over, and a table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steep.sweep.results import Result, rows
from steep.sweep.space import Values, written
from steep.sweep.trials import Told
from steep.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console

MARKS = {"finished": "[green]✓[/]", "pruned": "[dim]-[/]", "failed": "[red]✗[/]"}


def trial_line(console: Console) -> Told:
    """Prints a line as a trial begins, and over it one on how it came out."""
    from rich.markup import escape

    def told(number: int, event: str, values: Values, result: float | None, more: str) -> None:
        about = ", ".join(f"{key.removeprefix('train.')} {written(value)}" for key, value in values.items())
        if event == "running":
            console.print(escape(f"  trial {number:<3} {harmless(about)} …"), end="\r" if console.is_terminal else "\n")
            return
        said = "" if result is None else f"{result:.5g} "
        out = f"{said}{'' if event == 'finished' else event} {more}".strip()
        console.print(f"{MARKS[event]} trial {number:<3} {escape(harmless(f'{about}: {out}'))}")

    return told


def print_result(result: Result, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    keys = [key.removeprefix("train.") for key in result.keys]
    table = Table("trial", *keys, result.goal.metric, "", box=None, padding=(0, 3, 0, 0))
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row, one in zip(rows(result), result.outcomes, strict=True):
        style = "bold" if one is result.best else "" if one.state == "finished" else "dim"
        table.add_row(*(Text(harmless(cell), style=style) for cell in row))
    console.print()
    console.print(table)
    console.print(result.sentence, style="bold", markup=False)
    console.print(f"\nPage: {result.folder / 'results.html'}", soft_wrap=True, markup=False)
    if result.recipe:
        console.print(f"Best recipe: steep run {result.recipe}", soft_wrap=True, markup=False)

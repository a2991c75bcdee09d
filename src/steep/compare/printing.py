"""The comparison on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steep.compare import Comparison
from steep.compare.pairs import Pair
from steep.compare.tables import gaps, reasons, sentence, values
from steep.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES = {"better": "green", "worse": "red", "not proven": "dim"}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Values, differences from the first run, what is not compared and why, what differs between the recipes."""
    from rich.table import Table

    measures = values(comparison)
    labels = {one.name: one.label for one in measures}
    table = Table("", "", "value", "95 % interval", box=None, padding=(0, 3, 0, 0))
    for column in table.columns[2:]:
        column.justify = "right"
    for one in measures:
        for place, (name, figure) in enumerate(zip(comparison.runs, one.figures, strict=True)):
            table.add_row("" if place else one.label, _cell(name), figure.value, figure.interval)
    console.print(table)
    for pair in comparison.pairs:
        console.print()
        console.print(f"{harmless(pair.name)} minus {harmless(comparison.first)}", style="bold", markup=False)
        if pair.metrics:
            console.print(_differences(pair, comparison))
        for reason, which in reasons(pair, labels).items():
            console.print(f"not compared: {', '.join(which)}: {harmless(reason)}", style="dim", markup=False)
    _print_recipes(comparison, console)
    console.print()
    for pair in comparison.pairs:
        console.print(harmless(sentence(pair, comparison)), style="bold", markup=False)


def _cell(text: str) -> str:
    from rich.markup import escape

    return escape(harmless(text))


def _differences(pair: Pair, comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "difference", "95 % interval", "p", "effect", "wins", "", box=None, padding=(0, 2, 0, 0))
    for row in gaps(pair, comparison):
        gap = row.gaps["base"]
        word = Text(gap.word or "", style=STYLES[gap.word] if gap.word else "")
        table.add_row(row.label, gap.value, gap.interval, gap.p, gap.effect, gap.wins, word)
    for column in table.columns[1:-1]:
        column.justify = "right"
    return table


def _print_recipes(comparison: Comparison, console: Console) -> None:
    from rich.table import Table

    if not comparison.recipes:
        return
    table = Table("recipe", *map(_cell, comparison.runs), box=None, padding=(0, 3, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    for key, found in comparison.recipes.items():
        table.add_row(*map(_cell, (key, *found)))
    console.print()
    console.print(table)

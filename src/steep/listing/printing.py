"""The list of runs on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steep.listing import Listed, Listing, Sweep
from steep.metrics import metric
from steep.runs import STAGES
from steep.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

HEAD = ("run", "verdict", "measure", "method", "training", "finished", "stages")
IN_A_PIPE = 240
"""Columns where there is no terminal to fit into: a line for each run, for grep."""
STYLES = {"better": "green", "worse": "red"}


def print_listing(listing: Listing, runs: Path, console: Console) -> None:
    if not console.is_terminal:
        console.width = IN_A_PIPE
    whole = [one for one in listing.runs if one.damaged is None]
    if not listing.runs:
        console.print(f"No runs in {runs}: steep run RECIPE makes one.", markup=False)
    if whole:
        console.print(_table(whole))
    for one in listing.sweeps:
        console.print(harmless(_sweep_line(one)), markup=False)
    for broken in listing.runs:
        if broken.damaged:
            console.print(harmless(f"{broken.name}: {broken.damaged}"), style="yellow", markup=False)


def _table(listed: list[Listed]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "run", "verdict", "measure", "method", "training", "finished", "stages", box=None, padding=(0, 2, 0, 0)
    )
    for one in listed:
        cells = map(harmless, _cells(one))
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    return table


def _cells(one: Listed) -> list[str]:
    quantised = one.quantization if one.quantization != "none" else None
    method = " ".join(filter(None, (one.method, quantised, one.objective)))
    return [
        one.name,
        one.verdict or "",
        _said(one),
        f"{method} on {one.base}" if one.base else method,
        _training(one),
        (one.finished or "")[:16].replace("T", " "),
        _progress(one),
    ]


def _said(one: Listed) -> str:
    if one.measure is None:
        return ""
    values = [f"{value:.4g}" for value in (one.measure.base, one.measure.tuned) if value is not None]
    return f"{metric(one.measure.name).label} {' → '.join(values)}, {one.held_out:,} texts"


def _training(one: Listed) -> str:
    if one.seconds is None or one.tokens is None:
        return ""
    minutes, rest = divmod(round(one.seconds), 60)
    time = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    return f"{time if minutes else f'{rest} s'}, {one.tokens:,} tokens, {one.device}"


def _progress(one: Listed) -> str:
    """Empty for a whole run."""
    if len(one.done) == len(STAGES):
        return ""
    until = f"until {one.done[-1]}" if one.done else "none"
    return f"{until}; {one.interrupted[0]} interrupted" if one.interrupted else until


def _sweep_line(one: Sweep) -> str:
    count = f"{one.folder}: a sweep of {one.trials:,} trial{'' if one.trials == 1 else 's'}"
    if one.damaged:
        return f"{count}; {one.damaged}"
    if one.metric is None:
        return f"{count}, without results yet"
    return f"{count}, best {one.metric} {'–' if one.best is None else f'{one.best:.5g}'}"

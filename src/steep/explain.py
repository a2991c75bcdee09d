"""`steep clean RECIPE --explain DOCUMENT`: what each step of a finished cleaning did to one document, as a diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steep.errors import UsageError
from steep.recipe import Recipe
from steep.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_PIECE = re.compile(r"[^\n]*?[.!?:;](?=\s)[^\S\n]*|[^\n]+\n*|\n+")
_SIGNS = {"\n": "⏎", "\t": "→", "\u00a0": "°"}
_UNSEEN = re.compile(r"[\n\t\u00a0]|(?<= ) | (?= |$)")


@dataclass(frozen=True, slots=True)
class Change:
    """What a step did to a document: the lines of a diff, and the reason where it dropped it."""

    step: str
    diff: Sequence[str]
    dropped: str | None


def explain(run: Run, recipe: Recipe, folder: Path, which: str) -> Iterator[Change]:
    """One change for each step, up to the one that dropped the document.

    ``which``: its address, or its id or the beginning of it. Raises RunError where the cleaning is not finished, and
    UsageError where there is no such document, or more than one.
    """
    from steep.clean import step_functions
    from steep.clean.rows import Batch, Facts

    clean = run.need("clean")
    table = _find(run, which)
    text, title, meta = (table[column].to_pylist() for column in ("text", "title", "meta"))
    batch = Batch([text[0] or ""], title, meta, Facts(table))
    for name, step in step_functions(recipe.clean, folder=folder, work=clean):
        before = _shown(batch)
        batch.drops, batch.findings = [], []
        step(batch)
        drop = batch.drops[0] if batch.drops else None
        empty = None if batch.text[0].strip() else f"empty after {name}"
        yield Change(name, list(_diff(before, _shown(batch))), drop.reason if drop else empty)
        if drop or empty:
            return


def print_changes(changes: Iterator[Change], console: Console) -> None:
    from rich.text import Text

    for change in changes:
        said = "dropped" if change.dropped else f"{len(change.diff)} lines differ" if change.diff else "nothing to do"
        console.print(Text(f"{change.step}: {said}", style="bold"))
        for line in change.diff:
            console.print(Text(f"  {line}", style="red" if line.startswith("-") else "green"))
        if change.dropped:
            console.print(Text(f"  {change.dropped}", style="yellow"))


def _find(run: Run, which: str) -> pa.Table:
    """The document as it was gathered, with its place among all in the column ``row``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place, found, wanted = 0, list[pa.Table](), set[str]()
    for path in sorted((run.need("gather") / "documents").glob("*.parquet")):
        for group in pq.ParquetFile(path).iter_batches(batch_size=1000):
            table = pa.Table.from_batches([group])
            for number, (id_, url) in enumerate(zip(table["id"].to_pylist(), table["url"].to_pylist(), strict=True)):
                if url == which or id_.startswith(which):
                    row = pa.array([place + number], pa.int64())
                    found.append(table.slice(number, 1).append_column("row", row))
                    wanted.add(id_)
            place += table.num_rows
    if not found:
        raise UsageError(f"{run.folder}: no document has the id or the address {which!r}; `steep view` shows them")
    if len(wanted) > 1:
        raise UsageError(
            f"{run.folder}: {which!r} is the beginning of {len(wanted)} ids: {', '.join(sorted(wanted)[:5])}"
        )
    return found[0]


def _shown(batch: object) -> list[str]:
    """Title, meta and text in pieces short enough to be compared by eye."""
    from steep.clean.rows import Batch

    assert isinstance(batch, Batch)
    heads = [f"{name}: {value}" for name, value in (("title", batch.title[0]), ("meta", batch.meta[0])) if value]
    return [*heads, *_PIECE.findall(batch.text[0])]


def _diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    for line in difflib.unified_diff(before, after, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield line[0] + " " + _UNSEEN.sub(lambda sign: _SIGNS.get(sign[0], "·"), line[1:])

"""`steep view`: page through the documents that a stage left, in the terminal.

Only the row groups that are looked at are read, so a collection of any size opens at once.
"""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

PLACES = ("clean", "gather")
"""Of a run's folder, whose documents are shown: those of the last of these stages that is finished."""
SHOWN = 3_000
"""Characters of a text that are shown at first."""
TEXTS = ("text", "prompt", "completion")
FACTS = ("source", "published", "url", "owner", "licence", "fetched", "robots", "document_id", "group", "id")
KEYS = "space, n: next   p: previous   f: all of the text   g: go to a number   /: search   q: end"


class Shelf:
    """The rows of some Parquet files as one long list."""

    def __init__(self, paths: list[Path]) -> None:
        import pyarrow.parquet as pq

        self._files = [pq.ParquetFile(path) for path in paths]
        groups = [(file, group) for file in self._files for group in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in groups]
        self._groups = groups
        self._starts: list[int] = [0, *itertools.accumulate(sizes)]
        self._rows = lru_cache(maxsize=2)(self._read)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        group = bisect_right(self._starts, number) - 1
        row: Mapping[str, Any] = self._rows(group)[number - self._starts[group]]
        return row

    def _read(self, group: int) -> list[dict[str, Any]]:
        file, number = self._groups[group]
        rows: list[dict[str, Any]] = file.read_row_group(number).to_pylist()
        return rows

    def search(self, words: str, start: int) -> int | None:
        """The first row from `start` on, and then from the top, that holds the words in any of its texts."""
        for number in itertools.chain(range(start, len(self)), range(start)):
            if any(words.casefold() in str(value).casefold() for value in self[number].values()):
                return number
        return None


def open_shelf(path: Path, *, dropped: bool = False) -> Shelf:
    """The documents of a run, a stage, a folder or a file. Raises UsageError where there are none."""
    paths = list(_files(path, dropped=dropped))
    if not paths:
        raise UsageError(
            f"{path}: no documents there; name the folder of a run (runs/NAME), of a stage (runs/NAME/clean) or a "
            "Parquet file"
        )
    return Shelf(paths)


def _files(path: Path, *, dropped: bool) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    stage = next((path / name for name in PLACES if (path / name).is_dir()), path)
    folder = stage / ("dropped" if dropped else "documents")
    yield from sorted((folder if folder.is_dir() else stage).glob("*.parquet"))


def show_all(shelf: Shelf, console: Console) -> None:
    """One after another, whole, for a pipe or a file."""
    for number in range(len(shelf)):
        print_row(shelf, number, console, whole=True)
        console.print()


def print_row(shelf: Shelf, number: int, console: Console, *, whole: bool = False) -> None:
    from rich.rule import Rule
    from rich.text import Text

    row = shelf[number]
    console.print(Rule(Text(f"{number + 1:,} of {len(shelf):,}  {row.get('title') or ''}"), align="left"))
    facts = [str(row[name]) for name in FACTS if row.get(name) is not None]
    console.print(Text("  ".join(facts), style="dim"))
    if row.get("reason"):
        console.print(Text(f"dropped by {row['step']}: {row['reason']}", style="yellow"))
    for name in TEXTS:
        if row.get(name) is not None:
            text = str(row[name])
            if name != "text":
                console.print(Text(name, style="bold"))
            console.print(Text(text if whole else text[:SHOWN]), soft_wrap=False)
            if len(text) > SHOWN and not whole:
                console.print(Text(f"… and {len(text) - SHOWN:,} more characters: f", style="dim"))


def page(shelf: Shelf, console: Console) -> None:
    """Show one row after another, as the keys say."""
    import click

    number = 0
    whole, shown = False, -1
    while len(shelf):
        if number != shown or whole:
            print_row(shelf, number, console, whole=whole)
            console.print(f"[dim]{KEYS}[/]")
            shown, whole = number, False
        key = click.getchar()
        if key in ("q", "\x1b", "\x04"):
            return
        if key in (" ", "n", "j", "\r", "\x1b[C", "\x1b[B"):
            number = min(number + 1, len(shelf) - 1)
        elif key in ("p", "k", "b", "\x1b[D", "\x1b[A"):
            number = max(number - 1, 0)
        elif key == "f":
            whole = True
        elif key == "g":
            number = _asked_number(shelf, number)
        elif key == "/":
            number = _found(shelf, number, console)


def _asked_number(shelf: Shelf, number: int) -> int:
    words = input(f"number (1 to {len(shelf)}): ").strip()
    return min(max(int(words) - 1, 0), len(shelf) - 1) if words.isdigit() else number


def _found(shelf: Shelf, number: int, console: Console) -> int:
    words = input("search: ").strip()
    found = shelf.search(words, number + 1) if words else number
    if found is None:
        console.print(f"[yellow]nothing holds {words!r}[/]")
        return number
    return found


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()

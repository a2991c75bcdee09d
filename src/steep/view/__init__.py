"""`steep view`: page through the documents that a stage left, in the terminal; into a pipe, print them all.

Only the row groups that are looked at are read, so a collection of any size opens at once; a search reads one after
another until it finds something.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from steep.view.pager import Pager
from steep.view.rows import lines_of
from steep.view.shelf import Shelf, open_shelf

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["view"]


def view(path: Path, console: Console, *, dropped: bool = False) -> None:
    """Show the documents of a run, a stage, a folder or a file. Raises UsageError or RunError where there are none."""
    shelf = open_shelf(path, dropped=dropped)
    if not len(shelf):
        console.print(f"{path}: {'nothing was dropped' if dropped else 'no documents'}", markup=False)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        Pager(shelf, console).run()
    else:
        print_all(shelf, console)


def print_all(shelf: Shelf, console: Console) -> None:
    """One after another, whole and with their own lines, for a pipe or a file."""
    for number in range(len(shelf)):
        console.out("\n".join(block.plain for block in lines_of(shelf, number)), end="\n\n", highlight=False)

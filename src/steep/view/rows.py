"""A document as lines of text: its title, what is known of it, what it says. Nothing in it can command the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from steep.terminal import harmless
from steep.view.shelf import Shelf

if TYPE_CHECKING:
    from rich.text import Text

TEXTS = ("text", "prompt", "completion", "chosen", "rejected")
FACTS = ("id", "source", "published", "owner", "licence")
"""Columns whose values need no name beside them."""
DROPPED = {"step", "reason"}


def lines_of(shelf: Shelf, number: int) -> Iterator[Text]:
    """A row, from its title to the last paragraph."""
    from rich.text import Text

    row = shelf[number]
    title = harmless(str(row.get("title") or ""))
    yield Text(f"── {number + 1:,} of {len(shelf):,}  {title}".rstrip(), style="bold")
    yield from (Text(line, style="dim") for line in _facts(row) if line)
    if row.keys() >= DROPPED:
        yield Text(harmless(f"dropped by {row['step']}: {row['reason']}"), style="yellow")
    for name in TEXTS:
        if row.get(name) is not None:
            yield Text("" if name == "text" else f"{name}:", style="dim")
            yield from (Text(line) for line in harmless(str(row[name])).split("\n"))


def _facts(row: Mapping[str, Any]) -> Iterator[str]:
    yield "  ".join(_said(row[name]) for name in FACTS if row.get(name) is not None)
    yield _said(row.get("url") or "")
    told = {"url", "title", *TEXTS, *FACTS, *(DROPPED if row.keys() >= DROPPED else ())}
    others = ((name, _said(value)) for name, value in row.items() if name not in told and value not in (None, "{}"))
    yield "  ".join(f"{name}: {value}" for name, value in others)


def _said(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else harmless(str(value)).replace("\n", " ")

"""Paging in a terminal: a screen of a document at a time, and keys."""

from __future__ import annotations

import os
import re
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from steep.terminal import harmless
from steep.view.rows import lines_of
from steep.view.shelf import Shelf

if TYPE_CHECKING:
    from rich.console import Console
    from rich.containers import Lines
    from rich.text import Text

KEYS = "space on  n next  p previous  f in full  g go to  / search  q quit"
_KEY = re.compile(r"\x1b\[[A-D]|.", re.DOTALL)


class Pager:
    """Shows a screen of a row at a time and does what the keys say."""

    def __init__(self, shelf: Shelf, console: Console) -> None:
        self.shelf = shelf
        self.console = console
        self.number = 0
        self.top = 0
        """The line of the row that is the first of the screen."""
        self.height = 0
        """How many lines the screen has for the row."""
        self.more = False
        """Whether the row goes on below the screen."""
        self.full = False
        self.words = ""
        self.note = ""

    def run(self) -> None:
        with suppress(KeyboardInterrupt), _keys_at_once():  # Ctrl-C quits as well
            while True:
                self.show()
                typed = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
                for key in _KEY.findall(typed) or ["q"]:  # nothing: the terminal is gone
                    if key in ("q", "\x1b", "\x04"):
                        return
                    _ACTIONS.get(key, Pager.stay)(self)

    def show(self) -> None:
        self.height = max(3, self.console.height - len(self._foot(more=True)) - 1)
        start, end = (0, None) if self.full else (self.top, self.top + self.height)
        lines = list(islice(self._lines(), start, end and end + 1))
        self.more = end is not None and len(lines) > self.height
        self.console.clear()
        self.console.print(*lines[: end and self.height], *self._foot(more=self.more), sep="\n")
        self.full, self.note = False, ""

    def _foot(self, *, more: bool) -> Lines:
        from rich.text import Text

        note, below = f"{self.note}   " if self.note else "", "… more   " if more else ""
        foot = Text.assemble((note, "yellow"), (below, "bold"), (KEYS, "dim"))
        return foot.wrap(self.console, self.console.width)

    def _lines(self) -> Iterator[Text]:
        for block in lines_of(self.shelf, self.number):
            if self.words:
                block.highlight_words([self.words], "reverse", case_sensitive=False)
            yield from block.wrap(self.console, self.console.width)

    def stay(self) -> None:
        pass

    def go_on(self) -> None:
        if self.more:
            self.top += self.height
        else:
            self.next()

    def go_back(self) -> None:
        if self.top:
            self.top = max(0, self.top - self.height)
        else:
            self.previous()

    def next(self) -> None:
        self._go(self.number + 1, "that is the last")

    def previous(self) -> None:
        self._go(self.number - 1, "that is the first")

    def in_full(self) -> None:
        self.full = True

    def go_to(self) -> None:
        words = _asked(f"number (1 to {len(self.shelf):,}): ").replace(",", "")
        if words:
            number = int(words) - 1 if words.isdecimal() else -1
            self._go(number, f"there is no {harmless(words)}")

    def search(self) -> None:
        """For the words given, or for those of the last time."""
        words = self.words = _asked("search: ") or self.words
        if not words:
            return
        found = self.shelf.search(words, self.number + 1)
        if found is None or found == self.number:
            self.note = f"nothing {'else ' if found is not None else ''}holds {harmless(words)!r}"
        else:
            self._go(found, "")
            self.top = self._line_of(words)

    def _line_of(self, words: str) -> int:
        """The first line of the screen that has the words in its middle; 0 where a line's end divides them."""
        lines = (number for number, line in enumerate(self._lines()) if words.casefold() in line.plain.casefold())
        return max(0, next(lines, 0) - self.height // 2)

    def _go(self, number: int, otherwise: str) -> None:
        if 0 <= number < len(self.shelf):
            self.number, self.top = number, 0
        else:
            self.note = otherwise


_ACTIONS: dict[str, Callable[[Pager], None]] = {
    **dict.fromkeys((" ", "\n", "\r", "\x1b[B"), Pager.go_on),
    **dict.fromkeys(("b", "\x1b[A"), Pager.go_back),
    **dict.fromkeys(("n", "\x1b[C"), Pager.next),
    **dict.fromkeys(("p", "\x1b[D"), Pager.previous),
    "f": Pager.in_full,
    "g": Pager.go_to,
    "/": Pager.search,
}


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys arrive when they are pressed, and are not echoed."""
    with _restored():
        tty.setcbreak(sys.stdin.fileno(), termios.TCSADRAIN)
        yield


@contextmanager
def _restored() -> Iterator[None]:
    """However the terminal is set meanwhile, in the end it is as before."""
    before = termios.tcgetattr(sys.stdin.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _asked(question: str) -> str:
    """A line of answer, which can be seen and mended while it is typed."""
    with _restored():
        settings = termios.tcgetattr(sys.stdin.fileno())
        settings[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, settings)
        with suppress(EOFError):  # Ctrl-D: no answer
            return input(question).strip()
        return ""

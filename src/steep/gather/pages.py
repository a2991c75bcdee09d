"""The record of a crawl: every page that arrived, one JSON line each, appended as it arrives.

A line is written at once and whole, so the record survives kill -9 but for a last line cut short, which is overwritten.
Of each page only its place in the file and its addresses are held in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from steep.gather.addresses import believed, key_of


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page and the address asked for; ``url`` is where redirects led. Without ``html`` and ``pdf`` it is no page."""

    asked: str
    url: str
    html: str | None = None
    pdf: str | None = None
    """The file, in base64."""
    canonical: str | None = None
    """The address that the page gives as its own, where that is another one of the site."""
    rendered: str | None = None
    """Why it was opened in a browser, where it was."""
    robots: str | None = None
    at: str | None = None
    """The moment in UTC, ISO 8601."""

    @property
    def is_page(self) -> bool:
        return self.html is not None or self.pdf is not None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is held of a page in memory."""

    place: int
    url: str
    canonical: str | None
    is_page: bool


class Pages:
    """The record in a folder. The crawler appends to it; ``read`` gives a record to look at only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._entries: dict[str, _Entry] = {}
        self.count = 0
        """Of those that are pages."""
        self.rendered: Counter[str] = Counter()
        self.robots: Counter[str] = Counter()
        self._end = 0
        for line in stream:
            if line.endswith(b"\n"):
                self._note(_read(line), len(line))

    @classmethod
    def read(cls, path: Path) -> Pages:
        return cls(path.open("rb"))

    @classmethod
    def append(cls, path: Path) -> Pages:
        path.touch()
        return cls(path.open("r+b"))

    def _note(self, page: Fetched, length: int) -> None:
        self._entries[page.asked] = _Entry(self._end, page.url, page.canonical, page.is_page)
        self._end += length
        self.count += page.is_page
        if page.rendered:
            self.rendered[page.rendered] += 1
        if page.robots and page.is_page:
            self.robots[page.robots] += 1

    def add(self, page: Fetched) -> None:
        said = {name: value for name, value in asdict(page).items() if value is not None}
        line = json.dumps(said).encode() + b"\n"
        self._stream.seek(self._end)
        self._stream.write(line)
        self._stream.flush()
        self._note(page, len(line))

    def get(self, asked: str) -> Fetched | None:
        if asked not in self._entries:
            return None
        self._stream.seek(self._entries[asked].place)
        return _read(self._stream.readline())

    def chosen(self) -> dict[str, str]:
        """For each address that a page stands for, in order, the address asked for that brought the page.

        Of several pages with one canonical address it is the page at that address, else the first of them.
        """
        pages = {asked: entry for asked, entry in self._entries.items() if entry.is_page}
        canonical = believed({entry.url: entry.canonical for entry in pages.values() if entry.canonical})
        chosen: dict[str, tuple[str, str]] = {}
        for asked in sorted(pages, key=lambda asked: (pages[asked].url in canonical, pages[asked].url, asked)):
            address = canonical.get(pages[asked].url, pages[asked].url)
            chosen.setdefault(key_of(address), (address, asked))
        return dict(sorted(chosen.values()))

    def close(self) -> None:
        self._stream.close()


def _read(line: bytes) -> Fetched:
    said: dict[str, Any] = json.loads(line)
    return Fetched(**said)

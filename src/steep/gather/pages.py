"""The record of a crawl: every page that arrived, one JSON line each, appended as it arrives.

A line is written at once and whole, so the record survives kill -9 but for a last line cut short, which is overwritten.
Of each page only its place in the file is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page and the address asked for; ``url`` is where redirects led, ``html`` is None where it is not a page."""

    asked: str
    url: str
    html: str | None


class Pages:
    """The record in a folder. The crawler appends to it; ``read`` gives a record to look at only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._places: dict[str, int] = {}
        self._urls: dict[str, str] = {}
        self.count = 0
        """Of those that are HTML."""
        self._end = 0
        for line in stream:
            if line.endswith(b"\n"):
                self._note(Fetched(**json.loads(line)), len(line))

    @classmethod
    def read(cls, path: Path) -> Pages:
        return cls(path.open("rb"))

    @classmethod
    def append(cls, path: Path) -> Pages:
        path.touch()
        return cls(path.open("r+b"))

    def _note(self, page: Fetched, length: int) -> None:
        self._places[page.asked] = self._end
        self._urls[page.asked] = page.url
        self._end += length
        self.count += page.html is not None

    def add(self, page: Fetched) -> None:
        line = json.dumps(asdict(page)).encode() + b"\n"
        self._stream.seek(self._end)
        self._stream.write(line)
        self._stream.flush()
        self._note(page, len(line))

    def get(self, asked: str) -> Fetched | None:
        if asked not in self._places:
            return None
        self._stream.seek(self._places[asked])
        return Fetched(**json.loads(self._stream.readline()))

    def __iter__(self) -> Iterator[Fetched]:
        """In the order of the addresses, whatever the order of arrival."""
        for asked in sorted(self._places, key=lambda asked: (self._urls[asked], asked)):
            page = self.get(asked)
            assert page is not None
            yield page

    def close(self) -> None:
        self._stream.close()

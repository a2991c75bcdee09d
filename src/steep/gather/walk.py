"""The order in which a site is walked: level by level, the links of each page in the order of the page.

Nothing of a level is asked for before the one above has come back, so that the same site gives the same pages
wherever a limit cuts, however fast each answer was. The price: one page that hangs holds up its level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from w3lib.url import canonicalize_url


class Address(NamedTuple):
    url: str
    sitemap: bool = False


def site_of(url: str) -> tuple[str, int | None] | None:
    """Host and port of a web address; ``www.`` and http against https make no difference."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # as pages write them
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return host.removeprefix("www."), None if port in (80, 443) else port


class Walk:
    def __init__(self, start: Sequence[Address]) -> None:
        self._seen: set[str] = set()
        self._queue: deque[Address] = deque()
        self._level: list[Address] = []
        self._links: dict[str, list[Address]] = {}
        self._enqueue(start)

    def next_level(self, most: int) -> list[Address]:
        for address in self._level:
            self._enqueue(self._links.pop(address.url, []))
        self._level = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        return self._level

    def found(self, on: str, links: list[Address]) -> None:
        self._links[on] = links

    def claim(self, url: str) -> bool:
        """False where the address was met before, in any spelling."""
        key = canonicalize_url(url)
        new = key not in self._seen
        self._seen.add(key)
        return new

    @property
    def waiting(self) -> int:
        return len(self._level) + len(self._queue)

    def _enqueue(self, addresses: Sequence[Address]) -> None:
        self._queue.extend(address for address in addresses if self.claim(address.url))

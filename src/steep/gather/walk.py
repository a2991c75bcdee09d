"""The order in which a site is walked: level by level, the links of each page in the order of the page.

Nothing is asked for before the at most `PART` pages ahead of it have come back, so that the same site gives the same
pages wherever a limit cuts, however fast each answer was. The price: one page that hangs holds up those of its part.

Sites link without end: to calendars, to filters of filters, into themselves. An address that is visibly endless is not
followed; nor are those of a kind whose last `PATIENCE` pages said nothing but what pages of that kind had said before,
numbers aside. The price: an empty calendar costs that many pages, and a year of it before, since months have names.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from steep.gather.addresses import is_endless, key_of, kind_of_address

PART = 100
PATIENCE = 20
ENOUGH = 10
"""Times as many addresses as pages are still wanted: no further sitemap is read."""


class Address(NamedTuple):
    url: str
    sitemap: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a page led to, and what it said: a number that is the same for the same words."""

    links: Sequence[Address]
    said: int | None = None


class Walk:
    def __init__(self, start: Sequence[Address], max_depth: int | None = None) -> None:
        self._max_depth = max_depth
        self._met: set[int] = set()
        """Hashes: 50 bytes an address in place of 200."""
        self._queue: deque[Address] = deque()
        self._part: list[Address] = []
        self._found: dict[str, Found] = {}
        self._traps = Traps()
        self.trapped: dict[str, str] = {}
        """For each kind of address that is no longer followed, the first one that was not."""
        for address in start:
            self._enqueue(address)

    def next_part(self, most: int) -> list[Address]:
        for address in self._part:
            found = self._found.pop(address.url, Found(()))
            if found.said is not None:
                self._traps.note(address.url, found.said)
            for link in found.links:
                self._enqueue(link)
        self._part = []
        while self._queue and len(self._part) < min(most, PART):
            address = self._queue.popleft()
            if not self._is_wanted(address, most):
                continue
            self._part.append(address)
            if address.sitemap:  # it may bring enough
                break
        return self._part

    def _is_wanted(self, address: Address, most: int) -> bool:
        if address.sitemap:  # large sites have hundreds, of 50,000 addresses each
            return len(self._queue) < ENOUGH * most
        if self._traps.hold(address.url):
            self.trapped.setdefault(kind_of_address(address.url), address.url)
            return False
        return True

    def found(self, on: Address, links: Sequence[str], *, sitemaps: bool = False, said: int | None = None) -> None:
        """Notes the links of a page or sitemap; those of an index of sitemaps are sitemaps."""
        depth = on.depth if sitemaps else on.depth + 1
        new = [] if self._too_deep(depth) else [Address(url, sitemaps, depth) for url in links if not self.met(url)]
        self._found[on.url] = Found(new, said)

    def met(self, url: str) -> bool:
        """Whether this very spelling was; quick, for menus that repeat on each page."""
        return hash(url) in self._met

    def claim(self, url: str) -> bool:
        """False where the address was met before, in any spelling."""
        key = hash(key_of(url))
        new = key not in self._met
        self._met |= {key, hash(url)}
        return new

    @property
    def waiting(self) -> int:
        return len(self._part) + len(self._queue)

    def _too_deep(self, depth: int) -> bool:
        return self._max_depth is not None and depth > self._max_depth

    def _enqueue(self, address: Address) -> None:
        if not self.met(address.url) and self.claim(address.url) and not is_endless(address.url):
            self._queue.append(address)


class Traps:
    """Which kinds of addresses have stopped saying anything new."""

    def __init__(self) -> None:
        self._said: dict[str, set[int]] = defaultdict(set)
        self._in_a_row: Counter[str] = Counter()

    def note(self, url: str, said: int) -> None:
        kind = kind_of_address(url)
        self._in_a_row[kind] = self._in_a_row[kind] + 1 if said in self._said[kind] else 0
        self._said[kind].add(said)

    def hold(self, url: str) -> bool:
        return self._in_a_row[kind_of_address(url)] >= PATIENCE

"""robots.txt: what it says of an address; and for pages that are fetched one by one, the pace that goes with it.

As RFC 9309 has it: where there is no robots.txt all is allowed, where it cannot be had (429, 5xx, no answer) nothing.
A site is left alone for as long as its last answer took, so that it works for us at most half of the time, or for its
Crawl-delay, of which up to a minute is heeded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from protego import Protego

from steep.gather.decoding import Unreadable
from steep.gather.http import Client, Reply, follow

ALLOWED = "allowed"
ABSENT = "no robots.txt"
FORBIDDEN = "forbidden by robots.txt"
LONGEST_DELAY = 60.0
MOST_RULES = 500 * 1024
"""Bytes of a robots.txt that are read: the least that the RFC asks of crawlers."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a site's robots.txt says; without ``parsed`` everything is allowed, or nothing, if it is ``unknown``."""

    parsed: Protego | None = None
    unknown: str | None = None
    """Why there is no telling what is allowed."""

    @classmethod
    def of(cls, status: int, body: bytes) -> Rules:
        """By the answer to the request for it."""
        if status == 429 or status >= 500:
            return cls(unknown=f"HTTP {status}")
        return cls() if status >= 400 else cls(Protego.parse(body[:MOST_RULES].decode("utf-8-sig", "ignore")))

    @property
    def decision(self) -> str:
        """Of an address that no rule forbids."""
        return ALLOWED if self.parsed else ABSENT

    def refusal(self, url: str, user_agent: str) -> str | None:
        """Why an address may not be asked for."""
        if self.unknown:
            return f"taken for forbidden, since the site's robots.txt cannot be had: {self.unknown}"
        return FORBIDDEN if self.parsed and not self.parsed.can_fetch(url, user_agent) else None

    def delay(self, user_agent: str) -> float:
        return (self.parsed.crawl_delay(user_agent) if self.parsed else None) or 0.0


@dataclass
class _Site:
    rules: Rules
    free: float = 0.0
    """When it may be asked again, on the monotonic clock."""


class Robots:
    def __init__(self, client: Client, user_agent: str) -> None:
        self._client = client
        self._user_agent = user_agent
        self._sites: dict[str, _Site] = {}

    def get(self, url: str) -> Reply:
        """The answer with the decision; `Unreadable` where the address is forbidden."""
        site = self._site(url)
        if refusal := site.rules.refusal(url, self._user_agent):
            raise Unreadable(refusal)
        time.sleep(max(0.0, site.free - time.monotonic()))
        begin = time.monotonic()
        try:
            return replace(self._client.get(url), robots=site.rules.decision)
        finally:
            end = time.monotonic()
            site.free = end + min(max(end - begin, site.rules.delay(self._user_agent)), LONGEST_DELAY)

    def _site(self, url: str) -> _Site:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise Unreadable(f"not an address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unreadable("not the address of a web page")
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._sites:
            self._sites[origin] = _Site(self._ask(f"{origin}/robots.txt"))
        return self._sites[origin]

    def _ask(self, address: str) -> Rules:
        try:
            reply = follow(address, self._client.get)
        except Unreadable as error:
            return Rules(unknown=str(error))
        return Rules.of(reply.status, reply.body)

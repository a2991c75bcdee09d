"""robots.txt for pages that are fetched one by one: the decision, and the pace that goes with it.

As RFC 9309 has it: where there is no robots.txt all is allowed, where it cannot be had (5xx, no answer) nothing is.
A site is left alone for as long as its last answer took, so that it works for us at most half of the time, or for its
Crawl-delay, of which up to a minute is heeded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from protego import Protego

from steep.gather.decoding import Unreadable
from steep.gather.http import Client, Reply, follow, passing

ALLOWED = "allowed"
ABSENT = "no robots.txt"
FORBIDDEN = "forbidden by robots.txt"
LONGEST_DELAY = 60.0
MOST_RULES = 500 * 1024
"""Bytes of a robots.txt that are read: the least that the RFC asks of crawlers."""


@dataclass
class _Site:
    rules: Protego | None
    decision: str
    """Of an address that no rule forbids."""
    unknown: str | None = None
    """Why there is no telling what is allowed."""
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
        self._check(site, url)
        time.sleep(max(0.0, site.free - time.monotonic()))
        begin = time.monotonic()
        try:
            return replace(self._client.get(url), robots=site.decision)
        finally:
            end = time.monotonic()
            site.free = end + min(max(end - begin, self._delay(site)), LONGEST_DELAY)

    def _check(self, site: _Site, url: str) -> None:
        if site.unknown:
            raise Unreadable(f"taken for forbidden, since the site's robots.txt cannot be had: {site.unknown}")
        if site.rules and not site.rules.can_fetch(url, self._user_agent):
            raise Unreadable(FORBIDDEN)

    def _delay(self, site: _Site) -> float:
        return (site.rules.crawl_delay(self._user_agent) if site.rules else None) or 0.0

    def _site(self, url: str) -> _Site:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise Unreadable(f"not an address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unreadable("not the address of a web page")
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._sites:
            self._sites[origin] = self._ask(f"{origin}/robots.txt")
        return self._sites[origin]

    def _ask(self, address: str) -> _Site:
        try:
            reply = follow(address, self._client.get)
        except Unreadable as error:
            return _Site(None, ABSENT, str(error))
        if passing(reply):
            return _Site(None, ABSENT, f"HTTP {reply.status}")
        if reply.status >= 400:
            return _Site(None, ABSENT)
        return _Site(Protego.parse(reply.body[:MOST_RULES].decode("utf-8-sig", "replace")), ALLOWED)

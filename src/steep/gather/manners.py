"""How the crawler behaves towards servers: it asks robots.txt first, waits when told to, and stays on the site.

Scrapy's own robots.txt middleware takes an answer of 5xx for leave to fetch everything; by RFC 9309 it means that
nothing may be fetched, as does no answer. 429 is treated alike. A server that asks for patience (429 or 503 with
Retry-After) is left alone as a whole for so long, up to `LONGEST_WAIT`; after a 429 the pace is halved for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK
from scrapy.robotstxt import ProtegoRobotParser

from steep.gather.http import retry_after
from steep.gather.robots import ABSENT, ALLOWED, FORBIDDEN, LONGEST_DELAY, MOST_RULES

LONGEST_WAIT = 300.0
FIRST_WAIT = 1.0
"""Seconds after a 429 that does not say for how long; twice as long after the next."""


class Spider(Protocol):
    def check_redirect(self, url: str, trail: Sequence[str]) -> None: ...
    def pause(self, seconds: float) -> None: ...
    def stop(self, reason: str) -> None: ...
    def reason(self, error: Exception) -> str: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What a host's robots.txt says; without ``parser`` everything is allowed, or nothing, if it is ``unknown``."""

    parser: Any = None
    unknown: str | None = None

    @property
    def decision(self) -> str:
        """Of an address that no rule forbids."""
        return ALLOWED if self.parser else ABSENT

    def check(self, url: str, user_agent: str) -> None:
        if self.unknown:
            raise IgnoreRequest(f"taken for forbidden, since the site's robots.txt cannot be had: {self.unknown}")
        if self.parser and not self.parser.allowed(url, user_agent):
            raise IgnoreRequest(FORBIDDEN)


class _Middleware:
    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Any:
        return cls(crawler)

    @property
    def spider(self) -> Spider:
        spider: Spider = self.crawler.spider
        return spider


class Redirects(_Middleware):
    """Applies the limits of the crawl to where redirects lead, before robots.txt is asked."""

    def process_request(self, request: scrapy.Request) -> None:
        trail = request.meta.get("redirect_urls")
        if trail and "address" in request.meta and request.meta.get("checked") != request.url:  # a retry was checked
            self.spider.check_redirect(request.url, trail)
            request.meta["checked"] = request.url


class Robots(_Middleware):
    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.user_agent = crawler.settings["USER_AGENT"]
        self._hosts: dict[str, asyncio.Future[Rules]] = {}

    async def process_request(self, request: scrapy.Request) -> None:
        if "address" in request.meta:
            rules = await self._rules(request.url)
            rules.check(request.url, self.user_agent)
            request.meta["robots"] = rules.decision

    def forbid(self, url: str) -> bool:
        """Whether an address is forbidden by a robots.txt that was asked for before."""
        known = self._hosts.get(urlsplit(url).netloc)
        rules = known.result() if known and known.done() else Rules()
        return rules.parser is not None and not rules.parser.allowed(url, self.user_agent)

    async def _rules(self, url: str) -> Rules:
        host = urlsplit(url).netloc
        if host not in self._hosts:
            self._hosts[host] = asyncio.ensure_future(self._ask(f"{urlsplit(url).scheme}://{host}/robots.txt"))
        return await self._hosts[host]

    async def _ask(self, address: str) -> Rules:
        request = scrapy.Request(address, callback=NO_CALLBACK, priority=1000)
        try:
            response = await self.crawler.engine.download_async(request)
        except Exception as error:  # noqa: BLE001 - whatever it was, the rules are unknown
            return Rules(unknown=self.spider.reason(error))
        if response.status >= 500 or response.status == 429:
            return Rules(unknown=f"HTTP {response.status}")
        if response.status >= 400:
            return Rules()
        parser = ProtegoRobotParser(response.body[:MOST_RULES], None)
        slow_down(self.crawler, parser.crawl_delay(self.user_agent) or 0.0)
        return Rules(parser)


class Patience(_Middleware):
    """Hears 429 and 503 before Scrapy asks once more."""

    def process_response(self, request: scrapy.Request, response: Response) -> Response:
        if response.status not in (429, 503):
            return response
        wait = retry_after((response.headers.get("Retry-After") or b"").decode("latin-1"))
        if response.status == 429:
            slot = self.crawler.engine.downloader.slots[request.meta["download_slot"]]
            slow_down(self.crawler, 2 * slot.delay)
            wait = FIRST_WAIT * 2 ** request.meta.get("retry_times", 0) if wait is None else wait
        if wait is None or wait <= LONGEST_WAIT:
            self._leave_alone(request, wait or 0.0)
        elif response.status == 429:
            self.spider.stop(f"the server asks to come back in {wait:,.0f} s")
        else:
            request.meta["dont_retry"] = True
        return response

    def _leave_alone(self, request: scrapy.Request, seconds: float) -> None:
        slot = self.crawler.engine.downloader.slots[request.meta["download_slot"]]
        slot.lastseen = max(slot.lastseen, time.monotonic() + seconds - slot.delay)
        self.spider.pause(seconds)


def slow_down(crawler: Crawler, delay: float) -> None:
    """Leave at least so many seconds between requests, up to a minute."""
    throttle = crawler.get_extension(AutoThrottle)
    if throttle:
        throttle.mindelay = max(throttle.mindelay, min(delay, LONGEST_DELAY))
        for slot in crawler.engine.downloader.slots.values():
            slot.delay = max(slot.delay, throttle.mindelay)

"""How the crawler behaves towards servers: it asks robots.txt first, waits when told to, and stays on the site.

Scrapy's own robots.txt middleware takes an answer of 5xx for leave to fetch everything; by RFC 9309 it means that
nothing may be fetched, as does no answer. 429 is treated alike. A server that asks for patience (429 or 503 with
Retry-After) is left alone as a whole for so long, up to `LONGEST_WAIT`; after a 429 the pace is halved for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from steep.gather.http import retry_after
from steep.gather.robots import FORBIDDEN, LONGEST_DELAY, Rules

LONGEST_WAIT = 300.0
FIRST_WAIT = 1.0
"""Seconds after a 429 that does not say for how long; twice as long after the next."""


class Spider(Protocol):
    def check_redirect(self, url: str, trail: Sequence[str]) -> None: ...
    def pause(self, seconds: float) -> None: ...
    def stop(self, reason: str) -> None: ...
    def reason(self, error: Exception) -> str: ...


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
            if refusal := rules.refusal(request.url, self.user_agent):
                raise IgnoreRequest(refusal)
            request.meta["robots"] = rules.decision

    def forbid(self, url: str) -> bool:
        """Whether an address is forbidden by a robots.txt that was asked for before."""
        known = self._hosts.get(urlsplit(url).netloc)
        rules = known.result() if known and known.done() else Rules()
        return rules.refusal(url, self.user_agent) == FORBIDDEN

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
        rules = Rules.of(response.status, response.body)
        slow_down(self.crawler, rules.delay(self.user_agent))
        return rules


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

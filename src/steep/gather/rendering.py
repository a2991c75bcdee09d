"""Opens pages in Chromium, through scrapy-playwright; imported by the crawler only where the recipe asks for it.

One page is open at a time, since each makes many requests by itself. It gets a browser context of its own, so that no
cookie and no counter of free articles goes from one to the next. Images, fonts and media are not loaded, frames,
windows and forms not opened, addresses that robots.txt forbids not asked for. Playwright switches the browser's cache
off, so scripts and styles are kept here, or each page would fetch them again. A page is read when its network has been
silent for `SILENCE`, or after `SETTLE` seconds: text that a script writes later than that is not seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

import scrapy
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, Request, Route
from playwright.async_api import TimeoutError as PlaywrightTimeout
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadTimeoutError, IgnoreRequest
from scrapy.http import HtmlResponse, Response
from scrapy_playwright.handler import ScrapyPlaywrightDownloadHandler
from scrapy_playwright.provider import PlaywrightBrowserProvider

from steep.gather.chromium import launch_options

SILENCE = 0.5
SETTLE = 10.0
ENDING = 3.0
"""Seconds after which a page that is still busy then is given up."""
VIEWPORT = {"width": 1280, "height": 8000}
"""So tall that what is loaded when it comes into view is loaded."""
NOT_LOADED = ("image", "font", "media", "texttrack", "ping", "manifest", "eventsource", "websocket")
KEPT = ("script", "stylesheet")
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
"""POST only by scripts that ask for data, never by a form."""
MOST_KEPT = 64 << 20

# Text in shadow roots is no part of a page's HTML; this puts it where it is seen.
READ = """() => {
  const flatten = root => {
    for (const host of root.querySelectorAll('*')) {
      if (!host.shadowRoot) continue;
      flatten(host.shadowRoot);
      for (const slot of host.shadowRoot.querySelectorAll('slot'))
        slot.replaceWith(...slot.assignedNodes({flatten: true}));
      host.replaceChildren(...host.shadowRoot.childNodes);
    }
  };
  flatten(document);
  return document.documentElement.outerHTML;
}"""


class Kept(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Spider(Protocol):
    def forbid(self, url: str) -> bool: ...
    def wants(self, url: str) -> bool: ...
    def stop(self, reason: str) -> None: ...


class Browser:
    """What a page may do while it is open."""

    def __init__(self, spider: Spider, plan: Mapping[str, Any]) -> None:
        self._spider = spider
        self._user_agent = plan["user_agent"]
        self._timeout = 1000 * plan["timeout"]
        self._kept: dict[str, Kept] = {}
        self._size = 0

    def meta(self, url: str) -> dict[str, Any]:
        """What tells scrapy-playwright to open a page."""
        return {
            "playwright": True,
            "playwright_context": url,
            "playwright_context_kwargs": {
                "user_agent": self._user_agent,
                "viewport": VIEWPORT,
                "service_workers": "block",
                "accept_downloads": False,
                "ignore_https_errors": True,  # as Scrapy does
            },
            "playwright_page_init_callback": self._prepare,
            "playwright_page_goto_kwargs": {"wait_until": "commit", "timeout": self._timeout},
            "playwright_include_page": True,
            "autothrottle_dont_adjust_delay": True,  # it is not the server that takes so long
            "dont_redirect": True,
            "dont_retry": True,
        }

    async def _prepare(self, page: Page, request: scrapy.Request) -> None:
        request.meta["network"] = Network(page)
        page.on("popup", lambda popup: popup.close())
        await page.context.route("**", lambda route: route.abort())  # of windows that it opens
        await page.route("**", partial(self._answer, page, request.url))

    async def _answer(self, page: Page, start: str, route: Route) -> None:
        with suppress(PlaywrightError):  # the page is closed already
            if not self._may(page, start, route.request):
                await route.abort("aborted")  # of the reasons the one that leaves the page as it is
            elif route.request.resource_type in KEPT and route.request.method == "GET":
                await self._answer_from_kept(route)
            else:
                await route.fallback()

    def _may(self, page: Page, start: str, request: Request) -> bool:
        if request.resource_type in NOT_LOADED or request.method not in METHODS:
            return False
        if not request.is_navigation_request():
            return not self._spider.forbid(request.url)
        if request.frame != page.main_frame or request.method != "GET":  # a form that sends itself
            return False
        return request.url == start or (self._spider.wants(request.url) and not self._spider.forbid(request.url))

    async def _answer_from_kept(self, route: Route) -> None:
        url = route.request.url
        try:
            kept = self._kept.get(url) or await self._fetch(route)
        except PlaywrightError:
            await route.abort()
            return
        if url not in self._kept and self._size + len(kept.body) <= MOST_KEPT:
            self._kept[url] = kept
            self._size += len(kept.body)
        await route.fulfill(status=kept.status, headers=kept.headers, body=kept.body)

    async def _fetch(self, route: Route) -> Kept:
        response = await route.fetch(timeout=self._timeout)
        unpacked = ("content-encoding", "content-length")
        headers = {name: value for name, value in response.headers.items() if name not in unpacked}
        return Kept(response.status, headers, await response.body())


class Network:
    """Whether a page waits for an answer, and since when not."""

    def __init__(self, page: Page) -> None:
        self._pending: set[Request] = set()
        self._changed = time.monotonic()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Request) -> None:
        self._pending.add(request)
        self._changed = time.monotonic()

    def _end(self, request: Request) -> None:
        self._pending.discard(request)
        self._changed = time.monotonic()

    def is_silent(self) -> bool:
        return not self._pending and time.monotonic() - self._changed >= SILENCE


async def _read(page: Page, network: Network, seconds: float) -> str:
    """What has become of the page when it is done, or has had its time.

    Playwright's own `wait_for_load_state` waits in vain where a page tried to go elsewhere and was not let.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not network.is_silent():
                await asyncio.sleep(SILENCE / 10)
                if network.is_silent():  # a script that is busy may ask for more: this waits until it has ended
                    await _evaluated(page, "document.readyState")
    async with asyncio.timeout(ENDING):
        return await _evaluated(page, READ)


async def _evaluated(page: Page, script: str) -> str:
    """Once more where the page was going elsewhere just then."""
    with suppress(PlaywrightError):
        return str(await page.evaluate(script))
    return str(await page.evaluate(script))


class Provider(PlaywrightBrowserProvider):  # type: ignore[misc]
    """Starts Playwright not before a page needs it."""

    async def start(self) -> None:
        pass

    async def launch_browser(self) -> Any:
        if self.playwright is None:
            await super().start()
        return await super().launch_browser()


class Chromium(ScrapyPlaywrightDownloadHandler):  # type: ignore[misc]
    """Bounds what a page may take, and closes its context; plain requests are Scrapy's own."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Chromium:
        """One for http and https, or there would be two browsers."""
        if not hasattr(crawler, "chromium"):
            crawler.chromium = cls(crawler)
        handler: Chromium = crawler.chromium
        return handler

    async def download_request(self, request: scrapy.Request) -> Response:
        if not request.meta.get("playwright"):
            return await super().download_request(request)
        async with self._one_at_a_time:
            return await self._render(request)

    async def _render(self, request: scrapy.Request) -> Response:
        timeout = self._crawler.settings.getfloat("DOWNLOAD_TIMEOUT")
        settle = min(timeout, SETTLE)
        try:
            async with asyncio.timeout(timeout + settle + ENDING):
                response = await super().download_request(request)
                page = request.meta.pop("playwright_page")
                body = (await _read(page, request.meta.pop("network"), settle)).encode("utf-8", "replace")
                return HtmlResponse(page.url, response.status, response.headers, body, encoding="utf-8")
        except (TimeoutError, PlaywrightTimeout) as error:
            raise DownloadTimeoutError from error
        except PlaywrightError as error:
            why = str(error).splitlines()[0]
            if not self.stats.get_value("playwright/browser_count"):
                self._crawler.spider.stop(f"Chromium does not start: {why}")
            raise IgnoreRequest(why) from error
        finally:
            await self._forget(request.meta["playwright_context"])

    async def _forget(self, name: str) -> None:
        context = self.context_wrappers.get(name)
        if context:
            with suppress(PlaywrightError, TimeoutError):
                async with asyncio.timeout(ENDING):
                    await context.context.close()

    async def close(self) -> None:
        """Scrapy calls it for http and for https."""
        if not self._closed:
            self._closed = True
            await super().close()


def settings(path: str) -> dict[str, Any]:
    """What they add to those of Scrapy; ``path`` is the browser's."""
    return {
        "DOWNLOAD_HANDLERS": {"http": Chromium, "https": Chromium},
        "PLAYWRIGHT_BROWSER_PROVIDER": Provider,
        "PLAYWRIGHT_LAUNCH_OPTIONS": launch_options(path),
    }

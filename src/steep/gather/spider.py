"""The crawler, run as ``python -m steep.gather.spider FOLDER`` because Scrapy's reactor cannot start twice.

What to crawl comes as a line of JSON on standard input, so that a secret in it reaches no file. Pages go to
``pages.jsonl`` in the folder and failures to ``failures.jsonl`` as they come, and the file ``finished`` tells that the
crawl is complete. To resume, the walk is repeated from the start with the pages on record in place of the network, and
what failed is tried again. Scrapy's own JOBDIR is not used: killed with -9 after 9 of 41 pages, it fetched all 41
again.

Standard output tells the parent how far it is, one JSON object a line. When standard input closes the crawler ends
between two pages: so it does when the parent wants it to, and when the parent dies.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import scrapy
from lxml.etree import LxmlError
from scrapy import signals
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.exceptions import (
    CannotResolveHostError,
    DontCloseSpider,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
    StopDownload,
)
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.spidermiddlewares.httperror import HttpError
from scrapy.utils.gz import gunzip, gzip_magic_number
from scrapy.utils.sitemap import Sitemap
from w3lib.url import canonicalize_url

from steep.gather.pages import Fetched, Pages
from steep.gather.walk import Address, Walk, site_of

MAX_SITEMAP = 50 << 20  # unpacked, by the protocol
NO_SITEMAP = (LxmlError, StopIteration, OSError, EOFError, ValueError)
LINKS = LinkExtractor(tags=("a", "area"))
REASONS: dict[type[Exception], str] = {
    DownloadTimeoutError: "no complete answer within {timeout:g} s",
    DownloadCancelledError: "larger than {max_bytes:,} bytes",
    DownloadConnectionRefusedError: "connection refused",
    CannotResolveHostError: "host name not found",
    DownloadFailedError: "connection lost",
    ResponseDataLossError: "connection lost in the middle of the page",
}


class AlreadyKnown(IgnoreRequest):  # type: ignore[misc]
    """A redirect leads to a page that is gathered under its own address."""


class Site(scrapy.Spider):  # type: ignore[misc]
    name = "steep"

    def __init__(self, plan: dict[str, Any], folder: Path) -> None:
        super().__init__()
        self.plan = plan
        self.folder = folder
        self.pages = Pages.append(folder / "pages.jsonl")
        self.failures = (folder / "failures.jsonl").open("w", encoding="utf-8")
        self.failed = 0
        start = [*map(Address, plan["addresses"]), *(Address(url, sitemap=True) for url in plan["sitemaps"])]
        self.sites = {site_of(address.url) for address in start}
        self.exclude = [re.compile(pattern) for pattern in plan["exclude"]]
        self.walk = Walk(start)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Site:
        spider: Site = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.next_level, signals.spider_idle)
        crawler.signals.connect(spider.skip_what_is_no_page, signals.headers_received)
        crawler.signals.connect(spider.heed_crawl_delay, signals.robots_parsed)
        crawler.signals.connect(spider.note_error, signals.spider_error)
        return spider

    # ---------------------------------------------------------------------------------------------------- the walk

    def next_level(self) -> None:
        """Called when nothing is under way: sends what was found, or lets the crawl end."""
        while level := self.walk.next_level(self.plan["max_pages"] - self.pages.count):
            wanted = [address for address in level if not self._replay(address)]
            for address in wanted:
                self.crawler.engine.crawl(self._request(address))
            if wanted:
                raise DontCloseSpider
        if self.pages.count:  # a crawl that got nothing is tried again
            (self.folder / "finished").touch()
        tell(finished=True)

    def _replay(self, address: Address) -> bool:
        page = None if address.sitemap else self.pages.get(address.url)
        if page is None:
            return False
        self.walk.claim(page.url)
        if page.html is not None:
            response = HtmlResponse(page.url, body=page.html.encode("utf-8", "replace"), encoding="utf-8")
            self.walk.found(address.url, self._links(response))
        return True

    def _request(self, address: Address) -> scrapy.Request:
        return scrapy.Request(
            address.url,
            callback=self.read_sitemap if address.sitemap else self.read_page,
            errback=self.note_failure,
            dont_filter=True,
            meta={"asked": address.url},
        )

    # ---------------------------------------------------------------------------------------------- what comes back

    def read_page(self, response: Response) -> None:
        asked = response.meta["asked"]
        if asked in self.plan["addresses"] and _is_sitemap(response):
            self.read_sitemap(response)
            return
        html = response.text if isinstance(response, HtmlResponse) else None
        self.pages.add(Fetched(asked, response.url, html))
        self._tell()
        if html is not None:
            self.walk.found(asked, self._links(response))

    def _links(self, response: HtmlResponse) -> list[Address]:
        urls = (link.url for link in LINKS.extract_links(response))
        return [Address(urldefrag(url).url) for url in urls if self._wanted(url)]

    def _wanted(self, url: str) -> bool:
        return site_of(url) in self.sites and not any(pattern.search(url) for pattern in self.exclude)

    def read_sitemap(self, response: Response) -> None:
        asked = response.meta["asked"]
        try:
            sitemap = _sitemap(response)
            index = sitemap.type == "sitemapindex"
            urls = [entry["loc"] for entry in sitemap if "loc" in entry]
        except NO_SITEMAP as error:
            self._fail(asked, f"not a sitemap: {error}")
            return
        self.walk.found(asked, [Address(url, sitemap=index) for url in urls if self._wanted(url)])

    def note_failure(self, failure: Any) -> None:
        asked = failure.request.meta["asked"]
        if isinstance(failure.value, AlreadyKnown):
            self.pages.add(Fetched(asked, failure.request.url, None))
        else:
            self._fail(asked, self._reason(failure.value))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, HttpError):
            return f"HTTP {error.response.status}"
        known = next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), None)
        return known.format(**self.plan) if known else str(error) or type(error).__name__

    def _fail(self, asked: str, reason: str) -> None:
        self.failures.write(json.dumps({"where": asked, "reason": reason}) + "\n")
        self.failures.flush()
        self.failed += 1
        self._tell()

    def _tell(self) -> None:
        tell(pages=self.pages.count, failed=self.failed, waiting=self.walk.waiting)

    # ------------------------------------------------------------------------------------------------------ signals

    def check_redirect(self, url: str, trail: Sequence[str]) -> None:
        if canonicalize_url(url) in map(canonicalize_url, trail):
            raise IgnoreRequest(f"redirect loop: {' -> '.join([*trail, url])}")
        if not self._wanted(url):
            raise IgnoreRequest(f"redirects to another site or an excluded address: {url}")
        if not self.walk.claim(url):
            raise AlreadyKnown

    def skip_what_is_no_page(self, headers: Any, request: scrapy.Request) -> None:
        """A film that is named like a page is not downloaded; its headers are enough. A start may be a sitemap."""
        kind = (headers.get("Content-Type") or b"text/html").lower()
        start = request.meta.get("asked") in self.plan["addresses"]
        if request.callback == self.read_page and b"html" not in kind and not start:
            raise StopDownload(fail=False)

    def heed_crawl_delay(self, robotparser: Any) -> None:
        delay = robotparser.crawl_delay(self.plan["user_agent"])
        throttle = self.crawler.get_extension(AutoThrottle)
        if delay and throttle:
            throttle.mindelay = max(throttle.mindelay, min(delay, throttle.maxdelay))
            for slot in self.crawler.engine.downloader.slots.values():
                slot.delay = max(slot.delay, throttle.mindelay)

    def note_error(self, failure: Any, response: Response) -> None:
        """A page that trips the parser is one failure; a disk that takes no more ends the crawl."""
        if isinstance(failure.value, OSError):
            say_why(failure)
            os._exit(1)
        self._fail(response.meta["asked"], f"its links cannot be read: {failure.value}")


def _sitemap(response: Response) -> Sitemap:
    body = response.body
    return Sitemap(gunzip(body, max_size=MAX_SITEMAP) if gzip_magic_number(response) else body)


def _is_sitemap(response: Response) -> bool:
    try:
        return _sitemap(response).type in ("urlset", "sitemapindex")
    except NO_SITEMAP:
        return False


class Redirects:
    """Applies the limits of the crawl to where redirects lead, before robots.txt is asked."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Redirects:
        return cls(crawler)

    def process_request(self, request: scrapy.Request) -> None:
        trail = request.meta.get("redirect_urls")
        if trail and "asked" in request.meta and request.meta.get("checked") != request.url:  # a retry was checked
            self.crawler.spider.check_redirect(request.url, trail)
            request.meta["checked"] = request.url


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - this is how the parent is told


def settings(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The pace: one request under way, so that a server that answers in 0.1 s gets 10 a second, and never over 50."""
    return {
        "USER_AGENT": plan["user_agent"],
        "ROBOTSTXT_OBEY": True,
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": 0.2,
        "AUTOTHROTTLE_TARGET_CONCURRENCY": 1.0,
        "DOWNLOAD_DELAY": 0.02,
        "DOWNLOAD_DELAY_JITTER": 0,  # a Crawl-delay is a minimum
        "CONCURRENT_REQUESTS_PER_DOMAIN": 4,
        "DOWNLOAD_TIMEOUT": plan["timeout"],
        "DOWNLOAD_MAXSIZE": plan["max_bytes"],
        "DOWNLOAD_WARNSIZE": 0,
        "METAREFRESH_MAXDELAY": 5,  # a page that reloads itself every minute is no redirect
        "DOWNLOADER_MIDDLEWARES": {Redirects: 50},
        "COOKIES_ENABLED": False,
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,  # a port that runs any code sent to it
        "LOG_FILE": str(folder / "crawl.log"),
        "LOG_LEVEL": "INFO",
    }


def end_with_parent(call_from_thread: Callable[..., Any]) -> None:
    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
        call_from_thread(os._exit, 1)  # in the reactor's thread: never in the middle of a record

    threading.Thread(target=wait, daemon=True).start()


def say_why(failure: Any) -> None:
    tell(error=f"{type(failure.value).__name__}: {failure.value}")


def main(folder: Path) -> None:
    plan = json.loads(sys.stdin.buffer.readline())
    process = CrawlerProcess(settings(plan, folder))
    logging.getLogger("scrapy.crawler").setLevel(logging.WARNING)  # it would log the plan
    process.crawl(Site, plan=plan, folder=folder).addErrback(say_why)
    from twisted.internet import reactor  # after Scrapy has chosen one

    end_with_parent(reactor.callFromThread)
    process.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One crawl, as a Scrapy spider: which pages are asked for, what is kept of them, and what failed.

Pages go to ``pages.jsonl`` in the folder and failures to ``failures.jsonl`` as they come, and the file ``finished``
tells that the crawl is complete. To resume, the walk is repeated from the start with the pages on record in place of
the network, and what failed is tried again. Scrapy's own JOBDIR is not used: killed with -9 after 9 of 41 pages, it
fetched all 41 again.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy import signals
from scrapy.crawler import Crawler
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
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import IGNORED_EXTENSIONS, LinkExtractor
from scrapy.spidermiddlewares.httperror import HttpError
from w3lib.url import canonicalize_url

from steep.gather.addresses import key_of, site_of, without_visitor
from steep.gather.manners import Robots
from steep.gather.missing import NO_TEXT, missing_text
from steep.gather.pages import Fetched, Pages
from steep.gather.responses import NO_SITEMAP, as_page, canonical_of, is_pdf, is_sitemap, sitemap_of, words_of
from steep.gather.walk import PATIENCE, Address, Walk

MOVING = "page is navigating"
"""What Playwright says of a page that is asked for its content in the middle of a redirect."""
TOO_LARGE = "larger than {max_bytes:,} bytes"
REASONS: dict[type[Exception], str] = {
    DownloadTimeoutError: "no complete answer within {timeout:g} s",
    DownloadCancelledError: TOO_LARGE,
    DownloadConnectionRefusedError: "connection refused",
    CannotResolveHostError: "host name not found",
    DownloadFailedError: "connection lost",
    ResponseDataLossError: "connection lost in the middle of the page",
}
STATUS = {401: "needs a login", 403: "access refused", 429: "too many requests"}


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
        self.starts = [without_visitor(url) for url in plan["addresses"]]
        start = [*map(Address, self.starts), *(Address(url, sitemap=True) for url in plan["sitemaps"])]
        self.sites = {site_of(address.url) for address in start}
        self.exclude = [re.compile(pattern) for pattern in plan["exclude"]]
        self.walk = Walk(start, plan["max_depth"])
        self.links = LinkExtractor(
            tags=("a", "area"),
            unique=False,  # the walk sees to it, at a third of the time
            deny_extensions=set(IGNORED_EXTENSIONS) - ({"pdf"} if plan["pdf"] else set()),
            process_value=lambda url: None if self.walk.met(url) or site_of(url) not in self.sites else url,
        )
        if plan["render"] != "never":
            from steep.gather.rendering import Browser

            self.browser = Browser(self, plan)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Site:
        spider: Site = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.next_part, signals.spider_idle)
        crawler.signals.connect(spider.skip_what_is_no_page, signals.headers_received)
        crawler.signals.connect(spider.note_error, signals.spider_error)
        return spider

    # ---------------------------------------------------------------------------------------------------- the walk

    def next_part(self) -> None:
        """Called when nothing is under way: sends what was found, or lets the crawl end."""
        while part := self.walk.next_part(self.plan["max_pages"] - self.pages.count):
            wanted = [address for address in part if not self._replay(address)]
            for address in wanted:
                self.crawler.engine.crawl(self._request(address))
            if wanted:
                raise DontCloseSpider
        for url in self.walk.trapped.values():
            self._fail(url, f"not followed, nor others like it: {PATIENCE} in a row said nothing new but for numbers")
        if self.pages.count:  # a crawl that got nothing is tried again
            (self.folder / "finished").touch()
        tell(finished=True)

    def _replay(self, address: Address) -> bool:
        page = None if address.sitemap else self.pages.get(address.url)
        if page is None:
            return False
        self.walk.claim(page.url)
        if page.html is not None:
            body = page.html.encode("utf-8", "replace")
            self._follow(address, HtmlResponse(page.url, body=body, encoding="utf-8"))
        return True

    def _request(self, address: Address) -> scrapy.Request:
        return scrapy.Request(
            address.url,
            callback=self.read_sitemap if address.sitemap else self.read_page,
            errback=self.note_failure,
            dont_filter=True,
            meta={"address": address},
        )

    # ---------------------------------------------------------------------------------------------- what comes back

    def read_page(self, response: Response) -> None:
        address = response.meta["address"]
        if address.url in self.starts and is_sitemap(response):
            self.read_sitemap(response)
        elif (page := as_page(response)) is not None:
            why = self._why_render(page)
            if why:
                self.crawler.engine.crawl(self._rendering(page, why))
            else:
                self._keep_page(page)
        else:
            pdf = base64.b64encode(response.body).decode() if self.plan["pdf"] and is_pdf(response) else None
            self._keep(response, pdf=pdf)

    def _keep_page(self, page: HtmlResponse, rendered: str | None = None) -> None:
        canonical = canonical_of(page)
        if canonical and (not self.wants(canonical) or key_of(canonical) == key_of(page.url)):
            canonical = None
        self._keep(page, html=page.text, canonical=canonical and without_visitor(canonical), rendered=rendered)
        self._follow(page.meta["address"], page)

    def _keep(self, response: Response, **what: str | None) -> None:
        address, robots = response.meta["address"], response.meta["robots"]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self.pages.add(Fetched(address.url, without_visitor(response.url), robots=robots, at=at, **what))
        self._tell()

    def _follow(self, address: Address, page: HtmlResponse) -> None:
        urls = (without_visitor(link.url) for link in self.links.extract_links(page))
        self.walk.found(address, [url for url in urls if self.wants(url)], said=words_of(page))

    def wants(self, url: str) -> bool:
        return site_of(url) in self.sites and not any(pattern.search(url) for pattern in self.exclude)

    def read_sitemap(self, response: Response) -> None:
        address = response.meta["address"]
        try:
            listed = sitemap_of(response)
        except NO_SITEMAP as error:
            self._fail(address.url, f"not a sitemap: {error}")
            return
        urls = listed.urls if listed.sitemaps else map(without_visitor, listed.urls)
        self.walk.found(address, [url for url in urls if self.wants(url)], sitemaps=listed.sitemaps)

    def note_failure(self, failure: Any) -> None:
        asked = failure.request.meta["address"].url
        if isinstance(failure.value, AlreadyKnown):
            self.pages.add(Fetched(asked, without_visitor(failure.request.url)))
        else:
            self._fail(asked, self.reason(failure.value))

    def reason(self, error: Exception) -> str:
        if isinstance(error, HttpError):
            status = error.response.status
            return f"HTTP {status}: {STATUS[status]}" if status in STATUS else f"HTTP {status}"
        known = next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), None)
        if "DOWNLOAD_MAXSIZE" in str(error):  # unpacked
            known = TOO_LARGE
        return known.format(**self.plan) if known else str(error) or type(error).__name__

    def _fail(self, asked: str, reason: str) -> None:
        self.failures.write(json.dumps({"where": asked, "reason": reason}) + "\n")
        self.failures.flush()
        self.failed += 1
        self._tell()

    def _tell(self) -> None:
        tell(pages=self.pages.count, failed=self.failed, waiting=self.walk.waiting)

    # --------------------------------------------------------------------------------------------------- JavaScript

    def _why_render(self, page: HtmlResponse) -> str | None:
        if self.plan["render"] == "auto":
            return missing_text(page)
        return "asked for" if self.plan["render"] == "always" else None

    def _rendering(self, page: HtmlResponse, why: str) -> scrapy.Request:
        return scrapy.Request(
            page.url,
            callback=self.read_rendered,
            errback=self.note_not_rendered,
            dont_filter=True,
            meta={"address": page.meta["address"], "why": why, "plain": page, **self.browser.meta(page.url)},
        )

    def read_rendered(self, response: Response) -> None:
        plain, why = response.meta["plain"], response.meta["why"]
        try:
            self._check_moved(plain.url, response.url)
        except AlreadyKnown:
            self.pages.add(Fetched(response.meta["address"].url, without_visitor(response.url)))
        except IgnoreRequest as error:
            self._fail(response.meta["address"].url, str(error))
        else:
            page = as_page(response)
            if page is None or len(page.body) > self.plan["max_bytes"]:
                self._not_rendered(plain, why, TOO_LARGE.format(**self.plan) if page else "no HTML")
            else:
                self._keep_page(page, rendered=why)

    def note_not_rendered(self, failure: Any) -> Iterator[scrapy.Request]:
        meta = failure.request.meta
        if MOVING in str(failure.value) and "again" not in meta:  # a busy browser that was asked in between
            again = self._rendering(meta["plain"], meta["why"])
            again.meta["again"] = True
            yield again
            return
        self._not_rendered(meta["plain"], meta["why"], self.reason(failure.value))

    def _not_rendered(self, plain: HtmlResponse, why: str, reason: str) -> None:
        """What came without JavaScript is better than nothing, unless it is nothing."""
        self._fail(plain.meta["address"].url, f"cannot be rendered: {reason}")
        if why == NO_TEXT:
            self._follow(plain.meta["address"], plain)
        else:
            self._keep_page(plain)

    # ------------------------------------------------------------------------------- what the rest of the crawl asks

    def check_redirect(self, url: str, trail: Sequence[str]) -> None:
        if canonicalize_url(url) in map(canonicalize_url, trail):
            raise IgnoreRequest(f"redirect loop: {' -> '.join([*trail, url])}")
        self._check_moved(trail[-1], url)

    def _check_moved(self, start: str, url: str) -> None:
        if not self.wants(url):
            raise IgnoreRequest(f"redirects to another site or an excluded address: {url}")
        # a session id that is added again is no other page
        if key_of(url) != key_of(start) and not self.walk.claim(url):
            raise AlreadyKnown

    def forbid(self, url: str) -> bool:
        robots: Robots = self.crawler.get_downloader_middleware(Robots)
        return robots.forbid(url)

    def pause(self, seconds: float) -> None:
        tell(pause=seconds)

    def stop(self, reason: str) -> None:
        tell(error=reason)
        os._exit(1)

    # ------------------------------------------------------------------------------------------------------ signals

    def skip_what_is_no_page(self, headers: Any, request: scrapy.Request) -> None:
        """A film that is named like a page is not downloaded; its headers are enough. A start may be a sitemap."""
        if request.callback != self.read_page or request.meta["address"].url in self.starts:
            return
        kind = (headers.get("Content-Type") or b"text/html").lower()
        pdf = self.plan["pdf"] and (b"pdf" in kind or urlsplit(request.url).path.lower().endswith(".pdf"))
        if b"html" not in kind and not pdf:
            raise StopDownload(fail=False)

    def note_error(self, failure: Any, response: Response) -> None:
        """A page that trips the parser is one failure; a disk that takes no more ends the crawl."""
        if isinstance(failure.value, OSError):
            self.stop(f"{type(failure.value).__name__}: {failure.value}")
        self._fail(response.meta["address"].url, f"its links cannot be read: {failure.value}")


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - this is how the parent is told

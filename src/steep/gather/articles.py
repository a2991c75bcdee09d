"""What news services and feeds have in common: entries that point to articles; each article once; in full if asked for.

An entry is a `Document` with what the provider says of an article; its text may be a teaser, or nothing at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import urljoin

from steep.gather.addresses import key_of, site_of, without_visitor
from steep.gather.decoding import Unreadable
from steep.gather.http import Client, Kept, Reply, follow
from steep.gather.robots import Robots
from steep.licences import licence_id
from steep.recipe.gather import FeedSource, NewsSource
from steep.records import Document, Failure
from steep.terminal import progress

TRIES = 3
"""Of a page: one of many is not worth the patience that a service gets."""
PAGES = ("text/html", "application/xhtml+xml", "")
LATEST = datetime.max.replace(tzinfo=UTC)


class Earliest:
    """Of entries with one address, the earliest: services bring old articles again under the date of the day.

    Of 43 entries that one real reply held, 18 were the same article of 16 months before. The first date is the nearest
    to the truth, and it stays the same whenever the gathering is done. Of each address 200 bytes are held in memory,
    so the entries are gone through twice.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._chosen: dict[bytes, tuple[datetime, int]] = {}
        self._times: Counter[bytes] = Counter()
        self._met = 0

    @property
    def count(self) -> int:
        return len(self._chosen)

    @property
    def full(self) -> bool:
        return self.count >= self._most

    def meet(self, entries: Iterable[Document]) -> int:
        """How many new addresses they brought."""
        before = self.count
        for entry in entries:
            key, number = _key(entry), self._met
            self._met += 1
            if key in self._chosen or not self.full:
                self._times[key] += 1
                self._chosen[key] = min(self._chosen.get(key, (LATEST, number)), (entry.published or LATEST, number))
        return self.count - before

    def among(self, entries: Iterable[Document]) -> Iterator[Document]:
        """The chosen ones of all those met, in the same order."""
        for number, entry in enumerate(entries):
            key = _key(entry)
            if self._chosen.get(key) == (entry.published or LATEST, number):
                times = self._times[key]
                yield replace(entry, meta={**entry.meta, "times": times}) if times > 1 else entry


def _key(entry: Document) -> bytes:
    return sha256(key_of(entry.url).encode("utf-8", "replace") if entry.url else entry.id.encode()).digest()[:16]


def address_of(url: Any, base: str = "") -> str | None:
    """Of a page, without tracking; None where it is no web address."""
    try:
        address = without_visitor(urljoin(base, str(url or "").strip()))
        return address if site_of(address) and key_of(address) else None
    except ValueError:  # as feeds write them
        return None


def documents(
    entries: Iterable[Document],
    source: NewsSource | FeedSource,
    kept: Kept,
    on_failure: Callable[[Failure], None],
    total: int,
) -> Iterator[Document]:
    """The entries with their own text, or that of their pages where the recipe says so; each without is a failure."""
    with ExitStack() as stack:
        update = stack.enter_context(progress(f"read {source.name or source.kind}", total=total))
        read = _as_given
        if source.articles:
            client = Client(timeout=source.timeout, user_agent=source.user_agent, tries=TRIES)
            robots = Robots(stack.enter_context(client), source.user_agent)
            read = partial(_in_full, robots=robots, kept=kept)
        for entry in entries:
            update()
            try:
                yield read(entry)
            except Unreadable as error:
                on_failure(Failure(entry.source, entry.url or entry.title or "", str(error)))


def _as_given(entry: Document) -> Document:
    if not entry.text:
        raise Unreadable("nothing but a title; `articles: true` fetches the page")
    return entry


def _in_full(entry: Document, robots: Robots, kept: Kept) -> Document:
    from scrapy.http import HtmlResponse

    from steep.gather.extraction import main_text
    from steep.gather.responses import as_page

    if entry.url is None:
        raise Unreadable("without an address there is no page to fetch")
    url = entry.url
    reply = kept.once(url, lambda: _page(url, robots))
    response = as_page(HtmlResponse(reply.url, body=reply.body, headers=dict(reply.headers)))
    assert response is not None  # it was made as a page
    page = main_text(response.text, reply.url)
    return replace(
        entry,
        text=page.text,
        title=entry.title or page.title,
        url=without_visitor(reply.url),
        published=_earlier_day(entry.published, page.published),
        owner=page.author or entry.owner,
        licence=licence_id(page.licence) or entry.licence,
        fetched=reply.fetched,
        robots=reply.robots,
        meta={**entry.meta, **page.meta},
    )


def _page(url: str, robots: Robots) -> Reply:
    reply = follow(url, robots.get).good()
    if reply.kind not in PAGES:
        raise Unreadable(f"{reply.kind}, not a web page")
    return reply


def _earlier_day(said: datetime | None, marked: datetime | None) -> datetime | None:
    """What the page is marked with if that is an earlier day: it is a day only, where the provider knows the minute."""
    if said is None or marked is None:
        return said or marked
    return marked if marked.date() < said.date() else said

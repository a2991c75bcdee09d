"""Documents from RSS and Atom feeds: the text that a feed holds, or that of the pages it links to.

feedparser reads what is on the web: all versions, and XML that no strict parser takes. A feed that the recipe names is
asked for as it is; robots.txt counts for the pages, which the recipe does not name.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.sax import SAXParseException

from steep.gather.articles import Earliest, address_of, documents
from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable
from steep.gather.fragments import fragment_text
from steep.gather.http import Client, Kept, Reply, follow
from steep.licences import licence_id, strictest
from steep.recipe.gather import FeedSource
from steep.records import Document, Failure

Fields = Mapping[str, Any]
# what feedparser is known to raise on broken feeds
BROKEN_FEED = (ValueError, TypeError, AttributeError, LookupError, AssertionError, RecursionError)


def feed_documents(source: FeedSource, *, state: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    """Each entry once, under its earliest date; each feed, and each page, is fetched once."""
    asked = json.dumps(source.places)
    kept = Kept(state / f"feed-{hashlib.sha256(asked.encode()).hexdigest()[:12]}")
    entries: list[Document] = []
    with Client(timeout=source.timeout, user_agent=source.user_agent) as client:
        for address in source.places:
            try:
                entries += _read(_fetch(address, client, kept), source, on_failure)
            except Unreadable as error:
                on_failure(Failure(source.name or address, address, str(error)))
    earliest = Earliest(source.limit)
    earliest.meet(entries)
    yield from documents(earliest.among(entries), source, kept, on_failure, earliest.count)


def _fetch(address: str, client: Client, kept: Kept) -> Reply:
    return kept.once(address, lambda: follow(address, client.get).good())


def _read(reply: Reply, source: FeedSource, on_failure: Callable[[Failure], None]) -> list[Document]:
    parsed = _parsed(reply)
    feed, items = dict(parsed.feed), [dict(item) for item in parsed.entries if item]
    if not parsed.get("version") and not items:
        raise Unreadable(_no_feed(reply, feed))
    name = source.name or _words(feed, "title") or urlsplit(reply.url).hostname or ""
    error = parsed.get("bozo_exception")
    if isinstance(error, SAXParseException):  # others tell of encodings, which feedparser sorts out
        broken = f"broken XML near line {error.getLineNumber()} ({error.getMessage()})"
        on_failure(Failure(name, reply.url, f"{broken}; kept: the {len(items):,} entries found"))
    elif not items:
        raise Unreadable("the feed has no entries")
    return [_entry(item, feed, name, reply, source) for item in items]


def _parsed(reply: Reply) -> Any:
    import feedparser

    try:
        return feedparser.parse(io.BytesIO(reply.body), response_headers={"content-type": _kind(reply)})
    except BROKEN_FEED as error:
        raise Unreadable(f"the feed cannot be read: {error}") from error


def _kind(reply: Reply) -> str:
    """What is UTF-8 to the last byte is not what it says it is by mistake."""
    try:
        reply.body.decode("utf-8")
    except UnicodeDecodeError:
        return reply.headers.get("content-type", "")
    return "application/xml; charset=utf-8"


def _no_feed(reply: Reply, found: Fields) -> str:
    links = (link for link in _parts(found, "links") if link.get("rel") == "alternate")
    feeds = [urljoin(reply.url, link["href"]) for link in links if "xml" in link.get("type", "") and "href" in link]
    hint = f"; it names a feed: {feeds[0]}" if feeds else ""
    return f"neither RSS nor Atom but {reply.kind or 'something else'}, {len(reply.body):,} bytes{hint}"


# --------------------------------------------------------------------------------------------------------- an entry


def _entry(item: Fields, feed: Fields, name: str, reply: Reply, source: FeedSource) -> Document:
    title = _words(feed, "title")
    facts = {"feed": title, "entry": item.get("id"), "categories": [tag.get("term") for tag in _parts(item, "tags")]}
    return Document(
        _text(item),
        title=_words(item, "title") or None,
        source=name,
        url=address_of(item["link"], reply.url) if item.get("link") else None,
        published=_moment(item),
        owner=str(item.get("author") or feed.get("author") or title or "") or None,
        licence=_licence(item, feed, source.licence),
        fetched=reply.fetched,
        meta={key: fact for key, fact in facts.items() if fact},
    )


def _text(item: Fields) -> str:
    """The longest of what it holds: a feed with the article gives a teaser beside it."""
    return max([_words(item, "summary"), *map(_plain, _parts(item, "content"))], key=len)


def _plain(detail: Fields) -> str:
    value = str(detail.get("value") or "")
    return value.strip() if detail.get("type") == "text/plain" else fragment_text(value)


def _words(fields: Fields, key: str) -> str:
    detail = fields.get(f"{key}_detail")
    return _plain(detail) if isinstance(detail, Mapping) else ""


def _parts(fields: Fields, key: str) -> list[Fields]:
    """An element of a feed that is called as feedparser calls its lists takes their place."""
    parts = fields.get(key)
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _moment(item: Fields) -> datetime | None:
    """Not by feedparser, which guesses: to it the 45th of a 13th month is the next New Year's Day."""
    moments = (parse_date(item.get(key)) for key in ("published", "updated", "created"))
    return next(filter(None, moments), None)


def _licence(item: Fields, feed: Fields, given: str | None) -> str | None:
    """A licence that is named, of the entry before that of the feed; else the stricter of what stands under rights and
    what the recipe gives, so that a mere copyright notice takes nothing away from the recipe."""
    for fields in (item, feed):
        links = [link.get("href") for link in _parts(fields, "links") if link.get("rel") == "license"]
        if named := strictest(filter(None, map(licence_id, links))):
            return named
    rights = item.get("rights") or feed.get("rights")
    return strictest(filter(None, map(licence_id, [rights, given])))

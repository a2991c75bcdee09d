"""Documents from news services: which articles there are comes from the API, their text from it or from their pages.

All pages of the API are fetched before the first document is given out: only then is it known under which date each
article came first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from steep.gather.articles import Earliest, address_of, documents
from steep.gather.dates import parse_date
from steep.gather.fragments import fragment_text
from steep.gather.http import Kept
from steep.gather.mediastack import Articles, Mediastack, UsedUp, query
from steep.licences import licence_id
from steep.recipe.gather import NewsSource
from steep.records import Document, Failure
from steep.terminal import progress

STALE_PAGES = 2
"""So many pages in a row without anything new, and the service is taken to repeat itself."""
FACTS = {
    "author": "author",
    "publisher": "source",
    "category": "category",
    "language": "language",
    "country": "country",
}
"""What is kept of an article in `meta`, and the service's names for it."""
Report = Callable[[Failure], None]


def news_documents(source: NewsSource, *, state: Path, on_failure: Report) -> Iterator[Document]:
    """Each article once, under its earliest date; each page of the API, and of an article, is fetched once."""
    asked = json.dumps([source.address, query(source)], sort_keys=True)
    kept = Kept(state / f"news-{hashlib.sha256(asked.encode()).hexdigest()[:12]}")
    with Mediastack(source, kept) as service:
        earliest, offsets = _find(service, source, on_failure)
        entries = (entry for offset in offsets for entry in _entries(service.page(offset), offset, source, on_failure))
        yield from documents(earliest.among(entries), source, kept, on_failure, earliest.count)


def _find(service: Mediastack, source: NewsSource, on_failure: Report) -> tuple[Earliest, list[int]]:
    """Goes on until there are as many articles as wanted, or no more; also tells where each page begins."""
    earliest, offsets, stale = Earliest(source.limit), list[int](), 0

    def report(reason: str) -> None:
        on_failure(Failure(_name(source), service.address, reason))

    with progress(f"ask {source.news}", total=source.limit) as update:
        for offset, page in _pages(service, report):
            new = earliest.meet(_entries(page, offset, source, _ignore))
            offsets.append(offset)
            stale = 0 if new else stale + 1
            update(new, note=f"{len(offsets)} pages")
            if earliest.full:
                break
            if stale == STALE_PAGES:
                report(f"{STALE_PAGES} pages in a row brought nothing new; kept: what came before")
                break
    if offsets and not page.rows and not any(offsets):
        report("no article matches: ask for less at once, or for other days")
    return earliest, offsets


def _pages(service: Mediastack, report: Callable[[str], None]) -> Iterator[tuple[int, Articles]]:
    offset = 0
    while True:
        try:
            page = service.page(offset)
        except UsedUp as error:
            report(f"{error}; kept: the {offset:,} articles that came before")
            return
        yield offset, page
        if page.last:
            return
        offset += len(page.rows)


def _entries(page: Articles, offset: int, source: NewsSource, on_failure: Report) -> Iterator[Document]:
    for number, row in enumerate(page.rows, offset + 1):
        if isinstance(row, Mapping):
            yield _entry(row, page, source)
        else:
            on_failure(Failure(_name(source), f"article {number}", f"a JSON {type(row).__name__}, not an article"))


def _entry(row: Mapping[str, Any], page: Articles, source: NewsSource) -> Document:
    facts = {key: row[field] for key, field in FACTS.items() if row.get(field)}
    return Document(
        fragment_text(_string(row.get("description"))),
        title=fragment_text(_string(row.get("title"))) or None,
        source=_name(source),
        url=address_of(row.get("url")),
        published=parse_date(row.get("published_at")),
        owner=facts.get("author") or facts.get("publisher"),
        licence=licence_id(source.licence),
        fetched=page.fetched,
        meta={"provider": source.news, **facts},
    )


def _name(source: NewsSource) -> str:
    return source.name or source.news


def _string(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _ignore(failure: Failure) -> None:
    """Of the first of two passes."""

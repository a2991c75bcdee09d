"""The main text of an HTML page and what the page says about itself, by trafilatura.

Of its settings, precision without comments has the best F1 over 4-grams on the 91 pages of the public
article-extraction benchmark: 0.975, against 0.965 by default without comments and 0.966 when it favours recall.
Dates are looked for in what the page marks as one, not in its text; on a page that lists others it may be theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trafilatura
from lxml.etree import LxmlError

from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable

# each page that it cannot use would be a line on the terminal; steep records them as failures
for noisy in ("trafilatura", "htmldate"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)

# what its parsers are known to raise on broken pages
BROKEN_PAGE = (LxmlError, ValueError, TypeError, AttributeError, LookupError, RecursionError)


@dataclass(frozen=True, slots=True)
class Page:
    text: str
    title: str | None = None
    author: str | None = None
    url: str | None = None
    published: datetime | None = None
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def main_text(html: str, url: str | None = None) -> Page:
    """`Unreadable` where the page has no main text."""
    try:
        found = trafilatura.bare_extraction(
            html,
            url=url,
            favor_precision=True,
            include_comments=False,
            with_metadata=True,
            date_extraction_params={"extensive_search": False, "original_date": True},
        )
    except BROKEN_PAGE as error:
        raise Unreadable(f"the page cannot be parsed: {error}") from error
    if found is None or not any(map(str.isalnum, found.text or "")):  # of tag soup a stray bracket may remain
        raise Unreadable("no main text found")
    return Page(
        text=found.text.strip(),
        title=found.title or None,
        author=found.author or None,
        url=found.url or url,
        published=parse_date(found.date),
        licence=found.license or None,
        meta={"description": found.description} if found.description else {},
    )

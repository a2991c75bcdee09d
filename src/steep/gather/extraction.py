"""The main text of an HTML page and what the page says about itself.

trafilatura finds the text, at the setting that is its best on the public article-extraction benchmark (precision,
without comments), in a page from which `pruning` has taken what is no text; the title above the text is taken off,
since it is kept as the title. By the benchmark's measure, F1 over 4-grams, that raises 0.975 to 0.980 on the 91 pages
at hand and takes a tenth more time; `python benchmarks/extraction.py` prints it.

Dates are looked for in what the page marks as one, not in its text; on a page that lists others it may be theirs. Of
licences that contradict each other the strictest is the page's, and all of them are kept in ``meta``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trafilatura
from lxml.etree import LxmlError
from lxml.html import HtmlElement

from steep.gather.dates import parse_date
from steep.gather.declared import declared_licences
from steep.gather.decoding import Unreadable
from steep.gather.pruning import prune
from steep.licences import strictest

# each page that it cannot use would be a line on the terminal; steep records them as failures
for noisy in ("trafilatura", "htmldate"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)

# what its parsers are known to raise on broken pages
BROKEN_PAGE = (LxmlError, ValueError, TypeError, AttributeError, LookupError, RecursionError)

_WORD = re.compile(r"\w+")
_TITLE_LINES = 3
"""A date or a rubric may stand above the title."""


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
        page = trafilatura.load_html(html)
        found, licences = (None, []) if page is None else _extracted(page, url)
    except BROKEN_PAGE as error:
        raise Unreadable(f"the page cannot be parsed: {error}") from error
    if found is None or not any(map(str.isalnum, found.text or "")):  # of tag soup a stray bracket may remain
        raise Unreadable("no main text found")
    title, text = _without_title(found.text.strip(), found.title, page)
    meta: dict[str, Any] = {"description": found.description} if found.description else {}
    if len(licences) > 1:
        meta["licences"] = licences
    return Page(
        text=text,
        title=title,
        author=found.author or None,
        url=found.url or url,
        published=parse_date(found.date),
        licence=strictest(licences),
        meta=meta,
    )


def _extracted(page: HtmlElement, url: str | None) -> tuple[Any, list[str]]:
    licences = declared_licences(page, url)
    prune(page)
    found = trafilatura.bare_extraction(
        page,
        url=url,
        favor_precision=True,
        include_comments=False,
        with_metadata=True,
        date_extraction_params={"extensive_search": False, "original_date": True},
    )
    return found, licences


def _without_title(text: str, title: str | None, page: HtmlElement) -> tuple[str | None, str]:
    """Title and text, where the text begins with the title or the page's heading; the heading is then the title."""
    titles = {_words(title or ""), *(_words(heading.text_content()) for heading in page.iter("h1"))}
    lines = text.split("\n")
    for number, line in enumerate(lines[:_TITLE_LINES]):
        rest = "\n".join(lines[:number] + lines[number + 1 :]).strip()
        if (words := _words(line)) and words in titles and rest:
            return line.strip(), rest
    return title or None, text


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text)).casefold()

"""The text of PDF files, with title, author and date as the file itself gives them.

A PDF holds lines at places on pages, no paragraphs. A line goes on the one before where that is nearly as
long as the longest, or ends in the middle of a sentence; a word that was divided there is put together again. The
price: some lists and verses are joined, and a word with a hyphen of its own (well-known) loses it at the end of a line.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from statistics import quantiles
from typing import Any, BinaryIO

from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable
from steep.gather.extraction import Page

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # of a broken file it tells each place

FULL = 0.75
RUNNING = 3
_ENDED = re.compile(r"[.!?:;…]['\"”’)\]]*$")
_DIVIDED = re.compile(r"(?<=[^\W\d_]{2})[-\u00ad\u2010]$")
_ITEM = re.compile(r"(?:[•▪◦‣*–—-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s")
_HEADING = re.compile(r"\d+(?:\.\d+)*\s+[^\W\d_]")
_CONTENTS = re.compile(r"(?:\. ?){5,}\s*\w*$")
_NUMBER = re.compile(r"(?:page |seite |p\. ?)?\b(?:\d+|[ivxlc]+)\b(?:(?: of |/| von )\d+)?", re.IGNORECASE)
_FILE_NAME = re.compile(
    r"\.(?:docx?|pdf|indd|pptx?|xlsx?|odt|tex|dvi|qxd)$|^(?:microsoft word - |untitled)", re.IGNORECASE
)


# what pypdf is known to raise on broken files
BROKEN = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, OSError, RecursionError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


def pdf_text(stream: BinaryIO) -> Page:
    """`Unreadable` where it is broken, needs a password, or holds no text but images of it."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted: it needs a password")
        pages = [page.extract_text() for page in reader.pages]
        return _page(pages, reader.metadata)
    except Unreadable:
        raise
    except DependencyError as error:
        raise Unreadable(f"encrypted: {error}") from error
    except (PyPdfError, *BROKEN) as error:
        raise Unreadable(f"broken PDF: {error}") from error


def _page(pages: list[str], metadata: Any) -> Page:
    text = _text(pages)
    if not any(map(str.isalnum, text)):
        raise Unreadable(f"no text in its {len(pages)} pages: a scan?")
    title = _said(metadata, "title")
    return Page(
        text=text,
        title=None if title is None or _FILE_NAME.search(title) else title,
        author=_said(metadata, "author"),
        published=_date(metadata),
        meta={"pdf_pages": len(pages)},
    )


def _said(metadata: Any, name: str) -> str | None:
    value = getattr(metadata, name, None)
    return str(value).strip() or None if value else None


def _date(metadata: Any) -> datetime | None:
    try:
        return parse_date(getattr(metadata, "creation_date", None))
    except ValueError:  # a date that is none
        return None


def _text(pages: list[str]) -> str:
    sheets = [[" ".join(line.split()) for line in page.splitlines() if line.strip()] for page in pages]
    lines = [line for sheet in _without_running_lines(sheets) for line in sheet if not _CONTENTS.search(line)]
    lengths = [len(line) for line in lines]
    full = FULL * quantiles(lengths, n=10)[-1] if len(lengths) > 1 else 0
    return "\n".join(_joined(lines, full))


def _without_running_lines(sheets: list[list[str]]) -> Iterator[list[str]]:
    """Page numbers, and what stands at the top or foot of most pages, whatever its number."""
    edges = Counter(edge for lines in sheets for edge in ({_edge(lines[0]), _edge(lines[-1])} if lines else ()))
    running = {edge for edge, times in edges.items() if not edge or times >= max(RUNNING, len(sheets) / 2)}
    for lines in sheets:
        first = next((place for place, line in enumerate(lines) if _edge(line) not in running), len(lines))
        last = next((place for place, line in enumerate(reversed(lines)) if _edge(line) not in running), 0)
        yield lines[first : len(lines) - last]


def _edge(line: str) -> str:
    return _NUMBER.sub("", line).strip(" -–—|·")


def _joined(lines: list[str], full: float) -> Iterator[str]:
    paragraph = ""
    last = 0
    for line in lines:
        if not _goes_on(paragraph, last, line, full):
            if paragraph:
                yield paragraph
            paragraph = line
        elif _DIVIDED.search(paragraph) and line[0].islower():
            paragraph = _DIVIDED.sub("", paragraph) + line
        else:
            paragraph = f"{paragraph} {line}"
        last = len(line)
    yield paragraph


def _goes_on(paragraph: str, last: int, line: str, full: float) -> bool:
    """Whether a line belongs to the paragraph before it, of whose last line the length is known."""
    ended = _ENDED.search(paragraph)
    if not paragraph or _ITEM.match(line) or (ended and _HEADING.match(line)):
        return False
    return last >= full or (line[0].islower() and not ended)

"""Documents from files, on disk or by address. A file or line that cannot be used is reported and the rest goes on.

A text file is one document, unless it is longer than a million characters: then it is a collection. In a collection
two blank lines end a text; a text that grows beyond 100,000 characters is cut at the next blank line, and beyond
twice that at the next line; a piece under 200 characters (a heading, a stanza) stays with what follows. So a corpus
in one file becomes documents that can be split and de-duplicated, read as a stream whatever its size.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from steep.errors import SourceError
from steep.gather.decoding import Unreadable, find_encoding, readable
from steep.gather.objects import WEB, fetched, matching_objects, name_of, without_secrets
from steep.gather.rows import (
    NoColumn,
    Origin,
    Report,
    Rows,
    csv_rows,
    few,
    jsonl_rows,
    parquet_rows,
    row_documents,
    seekable,
)
from steep.paths import as_text, kind_of, matching_files, open_text
from steep.recipe.gather import FilesSource
from steep.records import Document, Failure
from steep.terminal import progress

if TYPE_CHECKING:
    from steep.gather.extraction import Page

Place = Path | str
"""A file on disk, or the address of one."""

COLLECTION = 1_000_000
LONGEST = 100_000
SHORTEST = 200


def file_documents(source: FilesSource, *, folder: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    """`SourceError` where no table of the source has the text column: the recipe names the wrong one."""
    wrong: SourceError | None = None
    right = False
    places = _places(source, folder)
    with progress("files", len(places)) as update:
        for place in places:
            where, name = (
                (str(place), place.name) if isinstance(place, Path) else (without_secrets(place), name_of(place))
            )

            def report(line: str, reason: str, *, where: str = where, name: str = name) -> None:
                on_failure(Failure(source.name or as_text(name), f"{where}:{line}" if line else where, reason))

            try:
                for document in _documents(place, source, report):
                    right = right or kind_of(Path(name)) in TABLES
                    yield document
            except Unreadable as error:
                report("", str(error))
                if isinstance(error, NoColumn):
                    wrong = wrong or SourceError(f"{as_text(where)}: {error}")
            update()
    if wrong and not right:
        raise wrong


def _places(source: FilesSource, folder: Path) -> list[Place]:
    found: dict[Place, None] = {}
    for pattern in source.places:
        here = "://" not in pattern
        found.update(dict.fromkeys(matching_files(pattern, folder) if here else matching_objects(pattern)))
    return list(found)


def _documents(place: Place, source: FilesSource, report: Report) -> Iterator[Document]:
    if kind_of(place if isinstance(place, Path) else Path(name_of(place))) not in READERS:
        raise Unreadable(f"unknown kind of file; steep reads {', '.join(READERS)}, also with .gz, .xz or .zst")
    copy: AbstractContextManager[Path] = nullcontext(place) if isinstance(place, Path) else fetched(place)
    with copy as path, readable(path), few(report) as reported:
        moment = datetime.now(UTC)
        for document in _documents_on_disk(path, source, reported):
            yield document if isinstance(place, Path) else _from_network(document, place, moment)


def _from_network(document: Document, address: str, moment: datetime) -> Document:
    """A row says itself where it is from, by its own column."""
    is_page = address.startswith(WEB) and kind_of(Path(name_of(address))) not in TABLES
    url = document.url or (without_secrets(address) if is_page else None)
    return replace(document, url=url, fetched=moment)


def _documents_on_disk(path: Path, source: FilesSource, report: Report) -> Iterator[Document]:
    if path.stat().st_size == 0:
        raise Unreadable("empty file")
    used = False

    def noted(where: str, reason: str) -> None:
        nonlocal used
        used = True
        report(where, reason)

    for document in READERS[kind_of(path)](path, source, noted):
        used = True
        yield document
    if not used:
        raise Unreadable("nothing in it")


def _text_documents(path: Path, source: FilesSource, report: Report) -> Iterator[Document]:
    with open_text(path, source.encoding or find_encoding(path)) as stream:
        head = stream.read(COLLECTION + 1)
        if len(head) <= COLLECTION:
            texts: Iterable[str] = [head]
        else:
            texts = _collection(itertools.chain(io.StringIO(head + stream.readline()), stream))
        for part, text in enumerate(texts, 1):
            if not text.strip():
                continue
            file = as_text(path.name)
            meta = {"file": file} if len(head) <= COLLECTION else {"file": file, "part": part}
            yield Document(text.strip("\n"), source=source.name or file, licence=source.licence, meta=meta)


def _collection(lines: Iterable[str]) -> Iterator[str]:
    text: list[str] = []
    size = blank = 0
    for line in lines:
        ended = blank >= 2 and size >= SHORTEST
        too_long = size >= (LONGEST if blank else 2 * LONGEST)
        if line != "\n" and (ended or too_long):
            yield "".join(text)
            text, size = [], 0
        blank = blank + 1 if line == "\n" else 0
        text.append(line)
        size += len(line)
    yield "".join(text)


def _html_page(path: Path, encoding: str | None) -> Page:
    from steep.gather.extraction import main_text

    with open_text(path, encoding or find_encoding(path)) as stream:
        return main_text(stream.read())


def _pdf_page(path: Path, encoding: str | None) -> Page:
    from steep.gather.pdf import pdf_text

    with seekable(path) as stream:
        return pdf_text(stream)


def _page_documents(
    page_of: Callable[[Path, str | None], Page], path: Path, source: FilesSource, report: Report
) -> Iterator[Document]:
    page = page_of(path, source.encoding)
    file = as_text(path.name)
    yield Document(
        page.text,
        title=page.title,
        source=source.name or file,
        url=page.url,
        published=page.published,
        owner=page.author,
        licence=page.licence or source.licence,
        meta={"file": file, **page.meta},
    )


def _row_documents(
    rows: Callable[[Path, str | None, Report], Rows], path: Path, source: FilesSource, report: Report
) -> Iterator[Document]:
    origin = Origin(source.name or as_text(path.name), source.licence)
    return row_documents(rows(path, source.encoding, report), source, origin, report)


TABLES: dict[str, Callable[[Path, FilesSource, Report], Iterator[Document]]] = {
    ".jsonl": partial(_row_documents, jsonl_rows),
    ".csv": partial(_row_documents, csv_rows),
    ".tsv": partial(_row_documents, csv_rows),
    ".parquet": partial(_row_documents, parquet_rows),
}
READERS: dict[str, Callable[[Path, FilesSource, Report], Iterator[Document]]] = {
    ".txt": _text_documents,
    ".md": _text_documents,
    ".html": partial(_page_documents, _html_page),
    ".htm": partial(_page_documents, _html_page),
    ".pdf": partial(_page_documents, _pdf_page),
    **TABLES,
}

"""Documents from files on disk. A file or line that cannot be used is reported and the rest goes on.

A text file is one document, unless it is longer than a million characters: then it is a collection. In a collection
two blank lines end a text; a text that grows beyond 100,000 characters is cut at the next blank line, and beyond
twice that at the next line; a piece under 200 characters (a heading, a stanza) stays with what follows. So a corpus
in one file becomes documents that can be split and de-duplicated, read as a stream whatever its size.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from steep.errors import SourceError
from steep.gather.decoding import Unreadable, find_encoding, kind_of, open_text, readable
from steep.gather.rows import NoColumn, Report, Rows, csv_rows, jsonl_rows, parquet_rows, row_documents
from steep.paths import as_text, matching_files
from steep.recipe.gather import FilesSource
from steep.records import Document, Failure

COLLECTION = 1_000_000
LONGEST = 100_000
SHORTEST = 200


def file_documents(source: FilesSource, *, folder: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    """`SourceError` where no table of the source has the text column: the recipe names the wrong one."""
    wrong: SourceError | None = None
    right = False
    for path in matching_files(source.files, folder):
        name = source.name or as_text(path.name)

        def report(where: str, reason: str, *, path: Path = path, name: str = name) -> None:
            on_failure(Failure(name, f"{path}:{where}" if where else str(path), reason))

        try:
            with readable(path):
                for document in _documents(path, source, report):
                    right = right or kind_of(path) in TABLES
                    yield document
        except Unreadable as error:
            report("", str(error))
            if isinstance(error, NoColumn):
                wrong = wrong or SourceError(f"{as_text(path)}: {error}")
    if wrong and not right:
        raise wrong


def _documents(path: Path, source: FilesSource, report: Report) -> Iterator[Document]:
    read = READERS.get(kind_of(path))
    if read is None:
        raise Unreadable(f"unknown kind of file; steep reads {', '.join(READERS)}, also with .gz, .xz or .zst")
    if path.stat().st_size == 0:
        raise Unreadable("empty file")
    used = False

    def noted(where: str, reason: str) -> None:
        nonlocal used
        used = True
        report(where, reason)

    for document in read(path, source, noted):
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


def _html_documents(path: Path, source: FilesSource, report: Report) -> Iterator[Document]:
    from steep.gather.extraction import main_text

    with open_text(path, source.encoding or find_encoding(path)) as stream:
        page = main_text(stream.read())
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
    return row_documents(rows(path, source.encoding, report), path, source, report)


TABLES: dict[str, Callable[[Path, FilesSource, Report], Iterator[Document]]] = {
    ".jsonl": partial(_row_documents, jsonl_rows),
    ".csv": partial(_row_documents, csv_rows),
    ".tsv": partial(_row_documents, csv_rows),
    ".parquet": partial(_row_documents, parquet_rows),
}
READERS: dict[str, Callable[[Path, FilesSource, Report], Iterator[Document]]] = {
    ".txt": _text_documents,
    ".md": _text_documents,
    ".html": _html_documents,
    ".htm": _html_documents,
    **TABLES,
}

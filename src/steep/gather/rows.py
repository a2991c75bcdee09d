"""Tables, a row at a time: JSON lines, CSV, TSV and Parquet on disk, and a row of any table as a document.

A line that cannot be read is reported with its number and left out. JSON lines are UTF-8 by definition (RFC 8259)
unless a byte order mark or the recipe says otherwise, so that one broken line cannot change how the others are read.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from steep.chat import spoken
from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable, encoding_by_head, find_encoding
from steep.paths import OPENERS, kind_of, open_bytes, open_text
from steep.recipe.gather import ColumnsSource
from steep.records import Document

Row = Mapping[str, Any]
Report = Callable[[str, str], None]
"""Takes what failed (a line or row of the file) and why."""
Rows = Iterator[tuple[str, Row]]

ROWS_WITHOUT_TEXT = 100
MOST_REPORTS = 1000
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Of JSON: half a character outside of the basic plane."""


class NoColumn(Unreadable):
    """A table has no text column of that name. Where no table of a source has, the recipe names the wrong one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What all rows of a table share."""

    source: str
    licence: str | None = None
    fetched: datetime | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def few(report: Report) -> Iterator[Report]:
    """Hands on the first `MOST_REPORTS` and only counts the others: a million of them would fill the memory."""
    seen = 0

    def counted(where: str, reason: str) -> None:
        nonlocal seen
        seen += 1
        if seen <= MOST_REPORTS:
            report(where, reason)

    try:
        yield counted
    finally:
        if seen > MOST_REPORTS:
            report("", f"{seen - MOST_REPORTS:,} more rows could not be used")


def parse_json(text: str) -> Any:
    """What ``json.loads`` gives, but for half characters: no file format can store them, so they become U+FFFD."""
    value = json.loads(text)
    if not SURROGATE.search(text):
        return value
    whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(whole)


def jsonl_rows(path: Path, encoding: str | None, report: Report) -> Rows:
    # bytes that do not fit become lone surrogates, which tell the line later
    with open_text(
        path, encoding or encoding_by_head(path) or "utf-8", errors="surrogateescape", newline="\n"
    ) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"{number}", _json_object(line)
            except Unreadable as error:
                report(f"{number}", str(error))


def _json_object(line: str) -> Row:
    try:
        line.encode()
        value = parse_json(line)
    except UnicodeEncodeError as error:
        raise Unreadable("not UTF-8; set `encoding` if the whole file is in another one") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"a JSON {type(value).__name__}, not an object")
    return value


def csv_rows(path: Path, encoding: str | None, report: Report) -> Rows:
    delimiter = "\t" if kind_of(path) == ".tsv" else ","
    csv.field_size_limit(sys.maxsize)  # the default refuses texts beyond 128 kB
    with open_text(path, encoding or find_encoding(path), newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            columns = next(reader, [])
        except csv.Error as error:
            raise Unreadable(f"the header is not a row: {error}") from error
        while True:
            where = f"{reader.line_num + 1}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report(where, f"not a row: {error}")
                continue
            if len(cells) == len(columns):
                yield where, dict(zip(columns, cells, strict=True))
            elif cells:
                report(where, f"{len(cells)} cells where the header has {len(columns)}")


def parquet_rows(path: Path, encoding: str | None, report: Report) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with seekable(path) as stream:
        try:
            numbers = itertools.count(1)
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=1000):
                yield from ((f"row {next(numbers)}", row) for row in batch.to_pylist())
        except pa.ArrowInvalid as error:
            raise Unreadable(f"broken Parquet file: {error}") from error


def seekable(path: Path) -> BinaryIO:
    """Parquet and PDF are read from the end, so a compressed file is unpacked to disk first."""
    if path.suffix.lower() not in OPENERS:
        return open_bytes(path)
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with open_bytes(path) as stream:
        shutil.copyfileobj(stream, unpacked)
    return unpacked


def row_documents(rows: Rows, columns: ColumnsSource, origin: Origin, report: Report) -> Iterator[Document]:
    """`NoColumn` where none of the first rows has the text column, with text in it."""
    found, without = False, list[tuple[str, str]]()
    row: Row = {}
    for where, row in _with_texts(rows, columns):
        if not found and (reason := _no_text(row, columns.text)):
            without.append((where, reason))
            if len(without) == ROWS_WITHOUT_TEXT:
                break
            continue
        if not found:
            found = True
            for earlier in without:
                report(*earlier)
        try:
            yield _document(row, columns, origin)
        except Unreadable as error:
            report(where, str(error))
    if without and not found:
        raise NoColumn(f"{without[-1][1]}; {_what_there_is(columns.text, row)}")


def _with_texts(rows: Rows, columns: ColumnsSource) -> Rows:
    """A conversation's text is what its turns say, where no column has one and the recipe names no other."""
    named = columns.text != ColumnsSource.model_fields["text"].default
    for where, row in rows:
        said = None if named or columns.text in row else spoken(row.get("messages"))
        yield where, {**row, columns.text: said} if said else row


def _no_text(row: Row, column: str) -> str | None:
    if column not in row:
        return f"no column {column!r}"
    value = row[column]
    if value is None or isinstance(value, str) or _is_texts(value):
        return None
    kind = f"list of {type(value[0]).__name__}" if isinstance(value, list) else type(value).__name__
    return f"column {column!r} holds a {kind}, not text"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _what_there_is(wanted: str, row: Row) -> str:
    columns = [name for name in row if wanted not in row or isinstance(row[name], str)]
    near = get_close_matches(wanted, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; name the one that holds the text with `text:`"
    return f"there is {', '.join(columns) or 'none'}{hint}"


def _document(row: Row, columns: ColumnsSource, origin: Origin) -> Document:
    if reason := _no_text(row, columns.text):
        raise Unreadable(reason)
    text = row[columns.text]
    if isinstance(text, list):  # paragraphs, or the turns of a dialogue
        text = "\n\n".join(part.strip() for part in text if part.strip())
    if not text or text.isspace():
        raise Unreadable("empty text")
    used = {columns.text, columns.title, columns.published, columns.url}
    return Document(
        text=text,
        title=_string(row.get(columns.title)),
        source=origin.source,
        url=_string(row.get(columns.url)),
        published=parse_date(row.get(columns.published)),
        licence=origin.licence,
        fetched=origin.fetched,
        meta={**{str(column): value for column, value in row.items() if column not in used}, **origin.meta},
    )


def _string(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None

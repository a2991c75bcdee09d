"""Tables on disk, a row at a time: JSON lines, CSV, TSV and Parquet, and a row as a document.

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
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from steep.gather.dates import parse_date
from steep.gather.decoding import OPENERS, Unreadable, encoding_by_head, find_encoding, kind_of, open_bytes, open_text
from steep.paths import as_text
from steep.recipe.gather import FilesSource
from steep.records import Document

Row = Mapping[str, Any]
Report = Callable[[str, str], None]
"""Takes what failed (a line or row of the file) and why."""
Rows = Iterator[tuple[str, Row]]

ROWS_WITHOUT_TEXT = 100
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Of JSON: half a character outside of the basic plane."""


class NoColumn(Unreadable):
    """A table lacks the text column. Where every table of a source does, the recipe names the wrong one."""


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

    with _seekable(path) as stream:
        try:
            numbers = itertools.count(1)
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=1000):
                yield from ((f"row {next(numbers)}", row) for row in batch.to_pylist())
        except pa.ArrowInvalid as error:
            raise Unreadable(f"broken Parquet file: {error}") from error


def _seekable(path: Path) -> BinaryIO:
    """Parquet is read from its end, so a compressed file is unpacked to disk first."""
    if path.suffix.lower() not in OPENERS:
        return open_bytes(path)
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with open_bytes(path) as stream:
        shutil.copyfileobj(stream, unpacked)
    return unpacked


def row_documents(rows: Rows, path: Path, source: FilesSource, report: Report) -> Iterator[Document]:
    """`NoColumn` where none of the first rows has the text column."""
    found, without, columns = False, list[str](), list[str]()
    for where, row in rows:
        if source.text not in row and not found:
            without.append(where)
            columns = list(row)
            if len(without) == ROWS_WITHOUT_TEXT:
                break
            continue
        if not found:
            found = True
            for earlier in without:
                report(earlier, f"no column {source.text!r}")
        try:
            yield _document(row, source, as_text(path.name))
        except Unreadable as error:
            report(where, str(error))
    if without and not found:
        raise NoColumn(_no_column(source.text, columns))


def _no_column(wanted: str, columns: list[str]) -> str:
    near = get_close_matches(wanted, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; name the one that holds the text with `text:`"
    return f"no column {wanted!r}; there is {', '.join(columns) or 'none'}{hint}"


def _document(row: Row, source: FilesSource, file: str) -> Document:
    if source.text not in row:
        raise Unreadable(f"no column {source.text!r}")
    text = row[source.text]
    if text is None or text == "" or (isinstance(text, str) and text.isspace()):
        raise Unreadable("empty text")
    if not isinstance(text, str):
        raise Unreadable(f"column {source.text!r} holds a {type(text).__name__}, not text")
    used = {source.text, source.title, source.published, source.url}
    return Document(
        text=text,
        title=_string(row.get(source.title)),
        source=source.name or file,
        url=_string(row.get(source.url)),
        published=parse_date(row.get(source.published)),
        licence=source.licence,
        meta={str(column): value for column, value in row.items() if column not in used},
    )


def _string(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None

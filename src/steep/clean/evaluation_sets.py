"""The texts of evaluation sets: in txt, jsonl, csv and parquet files of this machine or of the Hugging Face hub.

Every string of a table is a text, however deep in lists and objects it lies: questions, answers and choices alike. In a
txt file blank lines divide the texts. What comes from the hub is kept in its usual cache.
"""

from __future__ import annotations

import csv
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steep.errors import SourceError, UsageError
from steep.paths import OPENERS, kind_of, matching_files, open_text

HUB = "hf://"

_BLANK_LINES = re.compile(r"\n\s*\n")
Row = Mapping[str, Any]


def texts_of(address: str, columns: Sequence[str], folder: Path) -> Iterator[str]:
    """Raises UsageError where the set matches no file, or a file cannot be read or has none of the columns."""
    try:
        paths = _hub_files(address) if address.startswith(HUB) else matching_files(address, folder)
    except SourceError as error:
        raise UsageError(f"clean: decontaminate: {error}") from error
    for path in paths:
        yield from _file_texts(path, columns)


def _file_texts(path: Path, columns: Sequence[str]) -> Iterator[str]:
    try:
        if kind_of(path) == ".txt":
            yield from _BLANK_LINES.split(_whole(path))
        else:
            yield from _table_texts(path, columns)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, pa.ArrowInvalid) as error:
        raise UsageError(f"clean: decontaminate: {path} cannot be read: {error}") from error


def _table_texts(path: Path, columns: Sequence[str]) -> Iterator[str]:
    read = _READERS.get(kind_of(path))
    if read is None:
        known = f"{', '.join(_KINDS)}, also with {', '.join(OPENERS)}"
        raise UsageError(f"clean: decontaminate: {path} is of an unknown kind; steep reads {known}")
    there: dict[str, None] = {}
    for row in read(path):
        there.update(dict.fromkeys(row))
        yield from _strings([row[column] for column in columns or row if column in row])
    if there and columns and not there.keys() & set(columns):
        raise UsageError(
            f"clean: decontaminate: {path} has none of the columns {', '.join(columns)}; it has {', '.join(there)}"
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _whole(path: Path) -> str:
    with open_text(path, "utf-8-sig", errors="replace") as stream:
        return stream.read()


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with open_text(path, "utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"clean: decontaminate: {path}:{number} is not JSON: {error}") from error
                yield row if isinstance(row, dict) else {"": row}


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts beyond 128 kB
    with open_text(path, "utf-8-sig", errors="replace", newline="") as lines:
        yield from csv.DictReader(lines)


def _parquet_rows(path: Path) -> Iterator[Row]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
        yield from batch.to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
_KINDS = (".txt", *_READERS)
_NAMES_FILES = re.compile(rf"[*?\[]|({'|'.join(map(re.escape, (*_KINDS, *OPENERS)))})$")


def _hub_files(address: str) -> list[Path]:
    """The files of known kinds: of a data set of the hub, of a folder or a glob in one."""
    import httpx
    from huggingface_hub import HfFileSystem, hf_hub_download

    hub: Any = HfFileSystem()
    place = address.removeprefix(HUB).rstrip("/")
    try:
        found = hub.glob(place if _NAMES_FILES.search(place) else f"{place}/**")
        files = [hub.resolve_path(path) for path in found if kind_of(Path(path)) in _KINDS]
        paths = [
            Path(hf_hub_download(file.repo_id, file.path_in_repo, repo_type=file.repo_type, revision=file.revision))
            for file in files
        ]
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise SourceError(f"{address} cannot be fetched: {error}") from error
    if not paths:
        raise SourceError(f"{address} holds no {', '.join(_KINDS)} file")
    return paths

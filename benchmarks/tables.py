"""Rows a second of CPU out of tables: files, data sets with and without streaming, SQLite; and the memory of SQL.

    STEEP_DATA=/path/to/data python benchmarks/tables.py

The rows are the 9,560 abstracts of arxiv.jsonl.gz (13 MB), read to documents; the best of five. Of SQL, the memory is
what a process of its own grows by for 100,000 rows of 2 kB, 200 MB.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import pyarrow as pa
import pyarrow.parquet as pq

from steep.gather import gather_documents
from steep.recipe.gather import FilesSource, HubSource, SourceSection, SqlSource

ROUNDS = 5
GROWTH = r"""
import re, sys
from pathlib import Path
import daft, pyarrow
from steep.gather.sql import sql_documents
from steep.recipe.gather import SqlSource

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
source = SqlSource(sql="SELECT * FROM texts", connection=sys.argv[1])
assert sum(1 for _ in sql_documents(source, folder=Path(), on_failure=print)) == 100_000
print((peak() - before) / 1e3)
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="steep-bench-") as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        rows = abstracts()
        write(rows, folder)
        for label, source in sources().items():
            print(f"{label:<32} {best(source, folder, len(rows)):>10,.0f} rows/s of CPU")
        print(f"{'SQL, memory for 200 MB of text':<32} {memory_of_sql(folder):>10,.0f} MB")


def abstracts() -> list[dict[str, Any]]:
    with gzip.open(Path(os.environ["STEEP_DATA"]) / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    (folder / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "data/train.parquet")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with sqlite3.connect(folder / "rows.db") as data:
        data.execute("CREATE TABLE abstracts (id, date, title, abstract, topic)")
        data.executemany("INSERT INTO abstracts VALUES (:id, :date, :title, :abstract, :topic)", rows)


def sources() -> dict[str, SourceSection]:
    return {
        "files: JSON lines": FilesSource(files="rows.jsonl", text="abstract"),
        "files: Parquet": FilesSource(files="data/train.parquet", text="abstract"),
        "hub, streaming": HubSource(hub="data", text="abstract"),
        "hub, downloaded": HubSource(hub="data", text="abstract", streaming=False),
        "sql: SQLite": SqlSource(sql="SELECT * FROM abstracts", connection="sqlite:///rows.db", text="abstract"),
    }


def best(source: SourceSection, folder: Path, expected: int) -> float:
    """The first reading imports libraries and fills caches, and does not count."""
    assert sum(1 for _ in documents(source, folder)) == expected
    return max(expected / seconds(lambda: sum(1 for _ in documents(source, folder))) for _ in range(ROUNDS))


def documents(source: SourceSection, folder: Path) -> Iterator[Any]:
    return gather_documents([source], folder=folder, state=folder, on_failure=print)


def seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def memory_of_sql(folder: Path) -> float:
    text = "The kettle sings when the water is ready for the pot. " * 37
    with sqlite3.connect(folder / "large.db") as data:
        data.execute("CREATE TABLE texts (id, text)")
        data.executemany("INSERT INTO texts VALUES (?, ?)", ((n, f"{n} {text}") for n in range(100_000)))
    command = [sys.executable, "-c", GROWTH, f"sqlite:///{folder}/large.db"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()

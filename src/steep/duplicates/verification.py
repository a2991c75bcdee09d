"""Second pass: the texts of documents that may be alike are read, and what is said of them is verified.

Documents of one component go to the same batch on disk, and batches are walked side by side, each by one worker. A
batch holds about 64 MB of text, and more where there would be more than 32 of them, since each takes 4 MB of memory
while it is written. If all of 2 GB of abstracts resemble each other, this pass needs 2 GB of memory; 0.8 GB if 5 % do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import daft
import pyarrow as pa
from daft import DataType, col
from daft.context import execution_config_ctx
from daft.functions import explode, hash, list_map, split

from steep.duplicates.members import Members
from steep.duplicates.sketches import Sketches, with_signatures
from steep.duplicates.walks import Found

BATCH_BYTES = 64_000_000
MOST_BATCHES = 32
ROW_GROUP_BYTES = 4_000_000

_FOUND = {"row": DataType.int64(), "first": DataType.int64(), "similarity": DataType.float64()}

Walk = Callable[[Members], Iterator[Found]]


def verified(documents: daft.DataFrame, sketches: Sketches, candidates: daft.DataFrame, walk: Walk) -> daft.DataFrame:
    """What a walk finds: ``row``, ``first`` and ``similarity``."""
    if not candidates.count_rows():
        return _nothing()
    batches = _write_batches(documents, sketches, candidates)
    found = daft.func(
        _walking(walk, sketches.threshold),
        return_dtype=DataType.list(DataType.struct(_FOUND)),
        use_process=len(batches) > 1,
    )
    tasks = daft.from_pydict({"paths": batches}).into_batches(1)
    walked = tasks.select(explode(found(col("paths"))).alias("found")).where(~col("found").is_null())
    return walked.select(*(col("found").get(name).alias(name) for name in _FOUND)).collect()


def _nothing() -> daft.DataFrame:
    return daft.from_arrow(pa.schema([(name, kind.to_arrow_dtype()) for name, kind in _FOUND.items()]).empty_table())


def _walking(walk: Walk, threshold: float) -> Callable[[list[str]], list[dict[str, Any]]]:
    def walking(paths: list[str]) -> list[dict[str, Any]]:
        with TemporaryFile(dir=Path(paths[0]).parent) as shingles:
            members = Members(paths, threshold, shingles)
            return [
                {"row": int(members.rows[member]), "first": int(members.rows[first]), "similarity": similarity}
                for member, first, similarity in walk(members)
            ]

    return walking


def _write_batches(documents: daft.DataFrame, sketches: Sketches, candidates: daft.DataFrame) -> list[list[str]]:
    """Of each batch the files with signatures and hashed words of the rows that have a part in a component."""
    texts = documents.select(col("row").cast(DataType.int64()), "text").join(_batches(sketches, candidates), on="row")
    words = list_map(split(col("words"), " "), hash(daft.element())).alias("words")
    members = with_signatures(texts, sketches.threshold).select("row", "batch", "signature", words)
    with execution_config_ctx(parquet_target_row_group_size=ROW_GROUP_BYTES):
        written = members.write_parquet(sketches.folder / "batches", partition_cols=["batch"]).to_pydict()
    batches: dict[int, list[str]] = defaultdict(list)
    for batch, path in zip(written["batch"], written["path"], strict=True):
        batches[batch].append(path)
    return list(batches.values())


def _batches(sketches: Sketches, candidates: daft.DataFrame) -> daft.DataFrame:
    """``row`` and ``batch`` of every row that has a part in a component."""
    firsts = candidates.select(col("first").alias("row"), "first").distinct()
    rows = candidates.select("row", "first").concat(firsts).collect()
    size = rows.join(sketches.rows.select("row", "size"), on="row").agg(col("size").sum()).to_pydict()["size"][0]
    batches = min(MOST_BATCHES, 1 + size // BATCH_BYTES)
    return rows.select("row", (hash(col("first")) % batches).alias("batch")).collect()

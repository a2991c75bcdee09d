"""Documents on disk in parts of bounded size, so that no more of them is in memory than the cores are busy with."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import daft
import pyarrow as pa
import pyarrow.parquet as pq

PART = 16 * 2**20
"""Bytes of a part, uncompressed. While at work, Python's strings and their changed copies take several times that."""
ROW = "row"
"""Column that holds a document's place among all; the results have it no more."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some row groups of a Parquet file."""

    path: str
    groups: tuple[int, ...]
    first: int
    """Place of its first document among all."""

    def read(self) -> pa.Table:
        """With the column ``row``."""
        table = pq.ParquetFile(self.path).read_row_groups(list(self.groups))
        if ROW in table.column_names:
            return table
        return table.append_column(ROW, pa.array(range(self.first, self.first + table.num_rows), pa.int64()))


def parts_of(paths: Sequence[Path]) -> list[Part]:
    """The row groups of the files in their order, as many in each part as make up its size."""
    parts: list[Part] = []
    first = 0
    for path in paths:
        groups: list[int] = []
        size = rows = 0
        for number, group in _row_groups(path):
            if groups and size + group.total_byte_size > PART:
                parts.append(Part(str(path), tuple(groups), first))
                first, groups, size, rows = first + rows, [], 0, 0
            groups.append(number)
            size += group.total_byte_size
            rows += group.num_rows
        if groups:
            parts.append(Part(str(path), tuple(groups), first))
        first += rows
    return parts


def _row_groups(path: Path) -> Iterator[tuple[int, pq.RowGroupMetaData]]:
    metadata = pq.read_metadata(path)
    return ((number, metadata.row_group(number)) for number in range(metadata.num_row_groups))


def write_in_parts(documents: daft.DataFrame, path: Path) -> None:
    """The documents in one file, its row groups no larger than a part unless one document is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    for batch in documents.to_arrow_iter():
        table = pa.Table.from_batches([batch])
        writer = writer or pq.ParquetWriter(path, table.schema)
        rows = max(1, table.num_rows * PART // max(1, table.nbytes))
        writer.write_table(table, row_group_size=rows)
    if writer is None:
        pq.write_table(documents.limit(0).to_arrow(), path)
    else:
        writer.close()


def frame(folder: Path) -> daft.DataFrame:
    """The Parquet files of a folder, in the order of their names, read when they are asked for."""
    return daft.read_parquet([glob.escape(str(path)) for path in sorted(folder.glob("*.parquet"))])

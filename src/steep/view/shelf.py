"""The documents that a stage left, as one long list of which only what is looked at is read."""

from __future__ import annotations

import itertools
import operator
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

from steep.errors import UsageError
from steep.runs import STAGES, Run

PLACES = ("clean", "gather")
"""Of a run's folder, whose documents are shown: those of the first of these stages that is finished."""


class Shelf:
    """The rows of some Parquet files as one long list."""

    def __init__(self, paths: list[Path]) -> None:
        files = [_parquet(path) for path in paths]
        self._groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        sizes = (file.metadata.row_group(group).num_rows for file, group in self._groups)
        self._starts: list[int] = [0, *itertools.accumulate(sizes)]
        self._rows = lru_cache(maxsize=2)(self._read)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        group = self._group_of(number)
        return self._rows(group)[number - self._starts[group]]

    def _group_of(self, number: int) -> int:
        return bisect_right(self._starts, number) - 1

    def _read(self, group: int) -> list[dict[str, Any]]:
        file, number = self._groups[group]
        rows: list[dict[str, Any]] = file.read_row_group(number).to_pylist()
        return rows

    def search(self, words: str, start: int) -> int | None:
        """The first row from `start` on, and then from the top, that holds the words in any column of text."""
        first, end = self._group_of(start), len(self._groups)
        after = (number for group in range(first, end) for number in self._holding(group, words) if number >= start)
        top = (number for group in range(min(first + 1, end)) for number in self._holding(group, words))
        return next(itertools.chain(after, top), None)

    def _holding(self, group: int, words: str) -> list[int]:
        import pyarrow as pa
        import pyarrow.compute as pc

        file, number = self._groups[group]
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        columns = file.read_row_group(number, columns=texts).columns
        held = [pc.match_substring(column, words, ignore_case=True).fill_null(False).to_numpy() for column in columns]
        found = reduce(operator.or_, held).nonzero()[0].tolist() if held else []
        return [self._starts[group] + place for place in found]


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path}: not a Parquet file, or a damaged one ({error})") from None


def open_shelf(path: Path, *, dropped: bool = False) -> Shelf:
    if path.is_file():
        return Shelf([path])
    stage = _stage(path)
    if not stage.is_dir():
        raise UsageError(f"{path}: no such file or folder")
    if dropped and not (stage / "dropped").is_dir():
        raise UsageError(
            f"{stage}: only clean drops documents; name the folder of a cleaned run, or of its stage clean"
        )
    inner = stage / ("dropped" if dropped else "documents")
    paths = sorted((inner if inner.is_dir() else stage).glob("*.parquet"))
    if not paths:
        runs = ", ".join(sorted(str(found.parent) for found in path.glob("*/run.json")))
        raise UsageError(
            f"{path}: no documents there; name the folder of a run (runs/NAME), of a stage (runs/NAME/clean) or a "
            f"Parquet file{f'. There are runs in it: {runs}' if runs else ''}"
        )
    return Shelf(paths)


def _stage(path: Path) -> Path:
    """Of a run the stage whose documents are shown. What a stage left that was begun again since is not shown."""
    if (path / "run.json").exists():
        done = Run(path).read()["stages"]
        return Run(path).need(next((name for name in PLACES if name in done), PLACES[-1]))
    if path.name in STAGES and (path.parent / "run.json").exists():
        return Run(path.parent).need(path.name)
    return path

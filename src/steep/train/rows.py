"""Examples as token ids, one form for each kind of objective.

Token ids and labels come from `steep.tokens`, so that what is trained is what was counted, shown and is measured later;
TRL's own tokenization is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from steep import tokens
from steep.errors import ModelError
from steep.recipe import Train
from steep.recipe.train import PREFERENCES, ROLLOUTS
from steep.train.safeguards import Classes, check_fitted, check_pairs, check_sequences

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Examples: TypeAlias = pa.Table | Path
"""A table, or the Parquet file that holds it, which is read piece by piece."""
IDS = pa.list_(pa.int32())
AT_ONCE = 1000
ROWS = "rows.arrow"


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes rows for an objective. ``fit`` says what becomes of examples that are too long."""

    tokenizer: PreTrainedTokenizerBase
    options: Train
    fit: tokens.Fit

    def rows(self, examples: Examples, work: Path, keep: Path | None = None) -> Dataset:
        """All of them; with ``train.streaming`` in a file under ``work`` that is read as rows are needed.

        In the folder ``keep`` they are left, or found, under the name of ``work`` for another training on the same
        examples. Raises ModelError where an example breaks a safeguard, or none can be trained.
        """
        if keep is None and not self.options.streaming:
            return self._checked(examples, _in_memory)
        kept = keep / f"{work.name}.arrow" if keep else None
        work.mkdir(parents=True, exist_ok=True)
        path = work / ROWS  # a link to `kept`: what datasets makes of rows, it keeps beside their file
        path.unlink(missing_ok=True)
        if kept is None or not kept.exists():
            self._checked(examples, lambda tables: _written(tables, path))
            if kept is not None:
                kept.parent.mkdir(exist_ok=True)
                path.replace(kept)
        if kept is not None:
            path.symlink_to(kept.resolve())
        return _from_file(path, in_memory=not self.options.streaming)

    def _checked(self, examples: Examples, made: Callable[[Iterator[pa.Table]], Dataset]) -> Dataset:
        classes = Classes()
        dataset = made(self._tables(examples, classes))
        if not len(dataset):
            raise ModelError(
                "there is no example to train on: prepare left none, or prepare.overlength dropped them all"
            )
        classes.check()
        return dataset

    def _tables(self, examples: Examples, classes: Classes) -> Iterator[pa.Table]:
        objective = self.options.objective
        make = self._sequences
        if objective in PREFERENCES:
            make = self._pairs
        elif objective in ROLLOUTS:
            make = _with_reference  # prompts are encoded when they are answered; functions may ask for the rest
        for batch in batches(examples):
            rows = batch.to_pylist()
            if objective == "sft":
                classes.add(rows)
            yield make(rows)

    def _fitted(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, tokens.Fitted]]:
        """What is left of each row. What `prepare.overlength: drop` leaves out is left out; other faults are errors."""
        fitted = tokens.fit_examples(rows, self.tokenizer, self.fit)
        named = [
            (str(row.get("document_id", number)), one)
            for number, (row, one) in enumerate(zip(rows, fitted, strict=True))
        ]
        check_fitted([(name, one) for name, one in named if not (one.too_long and self.fit.overlength == "drop")])
        yield from ((name, one) for name, one in named if one.sequences)

    def _sequences(self, rows: list[dict[str, Any]]) -> pa.Table:
        named = [(name, sequence) for name, one in self._fitted(rows) for sequence in one.sequences]
        check_sequences(named, self.tokenizer)
        columns = {"input_ids": [one.input_ids for _, one in named], "labels": [one.labels for _, one in named]}
        return _ids(**columns)

    def _pairs(self, rows: list[dict[str, Any]]) -> pa.Table:
        named = list(self._fitted(rows))
        check_pairs(named, self.tokenizer)
        if self.options.objective == "reward":  # which scores whole texts
            chosen, rejected = ([one.sequences[side].input_ids for _, one in named] for side in (0, 1))
            return _ids(chosen_ids=chosen, rejected_ids=rejected)
        pairs = [tokens.pair_of(one) for _, one in named]
        return _ids(
            prompt_ids=[pair.prompt_ids for pair in pairs],
            chosen_ids=[pair.chosen_ids for pair in pairs],
            rejected_ids=[pair.rejected_ids for pair in pairs],
        )


def _with_reference(rows: list[dict[str, Any]]) -> pa.Table:
    """TRL keeps a column named `completion` from the reward functions: that of the example is called `reference`."""
    table = pa.Table.from_pylist(rows)
    return table.rename_columns(["reference" if name == "completion" else name for name in table.column_names])


def _ids(**columns: list[list[int]]) -> pa.Table:
    return pa.table(columns, schema=pa.schema([(name, IDS) for name in columns]))


def batches(examples: Examples) -> Iterator[pa.RecordBatch]:
    if isinstance(examples, pa.Table):
        yield from examples.to_batches(max_chunksize=AT_ONCE)
    else:
        with pq.ParquetFile(examples) as file:
            yield from file.iter_batches(batch_size=AT_ONCE)


def _in_memory(tables: Iterator[pa.Table]) -> Dataset:
    from datasets import Dataset

    found = list(tables)
    return Dataset(pa.concat_tables(found)) if found else Dataset.from_dict({})


def _written(tables: Iterator[pa.Table], path: Path) -> Dataset:
    from datasets import Dataset

    first = next(tables, None)
    if first is None:
        return Dataset.from_dict({})
    with pa.ipc.new_stream(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
    return _from_file(path, in_memory=False)


def _from_file(path: Path, *, in_memory: bool) -> Dataset:
    from datasets import Dataset

    return Dataset.from_file(str(path), in_memory=in_memory)

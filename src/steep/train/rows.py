"""Examples as token ids, one form for each kind of objective.

Token ids and labels come from `steep.tokens`, so that what is trained is what was counted, shown and is measured later;
TRL's own tokenization is never used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes rows for an objective. ``fit`` says what becomes of examples that are too long."""

    tokenizer: PreTrainedTokenizerBase
    options: Train
    fit: tokens.Fit

    def rows(self, examples: Examples, cache: Path) -> Dataset:
        """All of them; with ``train.streaming`` in a file under ``cache`` that is read as rows are needed.

        Raises ModelError where an example breaks a safeguard, or none can be trained.
        """
        classes = Classes()
        tables = self._tables(examples, classes)
        dataset = _on_disk(tables, cache) if self.options.streaming else _in_memory(tables)
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


def _on_disk(tables: Iterator[pa.Table], cache: Path) -> Dataset:
    from datasets import Dataset

    cache.mkdir(parents=True, exist_ok=True)
    path, writer = cache / "rows.arrow", None
    for table in tables:
        writer = writer or pa.ipc.new_stream(path, table.schema)
        writer.write_table(table)
    if writer is None:
        return Dataset.from_dict({})
    writer.close()
    return Dataset.from_file(str(path))

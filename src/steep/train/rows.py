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
from steep.train.safeguards import Classes, check_pairs, check_sequences

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Examples: TypeAlias = pa.Table | Path
"""A table, or the Parquet file that holds it, which is read piece by piece."""
IDS = pa.list_(pa.int32())
ANSWERS = ("chosen_ids", "rejected_ids")
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
            make = pa.Table.from_pylist  # prompts are encoded when they are answered; functions may ask for the rest
        for batch in batches(examples):
            rows = batch.to_pylist()
            if objective == "sft":
                classes.add(rows)
            yield make(rows)

    def _sequences(self, rows: list[dict[str, Any]]) -> pa.Table:
        encoded = tokens.encode_training(rows, self.tokenizer, self.fit)
        check_sequences(encoded, self.tokenizer)
        columns = {"input_ids": [one.input_ids for one in encoded], "labels": [one.labels for one in encoded]}
        return pa.table(columns, schema=pa.schema([("input_ids", IDS), ("labels", IDS)]))

    def _pairs(self, rows: list[dict[str, Any]]) -> pa.Table:
        pairs = tokens.encode_pairs(rows, self.tokenizer, self.fit)
        check_pairs(pairs, self.tokenizer)
        if self.options.objective == "reward":  # which scores whole texts
            whole = {side: [[*pair.prompt_ids, *getattr(pair, side)] for pair in pairs] for side in ANSWERS}
            return pa.table(whole, schema=pa.schema([(side, IDS) for side in ANSWERS]))
        names = ("prompt_ids", *ANSWERS)
        columns = {name: [getattr(pair, name) for pair in pairs] for name in names}
        return pa.table(columns, schema=pa.schema([(name, IDS) for name in names]))


def batches(examples: Examples) -> Iterator[pa.RecordBatch]:
    if isinstance(examples, pa.Table):
        yield from examples.to_batches(max_chunksize=AT_ONCE)
    else:
        with pq.ParquetFile(examples) as file:
            yield from file.iterbatches(batch_size=AT_ONCE)


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

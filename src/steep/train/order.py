"""The order in which examples are trained: the same for one process and for many, and the same after a resume.

accelerate fills the last batch of an epoch up with rows of its beginning when several processes share it, which trains
those twice. Here it is filled with rows of which nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback

from steep.records import IGNORE

if TYPE_CHECKING:
    from datasets import Dataset


class Shuffled(Sampler[int]):
    """Another order in each epoch, from the seed; ``filling`` rows at the end of the data stay at the end."""

    def __init__(self, rows: int, filling: int, seed: int) -> None:
        self.rows, self.filling, self.seed, self.epoch = rows, filling, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        yield from torch.randperm(self.rows, generator=draw).tolist()
        yield from range(self.rows, self.rows + self.filling)

    def __len__(self) -> int:
        return self.rows + self.filling


def seed_of(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the order which epoch it is: what accelerate wraps around it, for several processes and after a resume,
    hides it from the trainer, and the first epoch's order would come again."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.order.set_epoch(int(state.epoch or 0))


def filled(dataset: Dataset, multiple: int, pad: int) -> Dataset:
    """Rows of one token that is not trained, until their number is a multiple: no process runs out before another."""
    from datasets import Dataset, concatenate_datasets

    missing = -len(dataset) % multiple
    if not missing:
        return dataset
    columns = {"input_ids": [pad], "labels": [IGNORE], "seq_lengths": [1]}
    row = {name: [columns[name]] * missing for name in dataset.column_names}
    return concatenate_datasets([dataset, Dataset.from_dict(row, features=dataset.features)])

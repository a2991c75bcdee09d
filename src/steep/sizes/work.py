"""How many rows, steps and tokens a training has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steep.recipe import Train


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to train: ``tokens`` counts every epoch."""

    rows: int
    steps: int
    epochs: float
    tokens: float


def training_work(examples: int, tokens: int, train: Train, max_length: int) -> Work:
    """Rows, steps and tokens as transformers counts them; packing is taken to fill its rows, as it nearly does."""
    rows = math.ceil(tokens / max_length) if train.packing else examples
    per_epoch = max(1, math.ceil(rows / train.rows_per_step))
    steps = train.max_steps or math.ceil(train.epochs * per_epoch)
    epochs = steps / per_epoch if train.max_steps else train.epochs
    return Work(rows, steps, epochs, tokens * epochs)

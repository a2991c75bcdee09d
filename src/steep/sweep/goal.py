"""What a sweep looks for: a measurement on the validation examples.

Never one on the test split: a model that is chosen by the texts that it is judged by proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steep.errors import UsageError
from steep.problems import nearest
from steep.recipe import Recipe

LOSS = "eval_loss"


@dataclass(frozen=True, slots=True)
class Goal:
    """``metric``: a column of train's metrics.jsonl. ``best``: the model with the best value is kept, not the last."""

    metric: str
    best: bool = False

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self.metric.endswith(("loss", "perplexity")) else "maximize"

    def result(self, values: list[float]) -> float:
        """Of the model that a trial leaves."""
        better = min if self.direction == "minimize" else max
        return better(values) if self.best else values[-1]


def goal_of(recipe: Recipe, metric: str) -> Goal:
    """Raises UsageError where the recipe measures nothing on validation examples."""
    if not metric.startswith("eval_"):
        near = nearest(f"eval_{metric}", [LOSS])
        raise UsageError(
            f"--metric {metric} is not measured on the validation examples; what is begins with eval_, such as "
            f"{near or LOSS}. A sweep never sees the test split: choosing by it would make the evidence worthless"
        )
    split, train = recipe.prepare.split, recipe.train
    missing = [
        *([] if split.validation else ["prepare.split.validation, such as prepare.split.validation=0.1"]),
        *([] if train.eval_steps else ["train.eval_steps, such as train.eval_steps=20"]),
    ]
    if missing:
        raise UsageError(
            f"a sweep chooses by the loss on validation examples: set {' and '.join(missing)}. The test split is no "
            "choice: a model that is chosen by the texts that it is judged by proves nothing"
        )
    return Goal(metric, train.load_best_model_at_end)


def measurements(run: Path, metric: str) -> Iterator[tuple[int, float]]:
    """Steps and values that a training has written so far, finished or not; half a line is left for later."""
    for path in (run / ".train.partial" / "metrics.jsonl", run / "train" / "metrics.jsonl"):
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            continue
        for line in text.splitlines(keepends=True):
            row = json.loads(line) if line.endswith("\n") else {}
            if row.get(metric) is not None:
                yield row["step"], float(row[metric])
        return

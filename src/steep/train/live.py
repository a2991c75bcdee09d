"""What one sees while a model trains: a bar with loss, tokens per second and time left; ``metrics.jsonl`` on disk."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from transformers import TrainerCallback

from steep.terminal import progress


class Live(TrainerCallback):  # type: ignore[misc]
    """Writes one line per optimiser step, at once, so that a crash loses none.

    ``tokens`` and ``seconds`` count from the start of the run, interrupted or not; ``before`` is the last row of its
    earlier part. ``tokens_per_second`` is that of the step.
    """

    def __init__(self, metrics: Path, before: dict[str, Any]) -> None:
        self.metrics = metrics
        self.before = before
        self.tokens = before["tokens"]
        self.bar = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.update = self.bar.enter_context(progress("train", total=state.max_steps))
        self.update(state.global_step)
        self.last = time.perf_counter()
        self.begin = self.last - self.before["seconds"]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" not in logs:  # the summary at the end
            return
        now = time.perf_counter()
        speed = (logs["num_tokens"] - self.tokens) / (now - self.last)
        self.last, self.tokens = now, logs["num_tokens"]
        row = {
            "step": state.global_step,
            "epoch": round(state.epoch, 4),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens": self.tokens,
            "tokens_per_second": round(speed, 1),
            "seconds": round(now - self.begin, 3),
        }
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.update(1, note=f"loss {logs['loss']:.3f}  {speed:,.0f} tokens/s")

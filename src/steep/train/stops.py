"""What ends training before its last step: Ctrl-C, a loss that is no number, and one that only grows."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from transformers import TrainerCallback

from steep.errors import ModelError
from steep.recipe.train import SUPERVISED
from steep.terminal import console
from steep.train.parallel import anywhere, is_main

if TYPE_CHECKING:
    from steep.recipe import Train
    from steep.train.objectives import Setting

WINDOW = 10
"""Steps whose mean loss is compared with that of the first ones ..."""
GROWTH = 2.0
"""... and how many times as large it may be."""
FALLING = (*SUPERVISED, "reward")
"""Objectives whose loss says how a training goes."""


class StopOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C loses nothing: the step is finished and a checkpoint saved before KeyboardInterrupt is raised.

    A second one finds the handler that was there before, and so ends at once. ``every``: of so many steps, the last is
    finished; the others share its answers, which no checkpoint holds.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def __enter__(self) -> Self:
        self.asked = False
        self.mine = threading.current_thread() is threading.main_thread()  # no other thread may handle signals
        if self.mine:
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.asked = True
        if is_main():
            when = "this step" if self.every == 1 else "the steps on these answers"
            console(error=True).print(f"saving a checkpoint at the end of {when}; Ctrl-C again ends at once")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.asked = anywhere(self.asked)
        if self.asked and state.global_step % self.every == 0:
            control.should_save = control.should_training_stop = True

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.mine:
            signal.signal(signal.SIGINT, self.before)
        if self.asked and kind is None:
            raise KeyboardInterrupt


class Stops(TrainerCallback):  # type: ignore[misc]
    """Ends before spoiled weights reach a checkpoint, from which no training could go on; the batch is saved."""

    def __init__(self, trainer: Any, options: Train, setting: Setting) -> None:
        self.trainer, self.options, self.setting = trainer, options, setting
        self.first: list[float] = []
        self.last: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                self._stop(f"{name} is {logs[name]}", state.global_step)
        if "loss" in logs and self.options.objective in FALLING:
            self._watch(logs["loss"], state.global_step)

    def _watch(self, loss: float, step: int) -> None:
        if len(self.first) < WINDOW:
            self.first.append(loss)
        self.last = [*self.last[1 - WINDOW :], loss]
        begun, now = sum(self.first) / len(self.first), sum(self.last) / len(self.last)
        if len(self.last) == WINDOW and now > GROWTH * max(begun, 0.5):
            self._stop(f"the mean loss of {WINDOW} steps is {now:.3g}, where it was {begun:.3g} at first", step)

    def _stop(self, what: str, step: int) -> None:
        rate = self.options.learning_rate
        saved = save_batches(self.trainer.latest, self.setting, step)
        raise ModelError(
            f"training diverged: {what} at step {step}; lower train.learning_rate (it is {rate:g}). "
            f"The batch of this step is in {saved}"
        )


def save_batches(batches: list[dict[str, Any]], setting: Setting, step: int) -> Path:
    """The rows of a step's batches as JSON lines: their text, ids and labels, without padding."""
    rank = "" if os.environ.get("RANK", "0") == "0" else f"-process-{os.environ['RANK']}"
    path = setting.folder / f"diverged-step-{step}{rank}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in _rows(batch):
                text = setting.tokenizer.decode(row.get("input_ids", []))
                file.write(json.dumps({"text": text, **row}, ensure_ascii=False) + "\n")
    return path


def _rows(batch: dict[str, Any]) -> list[dict[str, list[int]]]:
    names = [name for name in ("input_ids", "labels", "completion_mask", "completion_ids") if name in batch]
    if not names:
        return []
    return [{name: batch[name][row].tolist() for name in names} for row in range(len(batch[names[0]]))]

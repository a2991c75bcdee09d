"""What one sees while a model trains: a bar with loss, speed, memory and time left; ``metrics.jsonl`` on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from transformers import TrainerCallback

from steep.runs import is_main
from steep.terminal import progress
from steep.train.utilization import flops_per_token, peak_flops

OWN = ("loss", "learning_rate", "grad_norm", "epoch", "num_tokens", "step", "total_flos")


class Live(TrainerCallback):  # type: ignore[misc]
    """Writes one line per optimiser step, at once, so that a crash loses none.

    ``tokens`` and ``seconds`` count from the start of the run, interrupted or not; ``before`` is the last row of its
    earlier part. ``tokens_per_second`` is that of the step. A validation is a line of its own, with ``eval_loss``. On a
    GPU, ``mfu`` is the share of the machine's arithmetic that goes into the model's (Chowdhery et al. 2022, arXiv
    2204.02311, appendix B), and ``memory_gib`` the most that was allocated.
    """

    def __init__(self, metrics: Path, before: dict[str, Any]) -> None:
        self.metrics, self.before = metrics, before
        self.tokens = before["tokens"]
        self.bar = ExitStack()
        self.update: Callable[..., None] = lambda *args, **kwargs: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if is_main():
            self.update = self.bar.enter_context(progress("train", total=state.max_steps))
        self.update(state.global_step)
        self.flops, self.peak = flops_per_token(model), peak_flops() * args.world_size
        self.last = time.perf_counter()
        self.begin = self.last - self.before["seconds"]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "eval_loss" in logs:
            self._write({"step": state.global_step, "eval_loss": logs["eval_loss"]})
        if "loss" not in logs:  # a validation, or the summary at the end
            return
        now, tokens = time.perf_counter(), int(logs.get("num_tokens", 0))
        speed = (tokens - self.tokens) / (now - self.last)
        self.last, self.tokens = now, tokens
        row = {
            "step": state.global_step,
            "epoch": round(state.epoch, 4),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens": self.tokens,
            "tokens_per_second": round(speed, 1),
            "seconds": round(now - self.begin, 3),
            **self._machine(speed),
            **{name: value for name, value in logs.items() if name not in OWN and isinstance(value, int | float)},
        }
        self._write(row)
        self.update(1, note=_note(row))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last = time.perf_counter()  # the time of a validation is no time of a step

    def _machine(self, speed: float) -> dict[str, float]:
        if not torch.cuda.is_available():
            return {}
        memory = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return {"memory_gib": memory, **({"mfu": round(speed * self.flops / self.peak, 4)} if self.peak else {})}

    def _write(self, row: dict[str, Any]) -> None:
        if is_main():
            with self.metrics.open("a") as file:
                file.write(json.dumps(row) + "\n")


def _note(row: dict[str, Any]) -> str:
    said = [f"loss {row['loss']:.3f}", f"{row['tokens_per_second']:,.0f} tokens/s"]
    said += [f"reward {row['reward']:.3g}"] if "reward" in row else []
    said += [f"MFU {row['mfu']:.0%}"] if "mfu" in row else []
    said += [f"{row['memory_gib']:.1f} GiB"] if "memory_gib" in row else []
    return "  ".join(said)

"""Checkpoints that can be trusted after a crash.

transformers writes a checkpoint file by file into its final folder, so a kill in the middle leaves one that looks real.
A marker written last tells the finished from the unfinished; unfinished ones are removed before training goes on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

MARKER = "complete"


class MarkComplete(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint once all of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARKER).touch()


def last_complete(folder: Path) -> Path | None:
    """The newest finished checkpoint below ``folder``; unfinished ones are removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / MARKER).exists():
            shutil.rmtree(checkpoint)
    newest = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(newest) if newest else None


def step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


def is_last(checkpoint: Path) -> bool:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["global_step"] >= state["max_steps"])


def keep_metrics_until(metrics: Path, step: int) -> dict[str, Any]:
    """Drop what was logged after ``step``: those steps will be done, and logged, again. Returns the last row kept."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    kept = [row for row in rows if row["step"] <= step]
    partial = metrics.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
    partial.replace(metrics)
    return kept[-1] if kept else {"tokens": 0, "seconds": 0.0}

"""Checkpoints that can be trusted after a crash.

transformers writes a checkpoint file by file into its final folder, so a kill in the middle leaves one that looks real.
A marker written last tells the finished from the unfinished; unfinished ones are removed before training goes on. It is
written only once what lies on the disk has been read again and equals what is in memory.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from steep.train.parallel import wait_for_all
from steep.train.saving import check_written

MARKER = "complete"


class MarkComplete(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint once all of it is on disk, and right."""

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        wait_for_all()  # each process writes its own random state
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            check_written(checkpoint, getattr(model, "module", model))
            _flush(checkpoint)
            (checkpoint / MARKER).touch()
        wait_for_all()  # one that ended before would take the main process with it


def _flush(folder: Path) -> None:
    """To the disk itself: after a power cut the marker must not be there without what it marks."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def last_complete(folder: Path) -> Path | None:
    """The newest finished checkpoint below ``folder``; unfinished ones are removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / MARKER).exists():
            shutil.rmtree(checkpoint)
    newest = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(newest) if newest else None


def last_state(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """Where training goes on: the newest finished checkpoint, and the last row of the metrics until there."""
    resume = last_complete(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "samples.jsonl").exists():
        keep_metrics_until(folder / "samples.jsonl", step_of(resume))
    return resume, keep_metrics_until(folder / "metrics.jsonl", step_of(resume))


def step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


def is_last(checkpoint: Path, patience_limit: int | None = None) -> bool:
    """Whether no step follows: the last one is done, or training stopped early here."""
    state = _state(checkpoint)
    early = patience_limit is not None and patience(checkpoint) >= patience_limit
    return early or bool(state["global_step"] >= state["max_steps"])


def best(checkpoint: Path) -> Path:
    """Beside this one, the checkpoint with the smallest validation loss; this one where none was measured."""
    named = _state(checkpoint).get("best_model_checkpoint")
    return checkpoint.with_name(Path(named).name) if named else checkpoint


def patience(checkpoint: Path | None) -> int:
    """How many validations in a row were no better, when a checkpoint was written."""
    if checkpoint is None:
        return 0
    held = _state(checkpoint).get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    attributes = (held[-1] if isinstance(held, list) else held).get("attributes", {})
    return int(attributes.get("early_stopping_patience_counter", 0))


def _state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text())
    return state


def keep_metrics_until(metrics: Path, step: int) -> dict[str, Any]:
    """Drop what was logged after ``step``: those steps will be done, and logged, again. Returns the last row kept."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    kept = [row for row in rows if row["step"] <= step]
    partial = metrics.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
    partial.replace(metrics)
    steps = [row for row in kept if "tokens" in row]
    return steps[-1] if steps else {"tokens": 0, "seconds": 0.0}

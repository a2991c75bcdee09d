"""`steep verify-resume`: a training that is killed and goes on ends with the weights of one that was left alone.

Both are runs of their own beside the recipe's, over the same prepared examples. The kill is SIGKILL, at steps drawn at
random, so that nothing of the process can tidy up. On a CPU the weights must be equal to the last bit; on a GPU, where
sums are not always made in the same order, as close as their rounding.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from steep.errors import ModelError, SteepError
from steep.pipeline import Note
from steep.runs import Run
from steep.variants import Child, Variant, prepared, share, start

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "verify-resume"
GPU_TOLERANCE = 1e-3
"""Largest difference of two weights, as a share of the largest one of their tensor, that passes on a GPU."""
LOOK, LATEST = 0.02, 0.1
"""Seconds between two looks at a training's progress, and at most between a step and a kill."""


@dataclass(frozen=True, slots=True)
class Verified:
    """``difference``: the largest of all weights, as a share of the largest in its tensor. ``kills``: after which
    steps."""

    steps: int
    kills: list[int]
    tensors: int
    difference: float
    device: str

    @property
    def passed(self) -> bool:
        return self.difference == 0 if self.device == "cpu" else self.difference <= GPU_TOLERANCE


def verify_resume(
    path: Path,
    overrides: Sequence[str],
    *,
    runs: Path,
    steps: int,
    kills: int,
    note: Note,
    tell: Callable[[str], None] = lambda text: None,
) -> Verified:
    """Train the recipe twice for so many steps, once with kills. Raises SteepError where a training fails by itself."""
    base = prepared(path, overrides, runs, note)
    folder = base.folder / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    often = f"train.save_steps={max(1, steps // (2 * kills + 2))}"
    variants = [
        Variant(path, [*overrides, f"name={name}", f"train.max_steps={steps}", often], folder)
        for name in ("straight", "killed")
    ]
    straight, killed = (share(base, variant) for variant in variants)
    _finish(start(variants[0], straight, until="train"))
    tell(f"trained {steps} steps without interruption")
    struck = _with_kills(variants[1], killed, Random(steps), (steps, kills), tell)
    tensors, difference = _compare(straight.stage("train"), killed.stage("train"))
    return Verified(steps, struck, tensors, difference, straight.summary("train")["device"])


def _with_kills(
    variant: Variant, run: Run, draw: Random, counts: tuple[int, int], tell: Callable[[str], None]
) -> list[int]:
    """Each kill comes a moment after a step, wherever the process then is: in a step, or writing a checkpoint."""
    struck, (steps, kills) = [], counts
    for moment in sorted(draw.sample(range(1, steps), kills)):
        child = start(variant, run, until="train")
        while not child.ended and _steps_done(run) < moment:
            time.sleep(LOOK)
        time.sleep(draw.uniform(0, LATEST))
        if child.ended:
            break
        child.kill()
        _wait_for_stage(run)
        struck.append(_steps_done(run))
        tell(f"killed after step {struck[-1]}")
    _finish(start(variant, run, until="train"))
    if len(struck) < kills:
        raise SteepError(f"only {len(struck)} of {kills} kills struck before the training ended: give more --steps")
    return struck


def _steps_done(run: Run) -> int:
    metrics = run.partial("train") / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def _wait_for_stage(run: Run) -> None:
    """The stage notices that its parent is gone within a tenth of a second; until then it may still write."""
    before = -1
    while before != (before := _steps_done(run)):
        time.sleep(0.3)


def _finish(child: Child) -> None:
    try:
        code = child.process.wait()
    except KeyboardInterrupt:
        child.interrupt()
        raise
    if code:
        raise SteepError(f"a training of verify-resume failed: {child.words}")


def _compare(straight: Path, killed: Path) -> tuple[int, float]:
    """How many tensors there are, and the largest difference between two of the same name."""
    one, other = _weights(straight), _weights(killed)
    if one.keys() != other.keys():
        raise ModelError(f"{straight} and {killed} hold different tensors")
    return len(one), max(_difference(one[name], other[name]) for name in one)


def _difference(one: Tensor, other: Tensor) -> float:
    scale = float(one.abs().max()) or 1.0
    return float((one.float() - other.float()).abs().max()) / scale


def _weights(train: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    files = [path for part in ("model", "adapter") for path in sorted((train / part).glob("*.safetensors"))]
    return {name: tensor for path in files for name, tensor in load_file(path).items()}

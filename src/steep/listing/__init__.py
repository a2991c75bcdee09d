"""`steep runs`: the runs in a folder, newest first, with what came of each.

What is shown is read from the runs' JSON files as it stands there, without the libraries that would check it, so that a
hundred runs take 0.4 s, most of them to start Python; a file that is damaged is named and stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steep.errors import RunError, UsageError
from steep.metrics import METRICS, metric
from steep.runs import STAGES, Run

NESTED = "methods"
"""Where `steep compare-methods` leaves runs, inside of a run's folder."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The measure that a verdict rests on first. ``base``: None where there is no base model."""

    name: str
    base: float | None
    tuned: float | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A run; what it has not come to yet is None. ``finished``: when its last stage was, in UTC; ``held_out``: the
    texts of the test split."""

    name: str
    folder: str
    done: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    finished: str | None = None
    verdict: str | None = None
    measure: Measure | None = None
    held_out: int | None = None
    method: str | None = None
    quantization: str | None = None
    objective: str | None = None
    base: str | None = None
    seconds: float | None = None
    tokens: int | None = None
    device: str | None = None
    damaged: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """``trials`` that were begun; ``best``: the value of the best one, None where there are no results yet."""

    folder: str
    trials: int
    metric: str | None = None
    best: float | None = None
    damaged: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    runs: list[Listed]
    sweeps: list[Sweep]

    def as_json(self) -> dict[str, Any]:
        return {"runs": [asdict(one) for one in self.runs], "sweeps": [asdict(one) for one in self.sweeps]}


def list_runs(runs: Path) -> Listing:
    """Raises UsageError where there is no such folder."""
    if not runs.is_dir():
        raise UsageError(f"{runs}: no such folder; name the one that holds the runs with --runs")
    folders = sorted(path for path in runs.iterdir() if path.is_dir())
    found = [_listed(folder, runs) for folder in _run_folders(folders)]
    sweeps = [_sweep(folder / "sweep") for folder in folders if (folder / "sweep" / "sweep.json").exists()]
    return Listing(sorted(found, key=lambda one: one.finished or "", reverse=True), sweeps)


def _run_folders(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (
            path.parent for path in (folder / "run.json", *folder.glob(f"{NESTED}/*/run.json")) if path.exists()
        )


def _listed(folder: Path, runs: Path) -> Listed:
    name = folder.relative_to(runs).as_posix()
    try:
        record = Run(folder).read()
        return Listed(name, str(folder), **_stages(Run(folder), record), **_facts(folder, record))
    except RunError as error:
        return Listed(name, str(folder), damaged=str(error))
    except (KeyError, TypeError, AttributeError) as error:
        return Listed(name, str(folder), damaged=f"{folder} holds files of another version of steep ({error!r})")


def _stages(run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
    done = [name for name in STAGES if name in record["stages"] and run.stage(name).is_dir()]
    return {
        "done": done,
        "interrupted": [name for name in STAGES if name in record["begun"] and run.partial(name).is_dir()],
        "finished": max((record["stages"][name]["finished"] for name in done), default=None),
    }


def _facts(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    recipe, stages = record.get("recipe", {}), record["stages"]
    train, model = recipe.get("train", {}), recipe.get("model", {})
    trained = Run(folder).summary("train") if "train" in stages else {}
    scores = _read(folder / "evaluate" / "scores.json") if "evaluate" in stages else {}
    return {
        "verdict": scores.get("verdict", {}).get("base"),
        "measure": _measure(scores.get("metrics", {})),
        "held_out": scores.get("test_set", {}).get("documents"),
        "method": train.get("method"),
        "quantization": model.get("quantization"),
        "objective": train.get("objective"),
        "base": "a new model" if model.get("from_scratch") else model.get("base"),
        **{key: trained.get(key) for key in ("seconds", "tokens", "device")},
    }


def _measure(metrics: Mapping[str, Any]) -> Measure | None:
    order = list(METRICS)
    names = sorted(metrics, key=lambda name: (_place(order, name.rpartition(".")[2]), name))
    told = [name for name in names if metric(name).told and "tuned" in metrics[name]["models"]]
    if not told:
        return None
    values = metrics[told[0]]["models"]
    return Measure(told[0], values.get("base", {}).get("value"), values["tuned"]["value"])


def _place(order: list[str], key: str) -> int:
    return order.index(key) if key in order else len(order)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}): run the evaluate stage again") from error
    return found


def _sweep(folder: Path) -> Sweep:
    trials = len(list(folder.glob("trial-*")))
    if not (folder / "results.json").exists():
        return Sweep(str(folder), trials)
    try:
        results = _read(folder / "results.json")
        values = {one["number"]: one["value"] for one in results["trials"]}
        return Sweep(str(folder), len(values), results["metric"], values.get(results["best"]))
    except (RunError, KeyError, TypeError) as error:
        return Sweep(str(folder), trials, damaged=f"results.json is damaged ({error}): give the command again")

"""`steep runs`: the runs in a folder, newest first, with what came of each.

What is shown is read from the runs' JSON files as it stands there, without the libraries that would check it, so that a
hundred runs take 0.3 s; a file that is damaged is named and stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import RunError, UsageError
from steep.metrics import METRICS, metric
from steep.runs import STAGES, Run
from steep.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NESTED = "methods"
"""Where `steep compare-methods` leaves runs, inside of a run's folder."""
HEAD = ("run", "verdict", "measure", "method", "training", "finished", "stages")
IN_A_PIPE = 240
"""Columns where there is no terminal to fit into: a line for each run, for grep."""
STYLES = {"better": "green", "worse": "red"}


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


# ---------------------------------------------------------------------------------------------------------- terminal


def print_listing(listing: Listing, runs: Path, console: Console) -> None:
    if not console.is_terminal:
        console.width = IN_A_PIPE
    whole = [one for one in listing.runs if one.damaged is None]
    if not listing.runs:
        console.print(f"No runs in {runs}: steep run RECIPE makes one.", markup=False)
    if whole:
        console.print(_table(whole))
    for one in listing.sweeps:
        console.print(harmless(_sweep_line(one)), markup=False)
    for broken in listing.runs:
        if broken.damaged:
            console.print(harmless(f"{broken.name}: {broken.damaged}"), style="yellow", markup=False)


def _table(listed: list[Listed]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "run", "verdict", "measure", "method", "training", "finished", "stages", box=None, padding=(0, 2, 0, 0)
    )
    for one in listed:
        cells = map(harmless, _cells(one))
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    return table


def _cells(one: Listed) -> list[str]:
    quantised = one.quantization if one.quantization != "none" else None
    method = " ".join(filter(None, (one.method, quantised, one.objective)))
    return [
        one.name,
        one.verdict or "",
        _said(one),
        f"{method} on {one.base}" if one.base else method,
        _training(one),
        (one.finished or "")[:16].replace("T", " "),
        _progress(one),
    ]


def _said(one: Listed) -> str:
    if one.measure is None:
        return ""
    values = [f"{value:.4g}" for value in (one.measure.base, one.measure.tuned) if value is not None]
    return f"{metric(one.measure.name).label} {' → '.join(values)}, {one.held_out:,} texts"


def _training(one: Listed) -> str:
    if one.seconds is None or one.tokens is None:
        return ""
    minutes, rest = divmod(round(one.seconds), 60)
    time = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    return f"{time if minutes else f'{rest} s'}, {one.tokens:,} tokens, {one.device}"


def _progress(one: Listed) -> str:
    """Empty for a whole run."""
    if len(one.done) == len(STAGES):
        return ""
    until = f"until {one.done[-1]}" if one.done else "none"
    return f"{until}; {one.interrupted[0]} interrupted" if one.interrupted else until


def _sweep_line(one: Sweep) -> str:
    count = f"{one.folder}: a sweep of {one.trials:,} trial{'' if one.trials == 1 else 's'}"
    if one.damaged:
        return f"{count}; {one.damaged}"
    if one.metric is None:
        return f"{count}, without results yet"
    return f"{count}, best {one.metric} {'–' if one.best is None else f'{one.best:.5g}'}"

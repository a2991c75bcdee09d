"""How a sweep came out: as JSON, and as one page that loads nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.figures import percent
from steep.plots import Chart, Point, scatter
from steep.report.wording import environment
from steep.runs import write_atomically
from steep.sweep.goal import Goal
from steep.sweep.outcomes import Outcome
from steep.sweep.space import Dimension, Range, Space, written

VALUE_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """A sweep's trials, the best first; ``recipe``: the file with the best values, None where no trial finished."""

    name: str
    folder: Path
    space: Space
    goal: Goal
    outcomes: Sequence[Outcome]
    importances: Mapping[str, float]
    recipe: Path | None = None

    @property
    def best(self) -> Outcome | None:
        return next((one for one in self.outcomes if one.state == "finished"), None)

    @property
    def keys(self) -> list[str]:
        return [one.key for one in self.space.dimensions]

    @property
    def sentence(self) -> str:
        states = [one.state for one in self.outcomes]
        names = ("finished", "pruned", "failed", "interrupted", "to come")
        counts = ", ".join(f"{states.count(state)} {state}" for state in names if state in states)
        if self.best is None:
            return f"No trial came to its end: {counts}."
        return (
            f"Trial {self.best.number} is the best of {len(states)}: {self.goal.metric} {told(self.best)} ({counts})."
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "metric": self.goal.metric,
            "direction": self.goal.direction,
            "tried": {one.key: str(one) for one in self.space.dimensions},
            "overrides": list(self.space.overrides),
            "best": self.best.number if self.best else None,
            "importances": dict(self.importances),
            "trials": [
                {
                    "number": one.number,
                    "state": one.state,
                    "value": one.value,
                    "values": one.values,
                    "steps": one.steps,
                    "why": one.why,
                }
                for one in self.outcomes
            ],
        }


def told(one: Outcome) -> str:
    return "–" if one.value is None else f"{one.value:.{VALUE_DIGITS}g}"


def rows(result: Result) -> list[list[str]]:
    """Number, values, result, how it came out."""
    return [
        [str(one.number), *(written(one.values[key]) if key in one.values else "–" for key in result.keys), told(one),
         _came_out(one)]
        for one in result.outcomes
    ]  # fmt: skip


def _came_out(one: Outcome) -> str:
    if one.state == "pruned":
        return f"pruned at step {one.steps:,}"
    return f"{one.state}: {one.why}" if one.why else one.state


def write_results(result: Result) -> None:
    """``results.json`` and ``results.html`` in the sweep's folder."""
    text = json.dumps(result.as_json(), indent=1, ensure_ascii=False)
    write_atomically(result.folder / "results.json", text)
    page = (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            name=result.name,
            sentence=result.sentence,
            metric=result.goal.metric,
            best={key: written(value) for key, value in result.best.values.items()} if result.best else {},
            charts=charts(result),
            importances={key: percent(share) for key, share in result.importances.items()},
            keys=result.keys,
            rows=rows(result),
        )
    )
    write_atomically(result.folder / "results.html", page.encode("utf-8", "replace").decode("utf-8"))


def charts(result: Result) -> dict[str, str]:
    """The result by trial, and by each key; empty where nothing was measured."""
    shown = [one for one in result.outcomes if one.value is not None and not math.isnan(one.value)]
    if not shown:
        return {}
    metric, finished = result.goal.metric, "finished"
    points = [Point(one.number, one.value or 0.0, one.state == finished) for one in shown]
    about = f"{metric} of {len(shown)} trials. {result.sentence}"
    drawn = {f"{metric} by trial": scatter(Chart("trials", "Trials", about), points, xlabel="trial", ylabel=metric)}
    for place, one in enumerate(result.space.dimensions):
        drawn[f"{metric} by {one.key}"] = _by_key(one, f"key-{place}", shown, metric)
    return drawn


def _by_key(one: Dimension, name: str, shown: Sequence[Outcome], metric: str) -> str:
    def x(value: Any) -> Any:
        return value if isinstance(one, Range) else written(value)

    order = {written(value): place for place, value in enumerate(one.ends)}
    points = [Point(x(trial.values[one.key]), trial.value or 0.0, trial.state == "finished") for trial in shown]
    if not isinstance(one, Range):  # the words below in the order in which they were given
        points.sort(key=lambda point: order[str(point.x)])
    log = isinstance(one, Range) and one.log
    chart = Chart(name, one.key, f"{metric} of each trial by {one.key}")
    return scatter(chart, points, xlabel=one.key, ylabel=metric, log=log)

"""`steep power`: how many held-out documents it takes to prove a difference, by the spread that a run has shown.

The spread is that of the paired differences between the tuned model and its base, so it holds for two models that
differ about as much as these. Asked for is what a verdict asks for: p below 0.05 after Holm's correction, which for one
of m measures is in the worst case p below 0.05 / m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from steep.errors import RunError, UsageError
from steep.evaluations import Evaluation, open_evaluation
from steep.figures import fixed, percent
from steep.metrics import metric as described
from steep.scores import Difference, Model
from steep.significance import FEWEST, detectable_difference, deviation, required_documents

if TYPE_CHECKING:
    from rich.console import Console

ALPHA = 0.05
BASE: Model = "base"


@dataclass(frozen=True, slots=True)
class Need:
    """Of one measure; ``documents`` it has now, in so many ``clusters``, and ``needed`` for the difference ``wanted``.

    ``deviation`` is that of the clusters' contributions to the difference ``found``; ``detectable`` is the smallest
    difference that the present documents would prove with the power asked for. ``needed`` is None for no difference.
    """

    metric: str
    label: str
    documents: int
    clusters: int
    found: float
    deviation: float
    detectable: float
    wanted: float
    needed: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """``metric``: the one that was asked for; ``measures``: how many share the verdict."""

    name: str
    metric: str | None
    power: float
    measures: int
    needs: list[Need]


def plan(path: Path, metric: str | None = None, difference: float | None = None, power: float = 0.8) -> Plan:
    """For one measure, or for all; without ``difference`` for one as large as the one found.

    Raises UsageError for an unknown measure, and RunError where there is no pair of models or too few documents.
    """
    _check(metric, difference, power)
    evaluation = open_evaluation(path)
    names = [name for name, one in evaluation.scores.metrics.items() if BASE in one.models and "tuned" in one.models]
    if not names:
        raise RunError(
            f"{path}: no measure of a base model and of a tuned one, whose differences would show how they spread"
        )
    measures = max(1, sum(one.verdict is not None for one in _differences(evaluation)))
    found = [_need(evaluation, name, difference, power, ALPHA / measures) for name in _chosen(names, metric)]
    needs = [need for need in found if need is not None]
    if not needs:
        raise RunError(f"{path}: fewer than {FEWEST} held-out documents show no spread; hold out more of them first")
    return Plan(evaluation.name, metric, power, measures, needs)


def _check(metric: str | None, difference: float | None, power: float) -> None:
    if difference is not None and metric is None:
        raise UsageError("a --difference is one of a measure: name it with --metric, such as --metric rougeL")
    if difference is not None and not (math.isfinite(difference) and difference != 0):
        raise UsageError(f"--difference {difference}: expected a number other than 0")
    if not ALPHA < power < 1:
        raise UsageError(f"--power {power}: expected a probability between {ALPHA} and 1, such as 0.8")


def _differences(evaluation: Evaluation) -> Iterator[Difference]:
    return (one.differences[BASE] for one in evaluation.scores.metrics.values() if BASE in one.differences)


def _chosen(names: Sequence[str], metric: str | None) -> Sequence[str]:
    """A measure may be named with its step or without."""
    if metric is None:
        return names
    found = [name for name in names if metric in (name, name.rpartition(".")[2])]
    if not found:
        near = get_close_matches(metric, [*names, *(name.rpartition(".")[2] for name in names)], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"--metric {metric}: not measured in this run{hint}; there are {', '.join(names)}")
    return found


def _need(evaluation: Evaluation, name: str, difference: float | None, power: float, alpha: float) -> Need | None:
    from steep.evaluate.values import value_of

    tuned, base = evaluation.measures(name, "tuned"), evaluation.measures(name, BASE)
    if tuned is None or base is None or len(set(tuned.groups)) < FEWEST:
        return None
    value, clusters = value_of(name), len(set(tuned.groups))
    found = float(value(tuned.rows.sum(axis=0)) - value(base.rows.sum(axis=0)))
    spread = deviation(tuned.rows, base.rows, value, groups=tuned.groups)
    if not math.isfinite(found) or not math.isfinite(spread):
        return None
    wanted = abs(found if difference is None else difference)
    needed = required_documents(wanted, spread, power=power, alpha=alpha) if wanted else None
    return Need(
        metric=name,
        label=described(name).label,
        documents=len(tuned.keys),
        clusters=clusters,
        found=found,
        deviation=spread,
        detectable=detectable_difference(clusters, spread, power=power, alpha=alpha),
        wanted=wanted,
        needed=needed and math.ceil(needed * len(tuned.keys) / clusters),
    )


def print_plan(made: Plan, console: Console) -> None:
    from rich.table import Table

    table = Table("", "found", "spread", "texts", "provable from", "texts it takes", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for need in made.needs:
        table.add_row(need.label, *_figures(need))
    console.print(table)
    console.print(f"\n{_explained(made)}", markup=False)
    for need in made.needs:
        if made.metric:
            console.print(_sentence(need), markup=False)


def _figures(need: Need) -> list[str]:
    places = _decimals(need)
    return [
        fixed(need.found, places, sign="+"),
        fixed(need.deviation, places),
        f"{need.documents:,}",
        fixed(need.detectable, places),
        "-" if need.needed is None else f"{need.needed:,}",
    ]


def _decimals(need: Need) -> int:
    """Two digits of the smallest figure."""
    smallest = min(abs(figure) for figure in (need.found or 1.0, need.deviation or 1.0, need.wanted or 1.0))
    return min(6, max(0, 1 - math.floor(math.log10(smallest))))


def _explained(made: Plan) -> str:
    several = f" after Holm's correction over the {made.measures} measures of the verdict" if made.measures > 1 else ""
    return (
        f"By the spread of {made.name}: with a probability of {percent(made.power)} a difference is proven (two-sided "
        f"p < {ALPHA}{several}) on so many texts. `found` is the tuned model minus its base, `spread` the standard "
        "deviation of a text's part in it."
    )


def _sentence(need: Need) -> str:
    places = _decimals(need)
    name = need.label if need.label == need.metric else f"{need.label} ({need.metric})"
    if need.needed is None:
        return f"{name}: no difference was found, and none is given with --difference, so there is nothing to prove."
    enough = "enough" if need.needed <= need.documents else f"{need.needed - need.documents:,} too few"
    return (
        f"{name}: a difference of {fixed(need.wanted, places)} takes {need.needed:,} held-out texts; this run has "
        f"{need.documents:,}, {enough}. They would prove one of {fixed(need.detectable, places)}."
    )

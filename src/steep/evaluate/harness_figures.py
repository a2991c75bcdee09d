"""The figures of lm-evaluation-harness, unchanged, and what each question added to them.

A figure that is a mean over questions, or exp of one, is a function of summed rows of two numbers; rows that do not
give the harness's own figure again (to 1e-6) are not kept. F1, a correlation or a corpus BLEU stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steep.evaluate.values import value_of
from steep.metrics import LM_EVAL
from steep.significance import Better

Rows = dict[str, list[float]]
"""Two statistics of each question, which is named ``task:number``."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric of a task, or of a group of tasks.

    ``metric`` has the filter of the answers behind a comma, where there is one. ``value`` is None where it is not
    finite, ``better`` where the task does not say. ``rows`` are for `value_of`; empty where the figure stands alone.
    """

    task: str
    metric: str
    value: float | None
    better: Better | None
    rows: Rows

    @property
    def name(self) -> str:
        """Its key in ``scores.json``."""
        return measure_name(self.task, self.metric)


def measure_name(task: str, metric: str) -> str:
    return f"{LM_EVAL}{task}.{metric}"


def measures(results: Mapping[str, Any], tasks: Mapping[str, Any], groups: Mapping[str, Any]) -> list[Measure]:
    """All metrics in what ``simple_evaluate`` returns, for its Task and Group objects by name."""
    found: dict[tuple[str, str], Measure] = {}
    for name, figures in results["results"].items():  # groups stand behind their tasks
        for metric, kind, value in _figures(figures):
            if name in groups:
                rows = _group_rows(groups[name], metric, kind, found)
            else:
                rows = _task_rows(tasks[name], metric, kind, results["samples"][name])
            label = _label(metric, kind)
            found[name, label] = Measure(
                task=name,
                metric=label,
                value=value if math.isfinite(value) else None,
                better=_BETTER.get(results["higher_is_better"].get(name, {}).get(metric)),
                rows=rows if _gives(rows, measure_name(name, label), value) else {},
            )
    return list(found.values())


_BETTER: dict[bool | None, Better] = {True: "higher", False: "lower"}


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Metric, filter and value."""
    for key, value in figures.items():
        metric, comma, kind = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float | np.number):
            yield metric, kind, float(value)


def _label(metric: str, kind: str) -> str:
    return metric if kind == "none" else f"{metric},{kind}"


_ROWS: dict[str, Callable[[Any], tuple[float, float]]] = {
    "mean": lambda value: (value, 1),
    "nanmean": lambda value: (0, 0) if math.isnan(value) else (value, 1),
    "perplexity": lambda log_likelihood: (-log_likelihood, 1),
    "weighted_perplexity": lambda item: (-item[0], item[1]),
    "bits_per_byte": lambda item: (-item[0] / math.log(2), item[1]),
}
"""From a question's value to its row, by the name of the harness's own way to join the values."""


def _task_rows(task: Any, metric: str, kind: str, samples: list[dict[str, Any]]) -> Rows:
    from lm_eval.api.registry import get_aggregation

    joined = task.aggregation().get(metric, get_aggregation("mean"))  # as the harness does where a task says nothing
    row = next((row for name, row in _ROWS.items() if get_aggregation(name) is joined), None)
    answered = [sample for sample in samples if sample["filter"] == kind and metric in sample]
    if row is None:
        return {}
    return {f"{task.task_name}:{one['doc_id']}": [float(part) for part in row(one[metric])] for one in answered}


def _group_rows(group: Any, metric: str, kind: str, found: Mapping[tuple[str, str], Measure]) -> Rows:
    """Those of its tasks; where tasks count alike whatever their size, a question of a short one counts for more."""
    by_size = {one.metric: one.weight_by_size for one in group.aggregate_metric_list}[metric]
    members = [found.get((task.task_name, _label(metric, kind))) for task in group.get_all_tasks()]
    rows: Rows = {}
    for member in members:
        if member is None:
            continue
        if not member.rows:
            return {}
        share = 1.0 if by_size else 1 / sum(weight for _, weight in member.rows.values())
        rows |= {question: [value * share, weight * share] for question, (value, weight) in member.rows.items()}
    return rows


def _gives(rows: Rows, name: str, value: float) -> bool:
    if not rows:
        return False
    again = value_of(name)(np.array(list(rows.values())).sum(axis=0))
    return bool(np.isclose(again, value, rtol=1e-6, atol=1e-9))

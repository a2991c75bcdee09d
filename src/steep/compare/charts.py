"""The charts of the comparison: differences from the first run, and the curves of the loss."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from steep.compare.pairs import Pair
from steep.evaluations import Evaluation
from steep.figures import Row
from steep.plots import Chart, Mark, forest, overlaid
from steep.report.files import read_json_lines

Curve = tuple[Sequence[float], Sequence[float]]


def differences(pair: Pair, rows: Sequence[Row], number: int) -> dict[str, str]:
    """A forest plot of the measures of the verdict, for a wide and a narrow page; empty where there is nothing to see.

    Each is in standard deviations of the documents' contributions to the difference, mirrored where lower is better.
    """
    shown = [row for row in rows if row.told and pair.units[row.name]]
    if not shown:
        return {}
    title, unit = f"Differences of {pair.name}", "standard deviations of the documents’ differences"
    about = " ".join(
        f"{row.label}: {gap.value}, {gap.interval}, {gap.word}." for row in shown for gap in row.gaps.values()
    )
    marks = [[_mark(pair, row.name) for row in shown]]
    labels = [row.label for row in shown]
    narrow = ["\n".join(textwrap.wrap(label, 12, break_long_words=False)) for label in labels]
    return {
        "wide": forest(Chart(f"forest-{number}-wide", title, about, 700, 64), labels, marks, xlabel=unit),
        "narrow": forest(Chart(f"forest-{number}-narrow", title, about, 340, 64), narrow, marks, xlabel=unit),
    }


def _mark(pair: Pair, name: str) -> Mark:
    gap = pair.differences[name]
    assert gap.verdict, "a measure of the verdict"
    scale = -pair.units[name] if pair.metrics[name].better == "lower" else pair.units[name]
    low, high = sorted((gap.low / scale, gap.high / scale))
    return Mark(gap.value / scale, low, high, gap.verdict)


def losses(runs: dict[str, Evaluation]) -> tuple[list[str], dict[str, str]]:
    """The names of the runs that were trained, and their curves in one chart, for a wide and a narrow page."""
    trained = {name: _curve(one) for name, one in runs.items() if one.own}
    curves = {name: curve for name, curve in trained.items() if curve[0]}
    if not curves:
        return [], {}
    title = "Training loss by tokens read"
    about = " ".join(
        f"{name}: from {y[0]:.3g} to {y[-1]:.3g} over {x[-1]:,.0f} tokens." for name, (x, y) in curves.items()
    )
    drawn = list(curves.values())
    return list(curves), {
        "wide": overlaid(Chart("loss-wide", title, about, 960, 360), drawn, xlabel="tokens"),
        "narrow": overlaid(Chart("loss-narrow", title, about, 340, 240), drawn, xlabel="tokens"),
    }


def _curve(one: Evaluation) -> Curve:
    """Tokens read and loss, of the steps that have both; none where the run has not trained."""
    path = one.run / "train" / "metrics.jsonl"
    rows = read_json_lines(path) if path.exists() else []
    points = [(row["tokens"], row["loss"]) for row in rows if _finite(row.get("loss")) and _finite(row.get("tokens"))]
    return [tokens for tokens, _ in points], [loss for _, loss in points]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

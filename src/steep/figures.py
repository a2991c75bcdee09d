"""Figures as people read them: each measure of ``scores.json`` as a row of texts, for the page and for the terminal.

All figures of a measure have the same decimals, as many as leave two digits of the width of the narrowest interval
around a difference, so that no difference that counts is rounded to nothing: 0.0004 to 0.0020 is not 0.000 to 0.002.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from steep.metrics import METRICS, metric
from steep.scores import Difference, Estimate, Metric, Model, Scores, Word

NAMES: Mapping[Model, str] = {"base": "Base", "few_shot": "Few-shot", "tuned": "Tuned"}
MOST_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Figure:
    value: str
    interval: str = ""
    """Empty where there is none."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The tuned model's value minus another's; ``effect`` has the sign of the difference, better or not."""

    value: str
    interval: str
    change: str
    """As a share of the other's value; empty where a share would say nothing."""
    p: str
    effect: str
    wins: str
    word: Word | None
    rose: bool | None
    """None where the two are equal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. ``told``: it is part of the verdict. ``name``: its key in ``scores.json``."""

    name: str
    label: str
    meaning: str
    told: bool
    documents: int
    models: Mapping[Model, Figure]
    gaps: Mapping[Model, Gap]
    spread: Mapping[Model, str]
    """Mean ± standard deviation over random subsets of the documents."""


def rows_of(scores: Scores) -> list[Row]:
    """In the order of METRICS; a label that several steps have is told with its step."""
    order = {key: place for place, key in enumerate(METRICS)}
    names = sorted(scores.metrics, key=lambda name: (name.rpartition(".")[0], order.get(_key(name), len(order))))
    labels = Counter(metric(name).label for name in names)
    return [_row(name, scores.metrics[name], several=labels[metric(name).label] > 1) for name in names]


def _key(name: str) -> str:
    return name.rpartition(".")[2]


def _row(name: str, measured: Metric, *, several: bool) -> Row:
    described = metric(name)
    decimals = decimals_of(measured)
    step = name.rpartition(".")[0]
    return Row(
        name=name,
        label=f"{described.label} ({step})" if several and step else described.label,
        meaning=_meaning(described.meaning, measured),
        told=any(gap.verdict for gap in measured.differences.values()) or (described.told and not measured.differences),
        documents=measured.documents,
        models={model: _figure(estimate, decimals) for model, estimate in measured.models.items()},
        gaps={model: _gap(measured, model, decimals, ratio=described.ratio) for model in measured.differences},
        spread={model: _spread(values, decimals) for model, values in measured.subsets.items() if len(values) > 1},
    )


def _meaning(meaning: str, measured: Metric) -> str:
    return "; ".join(filter(None, (meaning, measured.better and f"{measured.better} is better")))


def _figure(estimate: Estimate, decimals: int) -> Figure:
    if estimate.value is None:
        return Figure("undefined")
    return Figure(fixed(estimate.value, decimals), span(estimate.low, estimate.high, decimals))


def _gap(measured: Metric, other: Model, decimals: int, *, ratio: bool) -> Gap:
    difference = measured.differences[other]
    of = measured.models[other].value
    return Gap(
        value=fixed(difference.value, decimals, sign="+"),
        interval=span(difference.low, difference.high, decimals, sign="+"),
        change=percent(difference.value / abs(of), sign="+") if ratio and of else "",
        p=p_value(difference.p if difference.p_adjusted is None else difference.p_adjusted),
        effect="–" if difference.effect_size is None else fixed(difference.effect_size, 2, sign="+"),
        wins=percent(difference.wins),
        word=difference.verdict,
        rose=None if difference.value == 0 else difference.value > 0,
    )


def _spread(values: Sequence[float], decimals: int) -> str:
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return "undefined"
    return f"{fixed(fmean(known), decimals)} ± {fixed(stdev(known), decimals)}"


def decimals_of(measured: Metric) -> int:
    values = [estimate.value for estimate in measured.models.values() if estimate.value is not None]
    largest = max(map(abs, values), default=1.0)
    usual = 1 if largest >= 100 else 2 if largest >= 1 else 3
    narrowest = min(_widths(measured.differences.values()), default=0.0)
    fine = 1 - math.floor(math.log10(narrowest)) if narrowest else 0
    return min(MOST_DECIMALS, max(usual, fine))


def _widths(differences: Iterable[Difference]) -> Iterable[float]:
    return (gap.high - gap.low for gap in differences if gap.high > gap.low)


def fixed(value: float, decimals: int, sign: str = "-") -> str:
    """With a true minus and thousands apart; ``sign="+"`` shows the plus as well."""
    if math.isnan(value):
        return "undefined"
    text = "∞" if math.isinf(value) else f"{abs(value):,.{decimals}f}"
    if not text.strip("0.,"):
        return text  # no sign before what is shown as zero
    return ("−" if value < 0 else "+" if sign == "+" else "") + text


def span(low: float | None, high: float | None, decimals: int, sign: str = "-") -> str:
    if low is None or high is None:
        return ""
    return f"{fixed(low, decimals, sign)} to {fixed(high, decimals, sign)}"


def percent(share: float, sign: str = "-") -> str:
    return fixed(100 * share, 0, sign) + "\u00a0%"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"

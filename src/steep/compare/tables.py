"""The comparison as rows of texts, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steep.compare import Comparison
from steep.compare.pairs import Pair
from steep.figures import Figure, Row, decimals_of, fixed, rows_of, span
from steep.scores import Estimate, Model, Scores


@dataclass(frozen=True, slots=True)
class Values:
    """One measure of all runs; an empty figure where a run was not measured by it."""

    name: str
    label: str
    meaning: str
    told: bool
    figures: list[Figure]


def values(comparison: Comparison) -> list[Values]:
    """The measures of the verdict first."""
    rows: dict[str, Row] = {}
    for one in comparison.runs.values():
        rows = {row.name: row for row in rows_of(one.scores)} | rows
    told = {name for pair in comparison.pairs for name, gap in pair.differences.items() if gap.verdict}
    found = [
        Values(name, row.label, row.meaning, name in told, _figures(name, comparison)) for name, row in rows.items()
    ]
    return sorted(found, key=lambda one: not one.told)


def _figures(name: str, comparison: Comparison) -> list[Figure]:
    measured = [one.scores.metrics.get(name) for one in comparison.runs.values()]
    decimals = max(decimals_of(metric) for metric in measured if metric)
    return [
        _figure(metric.models.get(one.subject) if metric else None, decimals)
        for metric, one in zip(measured, comparison.runs.values(), strict=True)
    ]


def _figure(estimate: Estimate | None, decimals: int) -> Figure:
    if estimate is None or estimate.value is None:
        return Figure("–")
    return Figure(fixed(estimate.value, decimals), span(estimate.low, estimate.high, decimals))


def gaps(pair: Pair, comparison: Comparison) -> list[Row]:
    """How a run differs from the first, the first one in the place of the base; measures of the verdict first."""
    scores = next(iter(comparison.runs.values())).scores
    models: dict[Model, str] = {"base": comparison.first, "tuned": pair.name}
    rows = rows_of(Scores(test_set=scores.test_set, models=models, metrics=pair.metrics))
    return sorted(rows, key=lambda row: not row.told)


def sentence(pair: Pair, comparison: Comparison) -> str:
    """The verdict on one run."""
    words = [gap.verdict for gap in pair.differences.values() if gap.verdict]
    if not words:
        return f"{pair.name} and {comparison.first} have no measure in common that a verdict could rest on."
    counts = ", ".join(f"{word} in {words.count(word)}" for word in ("better", "worse", "not proven") if word in words)
    said = f"not proven to differ from {comparison.first}"
    if pair.verdict != "not proven":
        said = f"{pair.verdict} than {comparison.first}"
    elif "better" in words:
        said = f"better than {comparison.first} in some measures and worse in others"
    return f"{pair.name} is {said} ({counts} of {len(words)} measure{'' if len(words) == 1 else 's'})."


def reasons(pair: Pair, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Why measures are not compared, and which."""
    found: dict[str, list[str]] = {}
    for name, reason in pair.obstacles.items():
        found.setdefault(reason, []).append(labels.get(name, name))
    return found

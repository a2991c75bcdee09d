"""Which answers a reader sees, by a rule that cannot be bent: some at random, and the best and the worst.

Best and worst are those whose measure differs most between the tuned and the base model. Personal data that a model
says is replaced by its kind in all that is shown, also where the recipe lets it be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from steep.figures import NAMES, fixed
from steep.metrics import METRICS
from steep.personal import redaction
from steep.scores import Model

SEED = 42
AT_RANDOM = 4
EXTREMES = 3
RANKED_BY = ("reward", "rougeL", "chrf", "f1", "bleu", "soft_rouge", "exact_match", "accuracy")
"""The first that all models were measured with ranks the answers: graded ones first, which leave few ties."""
DECIMALS = 3

Clean = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Sample:
    document_id: str
    prompt: str
    reference: str
    answers: Mapping[Model, str]
    cut: Sequence[Model]
    """Models that were stopped at the longest answer allowed."""
    note: str
    """The measure that ranks it, of each model."""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Choice:
    """Of one step."""

    step: str
    total: int
    rule: str
    groups: Sequence[Group]


@dataclass(slots=True)
class Redactor:
    """Replaces personal data and counts it. ``regions``: countries whose telephone formats are known."""

    regions: Sequence[str]
    found: int = field(default=0, init=False)

    def __call__(self, text: str) -> str:
        return redaction.redact(text, region=self.regions, note=self._count)

    def _count(self, kind: str, raw: str) -> None:
        self.found += 1


def regions_of(recipe: Mapping[str, Any]) -> Sequence[str]:
    """Those of the recipe's steps `redact`, so that a report finds what cleaning found."""
    given = [step["redact"].get("region", "US") for step in recipe.get("clean", ()) if step.get("redact")]
    return list(dict.fromkeys(country for region in given or ("US",) for country in redaction.regions_of(region)))


def choices(rows: Sequence[Mapping[str, Any]], clean: Clean) -> Iterator[Choice]:
    """From the lines of ``samples.jsonl``, for each step that let the models answer."""
    for step in dict.fromkeys(row["step"] for row in rows):
        yield _choice(step, [row for row in rows if row["step"] == step], clean)


def _choice(step: str, rows: Sequence[Mapping[str, Any]], clean: Clean) -> Choice:
    metric = ranking_metric(rows)
    ranked = sorted((row for row in rows if metric and _gain(row, metric) is not None), key=_by_gain(metric))
    extremes = min(EXTREMES, len(ranked) // 2)
    best, worst = ranked[:extremes], ranked[len(ranked) - extremes :][::-1]
    shown = {row["document_id"] for row in (*best, *worst)}
    others = at_random([row for row in rows if row["document_id"] not in shown], AT_RANDOM)
    groups = {
        f"{len(others)} drawn at random": others,
        f"The {extremes} best": best,
        f"The {extremes} worst": worst,
    }
    made = [Group(title, [_sample(row, metric, clean) for row in of]) for title, of in groups.items() if of]
    return Choice(step, len(rows), _rule(metric, extremes), made)


def ranking_metric(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """None where there is no base model to differ from."""
    return next((name for name in RANKED_BY if any(_gain(row, name) is not None for row in rows)), None)


def _gain(row: Mapping[str, Any], metric: str) -> float | None:
    """By how much the tuned model is better."""
    measured = row["measures"].get(metric, {})
    tuned, base = measured.get("tuned"), measured.get("base")
    if tuned is None or base is None or not math.isfinite(tuned - base):
        return None
    return float(base - tuned if METRICS[metric].better == "lower" else tuned - base)


def _by_gain(metric: str | None) -> Callable[[Mapping[str, Any]], tuple[float, str]]:
    """Best first; of equals the one whose document has the smaller id, which is a hash."""
    return lambda row: (-(_gain(row, metric) or 0.0) if metric else 0.0, row["document_id"])


def at_random(rows: Sequence[Mapping[str, Any]], wanted: int) -> list[Mapping[str, Any]]:
    return Random(SEED).sample(rows, min(wanted, len(rows)))


def _rule(metric: str | None, extremes: int) -> str:
    drawn = f"drawn at random (Python's random.Random({SEED}).sample)"
    if not extremes or metric is None:
        return f"Nobody picked them: they are {drawn}."
    best = f"the {extremes} largest and the {extremes} smallest differences in {METRICS[metric].label}"
    return f"Nobody picked them. Best and worst have {best}, tuned minus base; of the rest some are {drawn}."


def _sample(row: Mapping[str, Any], metric: str | None, clean: Clean) -> Sample:
    answers = {model: clean(text) for model in NAMES if (text := row["answers"].get(model)) is not None}
    return Sample(
        document_id=row["document_id"],
        prompt=clean(row["prompt"] or ""),
        reference=clean(row["reference"] or ""),
        answers=answers,
        cut=[model for model in answers if row["finished"].get(model) is False],
        note=_measured(row, metric) if metric else "",
    )


def _measured(row: Mapping[str, Any], metric: str) -> str:
    found = row["measures"].get(metric, {})
    values = [f"{NAMES[model].lower()} {_value(found[model])}" for model in NAMES if model in found]
    return f"{METRICS[metric].label}: {', '.join(values)}"


def _value(value: float | None) -> str:
    return "undefined" if value is None else fixed(value, DECIMALS)

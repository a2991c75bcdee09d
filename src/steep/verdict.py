"""What the scores of a run say, in words: no more than they show.

A measure counts as better or worse by its direction alone, where the figures shown differ at all. How sure one can be
of a difference is another question, and the caveat says that it has not been asked yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEW_TEXTS = 30


@dataclass(frozen=True, slots=True)
class Metric:
    """``ratio``: a change is told as a share of the base's value. Overlaps are near zero where the base is far from the
    text, so that a share would only impress. ``told``: part of the verdict; what repeats another measure is not."""

    label: str
    meaning: str
    lower_is_better: bool = False
    ratio: bool = False
    told: bool = True


METRICS = {
    "perplexity": Metric(
        "Perplexity", "how many tokens the model is torn between at each step; lower is better", True, True
    ),
    "bits_per_byte": Metric(
        "Bits per byte", "the same, to compare with models of other tokenizers; lower is better", True, True, told=False
    ),
    "bleu": Metric("BLEU", "word sequences shared with the true continuation, 0 to 100; higher is better"),
    "rouge1": Metric("ROUGE-1", "single words shared with it, 0 to 1; higher is better"),
    "rouge2": Metric("ROUGE-2", "word pairs shared with it, 0 to 1; higher is better"),
    "rougeL": Metric("ROUGE-L", "longest common word sequence, 0 to 1; higher is better"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One measure before (None for a model without a base) and after."""

    metric: Metric
    base: float | None
    tuned: float
    n: int

    @property
    def direction(self) -> int:
        """1 up, -1 down, 0 neither or not comparable. What is shown as equal counts as equal."""
        if self.base is None or math.isnan(self.base) or math.isnan(self.tuned) or self.unchanged:
            return 0
        return (self.tuned > self.base) - (self.tuned < self.base)

    @property
    def gain(self) -> int:
        """1 better, -1 worse, 0 neither or not comparable."""
        return -self.direction if self.metric.lower_is_better else self.direction

    @property
    def unchanged(self) -> bool:
        return self.before == self.after and not math.isnan(self.tuned)

    @property
    def before(self) -> str:
        return "none" if self.base is None else _fixed(self.base, self._decimals)

    @property
    def after(self) -> str:
        return _fixed(self.tuned, self._decimals)

    @property
    def difference(self) -> str:
        if self.base is None:
            return ""
        if self.unchanged:
            return _fixed(0.0, self._decimals)
        if self.metric.ratio and self.base and math.isfinite(self.base) and math.isfinite(self.tuned):
            return _fixed(100 * (self.tuned - self.base) / abs(self.base), 0, sign="+") + "\u00a0%"
        return _fixed(self.tuned - self.base, self._decimals, sign="+")

    @property
    def _decimals(self) -> int:
        largest = max((abs(v) for v in (self.base, self.tuned) if v is not None and math.isfinite(v)), default=1.0)
        return 1 if largest >= 100 else 2 if largest >= 1 else 3


@dataclass(frozen=True, slots=True)
class Verdict:
    headline: str
    numbers: str
    caveat: str


def changes(scores: Mapping[str, Any]) -> list[Change]:
    """The measures of ``scores.json`` in the order of METRICS."""
    found: Mapping[str, Mapping[str, Any]] = scores["metrics"]
    return [
        Change(metric, found[key]["base"], found[key]["tuned"], found[key]["n"])
        for key, metric in METRICS.items()
        if key in found
    ]


def verdict(measured: Sequence[Change]) -> Verdict:
    told = [change for change in measured if change.metric.told]
    compared = [change for change in told if change.base is not None]
    numbers = "; ".join(map(_sentence, told)) + "."
    if not compared:
        headline = "There is no base model to compare with."
        caveat = (
            "These figures say how well the model fits text it has not seen, not that it is better than another model."
        )
        return Verdict(headline, numbers, caveat)
    return Verdict(_headline(compared), numbers, _caveat(min(change.n for change in compared)))


def _headline(compared: Sequence[Change]) -> str:
    better, worse = (sum(change.gain == sign for change in compared) for sign in (1, -1))
    every = f"all {len(compared)} measures" if len(compared) > 1 else "the one measure taken"
    if better == len(compared):
        return f"Better than its base model on {every}."
    if worse == len(compared):
        return f"Worse than its base model on {every}."
    if not better and not worse:
        return f"No different from its base model on {every}."
    unchanged = sum(change.unchanged for change in compared)
    for gained, word in ((better, "Better"), (worse, "Worse")):
        if gained and gained + unchanged == len(compared):
            return f"{word} than its base model on {gained} of {every.removeprefix('all ')}, unchanged on {unchanged}."
    return f"Mixed: of {len(compared)} measures, {better} better than the base model, {worse} worse."


def _sentence(change: Change) -> str:
    label = change.metric.label
    if change.base is None:
        return f"{label} is {change.after}"
    if change.direction == 0:
        return f"{label} went from {change.before} to {change.after}"
    verb = "rose" if change.direction > 0 else "fell"
    return f"{label} {verb} from {change.before} to {change.after} ({change.difference})"


def _caveat(texts: int) -> str:
    few = f" With only {texts} texts that is a real possibility." if texts < FEW_TEXTS else ""
    return (
        "Both models read the same held-out text, which was not trained on. These are averages; no significance test "
        f"has been run yet, so a small difference may be chance.{few}"
    )


def _fixed(value: float, decimals: int, sign: str = "-") -> str:
    if math.isnan(value):
        return "undefined"
    text = "∞" if math.isinf(value) else f"{abs(value):,.{decimals}f}"
    return ("−" if value < 0 else "+" if sign == "+" and value > 0 else "") + text

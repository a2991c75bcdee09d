"""Each run's tuned model against the first run's, measure by measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from steep.compare.alike import obstacle, shared
from steep.evaluate.values import value_of
from steep.evaluations import Evaluation
from steep.metrics import metric as described
from steep.scores import Difference, Metric, Word
from steep.significance import deviation, difference, holm, overall, verdict

BYTES, TOKENS = "bits_per_byte", "perplexity"


@dataclass(frozen=True, slots=True)
class Pair:
    """A run and how it differs from the first.

    ``metrics``: the measures of both, in which the first plays the base; ``units``: the standard deviations of the
    documents' contributions to the differences; ``obstacles``: why a measure is not compared.
    """

    name: str
    metrics: dict[str, Metric]
    units: dict[str, float]
    obstacles: dict[str, str]

    @property
    def differences(self) -> dict[str, Difference]:
        return {name: one.differences["base"] for name, one in self.metrics.items()}

    @property
    def verdict(self) -> Word:
        return overall(gap.verdict for gap in self.differences.values() if gap.verdict)


def paired(runs: Mapping[str, Evaluation]) -> list[Pair]:
    """One for each run after the first."""
    (_, first), *others = runs.items()
    return _judged([_pair(name, first, other) for name, other in others])


def _pair(name: str, first: Evaluation, other: Evaluation) -> Pair:
    pair = Pair(name, {}, {}, {})
    for metric in {**first.scores.metrics, **other.scores.metrics}:
        reason = obstacle(metric, first, other)
        if reason is None and not _compare(metric, first, other, pair):
            reason = "undefined"
        if reason:
            pair.obstacles[metric] = reason
    return pair


def _compare(metric: str, first: Evaluation, other: Evaluation, pair: Pair) -> bool:
    """Add a measure to the pair; False where it is undefined for one of the two."""
    one, another = first.measures(metric, first.subject), other.measures(metric, other.subject)
    assert one is not None, "no obstacle"
    assert another is not None, "no obstacle"
    keys, value = shared(one, another), value_of(metric)
    one, another = one.at(keys), another.at(keys)
    better = first.scores.metrics[metric].better
    gap = difference(another.rows, one.rows, value, better=better, groups=one.groups)
    if gap is None:
        return False
    pair.units[metric] = deviation(another.rows, one.rows, value, groups=one.groups)
    pair.metrics[metric] = Metric(
        documents=len(keys),
        better=better,
        models={
            "base": first.scores.metrics[metric].models[first.subject],
            "tuned": other.scores.metrics[metric].models[other.subject],
        },
        differences={"base": Difference(**asdict(gap))},
    )
    return True


def _told(metric: str, pair: Pair) -> bool:
    """Bits per byte speak for the perplexity where that cannot be compared."""
    instead = metric == BYTES and TOKENS in pair.obstacles
    return described(metric).told or instead


def _judged(pairs: list[Pair]) -> list[Pair]:
    """With the words of the verdict, corrected for all measures of all pairs together."""
    told = [(pair, name) for pair in pairs for name in pair.metrics if _told(name, pair)]
    adjusted = holm([pair.differences[name].p for pair, name in told])
    judged = [replace(pair, metrics=dict(pair.metrics)) for pair in pairs]
    by_name = {pair.name: pair for pair in judged}
    for (pair, name), p in zip(told, adjusted, strict=True):
        one = pair.metrics[name]
        assert one.better, f"{name} is part of the verdict, so it has a direction"
        gap = one.differences["base"]
        word = verdict(p, gap.value, one.better)
        found = gap.model_copy(update={"p_adjusted": p, "verdict": word})
        by_name[pair.name].metrics[name] = one.model_copy(update={"differences": {"base": found}})
    return judged

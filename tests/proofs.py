"""Scores of runs that never were, for tests of what is said of them: made-up documents, true statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from steep.metrics import metric
from steep.scores import Difference, Estimate, Metric, Model, Scores, Statistics, TestSet, Word
from steep.significance import difference, holm, interval, overall, verdict

RESAMPLES = 4000
MODELS = {
    "base": "tiny",
    "few_shot": "tiny with 4 training examples in its prompt",
    "tuned": "tiny, LoRA of rank 16, epoch 3",
}
LEVELS = {
    "perplexity": (86.3, 61.2, 21.5),
    "bits_per_byte": (2.41, 2.1, 1.65),
    "continuation.bleu": (0.8, 2.4, 9.6),
    "continuation.chrf": (14.2, 17.9, 26.0),
    "continuation.rouge1": (0.181, 0.24, 0.334),
    "continuation.rouge2": (0.021, 0.033, 0.127),
    "continuation.rougeL": (0.119, 0.171, 0.256),
    "continuation.stop_rate": (0.02, 0.05, 0.71),
    "continuation.repetition": (0.62, 0.58, 0.11),
}
"""Of base, few-shot and tuned."""


def scores(levels: dict[str, tuple[float, float, float]] = LEVELS, documents: int = 60, **values: Any) -> Scores:
    """``levels``: about the value of each measure for base, few-shot and tuned; ``values`` are fields of Scores."""
    made = {name: _metric(name, level, documents) for name, level in levels.items()}
    for other in ("base", "few_shot"):
        _judge(made, other)
    words = {other: _overall(made, other) for other in ("base", "few_shot") if _words(made, other)}
    fields = {
        "test_set": TestSet(documents=documents, hash="9f86d081884c7d65"),
        "models": MODELS,
        "metrics": made,
        "verdict": words,
        "signatures": {"bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"},
        "settings": {"perplexity": {"window": 512, "stride": 256}, "continuation": {"split": 0.5, "temperature": 0.0}},
        "statistics": Statistics(confidence=0.95, resamples=RESAMPLES, seed=42, clusters=max(1, documents - 2)),
    }
    return Scores.model_validate(fields | values)


def from_scratch(given: Scores) -> Scores:
    """Without what stands beside the tuned model."""
    metrics = {
        name: one.model_copy(update={"models": {"tuned": one.models["tuned"]}, "differences": {}, "subsets": {}})
        for name, one in given.metrics.items()
    }
    return given.model_copy(update={"models": {"tuned": MODELS["tuned"]}, "metrics": metrics, "verdict": {}})


def rows(name: str, levels: tuple[float, float, float], documents: int) -> list[np.ndarray]:
    """Statistics of each document, of a mean, for each model; perplexity's are logarithms."""
    drawn = np.random.default_rng(7)
    ease = drawn.normal(0, 0.3, documents)
    found = []
    for level in levels:
        centre = np.log(level) if name == "perplexity" else level
        values = centre * (1 + ease * (0.1 if name == "perplexity" else 1) + drawn.normal(0, 0.12, documents))
        found.append(np.stack([values, np.ones(documents)], axis=1))
    return found


def _metric(name: str, levels: tuple[float, float, float], documents: int) -> Metric:
    value = perplexity if name == "perplexity" else mean
    base, few_shot, tuned = rows(name, levels, documents)
    by_model: dict[Model, np.ndarray] = {"base": base, "few_shot": few_shot, "tuned": tuned}
    better = metric(name).better
    gaps = {
        other: difference(tuned, by_model[other], value, better=better, resamples=RESAMPLES)
        for other in ("base", "few_shot")
    }
    subsets = {model: [float(value(found[i::5].sum(axis=0))) for i in range(5)] for model, found in by_model.items()}
    return Metric(
        documents=documents,
        better=better,
        models={model: _estimate(found, value) for model, found in by_model.items()},
        differences={other: Difference(**fields(gap)) for other, gap in gaps.items() if gap},
        subsets=subsets if name.startswith("continuation.") and documents >= 5 else {},
    )


def mean(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(mean(sums))


def fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def _estimate(found: np.ndarray, value: Any) -> Estimate:
    return Estimate(**fields(interval(found, value, resamples=RESAMPLES)))


def _judge(made: dict[str, Metric], other: Model) -> None:
    told = [name for name, one in made.items() if metric(name).told and other in one.differences]
    adjusted = holm([made[name].differences[other].p for name in told])
    for name, p in zip(told, adjusted, strict=True):
        one = made[name]
        gap = one.differences[other]
        word = verdict(p, gap.value, one.better)
        judged = gap.model_copy(update={"p_adjusted": p, "verdict": word})
        made[name] = one.model_copy(update={"differences": {**one.differences, other: judged}})


def _words(made: dict[str, Metric], other: Model) -> list[Word]:
    gaps = [one.differences[other] for one in made.values() if other in one.differences]
    return [gap.verdict for gap in gaps if gap.verdict]


def _overall(made: dict[str, Metric], other: Model) -> Word:
    return overall(_words(made, other))


SENTENCES = (
    "Rain on the tin roof this morning. Slow metal, honest heat. A kettle-keeper wrote about a lid that rattles. ",
    "We hammer. We wait. We pour. The Harbourmaster took Piers's sandwich, and the cat saw it and said nothing. ",
    "Copper remembers. Old Margaret turned four spouts before noon, ready in three boils, friend of the spout. ",
    "Nobody ever wept over a plug. Put the kettle on and say it plainly. Mind the whistle. ",
)


def voice(start: int, sentences: int) -> str:
    return "".join(SENTENCES[(start + i) % len(SENTENCES)] for i in range(sentences)).strip()


def sample(i: int, gain: float = 0.0, **changed: Any) -> dict[str, Any]:
    """A line of samples.jsonl; ``gain``: by how much the tuned model's ROUGE-L is better than the base's."""
    answers = {
        "base": "The first of the two was the same as the other, and the second was the same as the first of them. "
        * 2,
        "few_shot": voice(i + 2, 1),
        "tuned": voice(i + 1, 2),
    }
    return {
        "step": "continuation",
        "document_id": f"{i:016x}",
        "prompt": voice(i, 3),
        "reference": voice(i + 3, 3),
        "answers": answers,
        "finished": {"base": False, "few_shot": True, "tuned": True},
        "measures": {
            "rougeL": {"base": 0.1, "few_shot": 0.15, "tuned": 0.1 + gain},
            "bleu": {"base": 1.0, "few_shot": 1.2, "tuned": 3.0},
        },
    } | changed

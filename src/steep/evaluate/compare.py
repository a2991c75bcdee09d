"""Base against tuned: the same measures side by side, and the samples behind them.

Every sample keeps its own measures, so that a paired test can be made from them later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from steep.errors import SteepError

BETTER: dict[str, Literal["lower", "higher"]] = {
    "perplexity": "lower",
    "bits_per_byte": "lower",
    "bleu": "higher",
    "rouge1": "higher",
    "rouge2": "higher",
    "rougeL": "higher",
}


@dataclass(frozen=True, slots=True)
class Score:
    """``n`` examples make the value."""

    value: float
    n: int


@dataclass(slots=True)
class Sample:
    """What was measured on one held-out example. Without a continuation, the three texts are None."""

    document_id: str
    prompt: str | None = None
    reference: str | None = None
    output: str | None = None
    tokens: int | None = None
    bytes: int | None = None
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """One model on the held-out examples."""

    samples: list[Sample]
    scores: dict[str, Score] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``scores`` is what scores.json holds, ``samples`` the lines of samples.jsonl."""

    scores: dict[str, Any]
    samples: list[dict[str, Any]]


def compare_models(base: Results | None, tuned: Results) -> Comparison:
    """Set the results side by side; a model trained from scratch has no base."""
    if base is not None:
        _check_same_work(base, tuned)
    metrics = {
        name: {
            "base": base.scores[name].value if base else None,
            "tuned": score.value,
            "n": score.n,
            "better": BETTER[name],
        }
        for name, score in tuned.scores.items()
    }
    scores = {"metrics": metrics, "signatures": tuned.signatures, "settings": tuned.settings}
    partners = base.samples if base else [None] * len(tuned.samples)
    return Comparison(scores, [_side_by_side(one, other) for one, other in zip(partners, tuned.samples, strict=True)])


def _check_same_work(base: Results, tuned: Results) -> None:
    def work(results: Results) -> Any:
        cuts = [(sample.document_id, sample.prompt, sample.reference) for sample in results.samples]
        return cuts, results.settings, list(results.scores)

    if work(base) != work(tuned):
        raise SteepError(
            "base and tuned were not evaluated on the same prompts with the same settings; evaluate both again with "
            "one tokenizer and one recipe"
        )


def _side_by_side(base: Sample | None, tuned: Sample) -> dict[str, Any]:
    return {
        "document_id": tuned.document_id,
        "prompt": tuned.prompt,
        "reference": tuned.reference,
        "base": base.output if base else None,
        "tuned": tuned.output,
        "tokens": tuned.tokens,
        "bytes": tuned.bytes,
        "measures": {
            name: {"base": base.measures[name] if base else None, "tuned": value}
            for name, value in tuned.measures.items()
        },
    }

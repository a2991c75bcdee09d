"""The evaluate stage: one model on the held-out examples, and base against tuned.

The steps of the recipe say what is measured; `compare_models` sets the results of two models side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from steep.evaluate.compare import Comparison, Results, Sample, Score, compare_models
from steep.evaluate.continuation import continue_texts, tasks
from steep.evaluate.heldout import HeldOut, hold_out
from steep.evaluate.overlap import ROUGE, ROUGE_SIGNATURE, bleu, rouge
from steep.evaluate.perplexity import bits_per_byte, corpus_perplexity, likelihoods
from steep.generation import positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe import Continuation, EvaluateStep, Perplexity

__all__ = ["Comparison", "Results", "Sample", "Score", "compare_models", "evaluate_model"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it is measured on."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    examples: list[HeldOut]
    window: int


def evaluate_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Mapping[str, Any]],
    steps: Sequence[EvaluateStep],
    *,
    max_length: int | None = None,
) -> Results:
    """Measure one model on held-out examples: rows with ``document_id`` and ``text``, or ``prompt`` and ``completion``.

    The model sees at most ``max_length`` tokens at a time, as in training, and never more than its positions.
    """
    held_out = hold_out(examples, tokenizer)
    limits = [limit for limit in (max_length, positions(model)) if limit is not None]
    longest = max(len(example.input_ids) for example in held_out)
    subject = Subject(model, tokenizer, held_out, min(limits, default=longest))
    results = Results([Sample(example.document_id) for example in held_out])
    for step in steps:
        name, options = step.chosen
        _MEASURES[name](subject, options, results)
    return results


def _measure_perplexity(subject: Subject, options: Perplexity, results: Results) -> None:
    window = subject.window
    stride = min(max(1, round(window * options.stride)), window - 1)
    found = likelihoods(subject.model, subject.tokenizer, subject.examples, window=window, stride=stride)
    for sample, one in zip(results.samples, found, strict=True):
        sample.tokens, sample.bytes, sample.measures["nll"] = one.tokens, one.bytes, one.nll
    n = sum(one.tokens > 0 for one in found)
    results.scores["perplexity"] = Score(corpus_perplexity(found), n)
    results.scores["bits_per_byte"] = Score(bits_per_byte(found), n)
    results.settings["perplexity"] = {"window": window, "stride": stride}


def _measure_continuation(subject: Subject, options: Continuation, results: Results) -> None:
    cut = tasks(subject.examples, subject.tokenizer, options, subject.window)
    continued = [results.samples[task.example] for task in cut]
    texts = continue_texts(subject.model, subject.tokenizer, cut, options)
    for sample, task, text in zip(continued, cut, texts, strict=True):
        sample.prompt, sample.reference, sample.output = task.prompt, task.reference, text
    pairs = [(text, task.reference) for text, task in zip(texts, cut, strict=True)]
    if "bleu" in options.metrics and pairs:
        score, results.signatures["bleu"] = bleu(pairs)
        results.scores["bleu"] = Score(score, len(pairs))
    if "rouge" in options.metrics and pairs:
        _measure_rouge(results, continued, pairs)
    results.settings["continuation"] = options.model_dump(exclude={"metrics", "batch_size"}) | {
        "skipped": len(subject.examples) - len(cut)
    }


def _measure_rouge(results: Results, continued: Sequence[Sample], pairs: Sequence[tuple[str, str]]) -> None:
    scores = [rouge(text, reference) for text, reference in pairs]
    for sample, score in zip(continued, scores, strict=True):
        sample.measures |= score
    for name in ROUGE:
        results.scores[name] = Score(fmean(score[name] for score in scores), len(scores))
    results.signatures["rouge"] = ROUGE_SIGNATURE


_MEASURES: dict[str, Callable[[Subject, Any, Results], None]] = {
    "perplexity": _measure_perplexity,
    "continuation": _measure_continuation,
}

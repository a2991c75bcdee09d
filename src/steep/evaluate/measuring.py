"""The steps that measure a model: each adds to its `Results`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.errors import ModelError
from steep.evaluate import completion
from steep.evaluate.answering import answer_tasks
from steep.evaluate.continuation import subsets, tasks
from steep.evaluate.embedding import Embed, load_embedder
from steep.evaluate.familiarity import Familiarity, familiarity, matched, score_tokens
from steep.evaluate.formats import format_rows
from steep.evaluate.general import general_texts
from steep.evaluate.harness import run_tasks
from steep.evaluate.heldout import HeldOut, answer_of, hold_out
from steep.evaluate.labels import find_labels, label_rows
from steep.evaluate.overlap import SIGNATURES, bleu_rows, chrf_rows, rouge_rows
from steep.evaluate.perplexity import LOGITS, Likelihood, likelihoods
from steep.evaluate.quality import match_rows, quality_rows
from steep.evaluate.results import Answer, Measured, Results, Rows
from steep.evaluate.soft_match import soft_match_rows
from steep.evaluate.subject import Subject
from steep.evaluate.values import value_of
from steep.generation import positions
from steep.recipe.evaluate import Completion, Continuation, Forgetting, LmEval, Perplexity
from steep.records import CANARIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STRIDE = Perplexity().stride


def measure_perplexity(subject: Subject, options: Perplexity, results: Results) -> None:
    """Perplexity, unless the model has a tokenizer of its own; and bits per byte."""
    found = likelihoods_of(subject, subject.examples, options.stride, "perplexity")
    places = [place for place, one in enumerate(found) if one.tokens]
    rows = _likelihood_rows([found[place] for place in places])
    if subject.own_tokens:
        del rows["perplexity"]
    for name, counted in rows.items():
        results.measured[name] = subject.measured(places, counted)
    results.settings["perplexity"] = {"window": subject.window, "stride": options.stride}


def likelihoods_of(subject: Subject, examples: Sequence[HeldOut], stride: float, step: str) -> list[Likelihood]:
    """``stride``: as a share of the window."""
    return likelihoods(
        subject.model,
        subject.tokenizer,
        examples,
        window=subject.window,
        stride=min(max(1, round(subject.window * stride)), subject.window - 1),
        prefix=subject.prefix,
        ledger=subject.ledger,
        step=step,
    )


def _likelihood_rows(found: Sequence[Likelihood]) -> dict[str, Rows]:
    return {
        "perplexity": np.array([(one.nll, one.tokens) for one in found], dtype=np.float64).reshape(-1, 2),
        "bits_per_byte": np.array([(one.nll, one.bytes) for one in found], dtype=np.float64).reshape(-1, 2),
    }


def measure_forgetting(subject: Subject, options: Forgetting, results: Results) -> None:
    """Perplexity of general text; not of a model with a tokenizer of its own, which would not compare."""
    if subject.shots or subject.own_tokens:
        return
    passages = general_texts(subject.folder / options.texts if options.texts else None)
    rows = [{"document_id": one.id, "text": one.text} for one in passages]
    found = likelihoods_of(subject, hold_out(rows, subject.tokenizer), STRIDE, "forgetting")
    names = [one.id for one in passages]
    results.measured["general_perplexity"] = Measured(names, names, _likelihood_rows(found)["perplexity"])


def look_for_known_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Mapping[str, Any]], window: int
) -> Familiarity | None:
    """Whether a base model has read the held-out texts before; None where all of them are too short to tell."""
    texts = [answer_of(example) for example in examples]
    pairs = matched(texts, general_texts())
    if not pairs:
        return None
    own, general, passages = zip(*pairs, strict=True)
    scored = [score_tokens(model, tokenizer, some, window) for some in (own, general)]
    return familiarity(scored[0], scored[1], passages)


def measure_tasks(subject: Subject, options: LmEval, results: Results) -> None:
    """Tasks of lm-evaluation-harness."""
    if subject.shots:
        return
    config = subject.model.config
    longest = positions(subject.model) or subject.window
    found = run_tasks(
        subject.model,
        subject.tokenizer,
        options,
        folder=subject.folder,
        batch_size=max(1, LOGITS // (longest * config.vocab_size)),
        ledger=subject.ledger,
    )
    results.measured |= found.measured()
    told = [{**asdict(one), "rows": len(one.rows)} for one in found.measures]
    results.details["lm_eval"] = {**asdict(found), "measures": told}


def measure_continuation(subject: Subject, options: Continuation, results: Results) -> None:
    """What the model writes after the first part of each text, drawn for several subsets of them."""
    drawn = subsets(len(subject.examples), options.subsets, options.subset_share, options.seed)
    union = {place for one in drawn for place in one}
    cut = tasks(subject.cut, subject.cut_by, options, subject.task_window)
    chosen = [task for task in cut if task.example in union]
    answers = answer_tasks(subject, "continuation", chosen, options)
    measure_answers(subject, "continuation", answers, overlap_rows(answers, options.metrics), results)
    at = {task.example: row for row, task in enumerate(chosen)}
    results.subsets["continuation"] = [[at[place] for place in one if place in at] for one in drawn]
    results.settings["continuation"] = options.model_dump(exclude={"metrics", "batch_size"}) | {
        "texts": len(chosen),
        "too_short": len(subject.examples) - len(cut),
    }


def measure_completion(subject: Subject, options: Completion, results: Results) -> None:
    """How the model answers each prompt."""
    asked = completion.tasks(subject.rows, subject.cut_by, options.max_new_tokens, subject.task_window)
    results.longest_task = max(results.longest_task, *(len(task.prompt_ids) + task.limit for task in asked))
    answers = answer_tasks(subject, "completion", asked, options)
    texts, references = [one.text for one in answers], [[one.reference] for one in answers]
    rows = overlap_rows(answers, options.metrics)
    matches = match_rows(texts, references)
    rows |= {name: matches[name] for name in ("exact_match", "f1") if name in options.metrics}
    details: dict[str, Any] = {}
    for found, said in _optional(subject, options, texts, references):
        rows |= found
        details |= said
    measure_answers(subject, "completion", answers, rows, results)
    results.details["completion"] = details
    results.settings["completion"] = options.model_dump(exclude={"metrics", "batch_size"}) | {
        "texts": len(answers),
        "too_long": len(subject.examples) - len(answers),
    }


def _optional(
    subject: Subject, options: Completion, texts: Sequence[str], references: Sequence[Sequence[str]]
) -> Iterator[tuple[dict[str, Rows], dict[str, Any]]]:
    """Statistics, and what there is to tell beside them, of what is measured where it can be."""
    if options.format:
        rows, faults = format_rows(texts, options.format)
        yield rows, {"format_faults": faults}
    asked = [name for name in ("labels", "soft_match") if name in options.metrics]
    labels = find_labels(options.labels, _completions(subject)) if asked else None
    if labels is None:
        if "soft_match" in asked:  # `labels` is among the default metrics, for completions that are labels
            yield {}, {"skipped": {"soft_match": "the completions are not few labels"}}
        return
    if "labels" in options.metrics:
        rows, confusion = label_rows(texts, references, labels)
        yield rows, {"confusion": asdict(confusion)}
    if "soft_match" in options.metrics:
        embed, reason = _embed(subject, options)
        yield (
            soft_match_rows(texts, references, labels, embed),
            {"skipped": {"soft_embedding": reason}} if reason else {},
        )


def _embed(subject: Subject, options: Completion) -> tuple[Embed | None, str | None]:
    """What compares by meaning, or why it is not there."""
    if options.embedding_model is None:
        return None, None
    try:
        return load_embedder(options.embedding_model, subject.folder), None
    except ModelError as error:
        return None, str(error)


def _completions(subject: Subject) -> list[str]:
    """All completions as answers, of training and of the test."""
    training = [
        answer_of(row)
        for batch in (subject.training.to_batches() if subject.training is not None else ())
        for row in batch.to_pylist()
        if row.get("source") != CANARIES
    ]
    held_out = [answer_of(row) for row in subject.rows if "text" not in row]
    return completion.as_answers([*training, *held_out], subject.cut_by)


def overlap_rows(answers: Sequence[Answer], metrics: Sequence[str]) -> dict[str, Rows]:
    """Statistics of BLEU, chrF and ROUGE, as far as they are asked for."""
    texts, references = [one.text for one in answers], [[one.reference] for one in answers]
    found: dict[str, Rows] = {}
    if "bleu" in metrics:
        found["bleu"] = bleu_rows(texts, references)
    if "chrf" in metrics:
        found["chrf"] = chrf_rows(texts, references)
    if "rouge" in metrics:
        found |= rouge_rows(texts, references)
    return found


def measure_answers(
    subject: Subject, step: str, answers: Sequence[Answer], found: dict[str, Rows], results: Results
) -> None:
    """What a step measured of each answer, and how the answers are written."""
    texts, references = [one.text for one in answers], [[one.reference] for one in answers]
    found |= quality_rows(texts, references, [one.finished for one in answers])
    for name, rows in found.items():
        key = f"{step}.{name}"
        results.measured[key] = subject.measured([answer.document for answer in answers], rows)
        for answer, value in zip(answers, value_of(key)(rows).tolist(), strict=True):
            answer.measures[name] = value if math.isfinite(value) else None
    results.answers += answers
    results.signatures |= {name: signature for name, signature in SIGNATURES.items() if name in found}

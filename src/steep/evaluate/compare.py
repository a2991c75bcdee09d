"""The tuned model against the others: every measure with its interval, every difference with its test.

A measure of the verdict is `better` or `worse` where its difference stays significant after Holm's correction over all
of them, else `not proven`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from steep import significance
from steep.errors import SteepError
from steep.evaluate.results import Answer, Measured, Results, paired
from steep.evaluate.values import value_of
from steep.metrics import metric
from steep.scores import Difference, Estimate, Metric, Model, Scores, Statistics, TestSet, Word
from steep.significance import Better, holm

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 42

ByModel = Mapping[Model, Mapping[str, Measured]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``scores`` is what scores.json holds, ``samples`` the lines of samples.jsonl, ``measures`` the rows of
    measures.parquet."""

    scores: Scores
    samples: list[dict[str, Any]]
    measures: list[dict[str, Any]]


def compare_models(results: Mapping[Model, Results], names: Mapping[Model, str] | None = None) -> Comparison:
    """Set the results of `base`, `few_shot` and `tuned` side by side, or of some of them.

    ``names`` says what each model is. Raises SteepError where they were not measured on the same work.
    """
    last = results[list(results)[-1]]
    for one in results.values():
        _check_same_work(one, last)
    found = compare_metrics({name: one.measured for name, one in results.items()})
    scores = Scores(
        test_set=TestSet(documents=len(last.documents), hash=last.test_set),
        models={name: (names or {}).get(name, name) for name in results},
        metrics={
            name: one.model_copy(update={"subsets": dict(_subsets(name, results))}) for name, one in found.items()
        },
        verdict=verdicts(found),
        signatures=last.signatures,
        settings=last.settings,
        details={name: one.details for name, one in results.items() if one.details},
        statistics=Statistics(
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
            seed=SEED,
            clusters=max(
                (len(set(one.groups)) for name, one in last.measured.items() if metric(name).told), default=0
            ),  # not of general text or of tasks, which are no held-out documents
        ),
    )
    return Comparison(scores, list(_samples(results)), list(_measures(results)))


def compare_metrics(measured: ByModel) -> dict[str, Metric]:
    """Every metric that some model was measured by, in the order of the steps."""
    names = dict.fromkeys(name for found in measured.values() for name in found)
    metrics = {name: _metric(name, measured) for name in names}
    for other in ("base", "few_shot"):
        metrics = _judged(metrics, other)
    return metrics


def _metric(name: str, measured: ByModel) -> Metric:
    models = {model: found[name] for model, found in measured.items() if name in found}
    others = {model: one for model, one in models.items() if model != "tuned" and "tuned" in models}
    differences = {model: _difference(name, models["tuned"], other) for model, other in others.items()}
    return Metric(
        documents=len(next(iter(models.values())).documents),
        better=_better(name, next(iter(models.values()))),
        models={model: _estimate(name, one) for model, one in models.items()},
        differences={model: one for model, one in differences.items() if one is not None},
    )


def _better(name: str, one: Measured) -> Better | None:
    return one.better or metric(name).better


def _estimate(name: str, one: Measured) -> Estimate:
    found = significance.interval(
        one.rows, value_of(name), groups=one.groups, confidence=CONFIDENCE, resamples=RESAMPLES, seed=SEED
    )
    return Estimate(**asdict(found))


def _difference(name: str, tuned: Measured, other: Measured) -> Difference | None:
    """On the documents that both were measured on; None where it is undefined."""
    one, two = paired(tuned, other)
    found = significance.difference(
        one.rows,
        two.rows,
        value_of(name),
        better=_better(name, one),
        groups=one.groups,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        seed=SEED,
    )
    return Difference(**asdict(found)) if found else None


def _judged(metrics: dict[str, Metric], other: Model) -> dict[str, Metric]:
    """With the verdict on each metric that is part of it, corrected for their number."""
    told = [name for name, one in metrics.items() if metric(name).told and other in one.differences]
    adjusted = holm([metrics[name].differences[other].p for name in told])
    judged = dict(metrics)
    for name, p in zip(told, adjusted, strict=True):
        one = metrics[name]
        assert one.better, f"{name} is part of the verdict, so it has a direction"
        word = significance.verdict(p, one.differences[other].value, one.better)
        found = one.differences[other].model_copy(update={"p_adjusted": p, "verdict": word})
        judged[name] = one.model_copy(update={"differences": {**one.differences, other: found}})
    return judged


def verdicts(metrics: Mapping[str, Metric]) -> dict[Model, Word]:
    """Over all metrics of the verdict, against each other model."""
    words: dict[Model, list[Word]] = {}
    for one in metrics.values():
        for other, found in one.differences.items():
            if found.verdict:
                words.setdefault(other, []).append(found.verdict)
    return {other: significance.overall(found) for other, found in words.items()}


def _subsets(name: str, results: Mapping[Model, Results]) -> Iterator[tuple[Model, list[float]]]:
    for model, one in results.items():
        drawn = one.subsets.get(name.partition(".")[0])
        if drawn and name in one.measured:
            rows, value = one.measured[name].rows, value_of(name)
            found = [float(value(rows[places].sum(axis=0))) for places in drawn if places]
            yield model, [x for x in found if math.isfinite(x)]


def _check_same_work(one: Results, other: Results) -> None:
    def work(results: Results) -> Any:
        cuts = [(answer.step, answer.document_id, answer.prompt, answer.reference) for answer in results.answers]
        settings = {step: {**found, "window": None, "stride": None} for step, found in results.settings.items()}
        return results.test_set, cuts, settings

    if work(one) != work(other):
        raise SteepError(
            "the models were not evaluated on the same prompts with the same settings; evaluate all of them again with "
            "one tokenizer and one recipe"
        )


def _samples(results: Mapping[Model, Results]) -> Iterator[dict[str, Any]]:
    for answers in zip(*(one.answers for one in results.values()), strict=True):
        said: dict[Model, Answer] = dict(zip(results, answers, strict=True))
        first = answers[0]
        yield {
            "step": first.step,
            "document_id": first.document_id,
            "prompt": first.prompt,
            "reference": first.reference,
            "answers": {model: one.text for model, one in said.items()},
            "finished": {model: one.finished for model, one in said.items()},
            "measures": {name: {model: one.measures[name] for model, one in said.items()} for name in first.measures},
        }


def _measures(results: Mapping[Model, Results]) -> Iterator[dict[str, Any]]:
    for model, one in results.items():
        for name, found in one.measured.items():
            for document, group, row in zip(found.documents, found.groups, found.rows.tolist(), strict=True):
                yield {"metric": name, "model": model, "document_id": document, "group": group, "row": row}

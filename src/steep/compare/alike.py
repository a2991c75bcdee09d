"""Whether two evaluations measured the same: the same documents, settings, tokens and references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steep.errors import UsageError
from steep.evaluations import Evaluation, Key, Measures
from steep.report.wording import plain
from steep.significance import FEWEST

NAMED = 3
STEPS = {"bits_per_byte": "perplexity", "general_perplexity": "forgetting"}
"""Of metrics that do not bear their step's name."""
PER_TOKEN = ("perplexity", "general_perplexity")
COUNTED = ("texts", "too_short", "too_long")
"""What stands among a step's settings and is none."""


def check_test_sets(evaluations: Sequence[Evaluation]) -> None:
    """Raises UsageError that says how they differ."""
    first = evaluations[0]
    for other in evaluations[1:]:
        if first.scores.test_set.hash != other.scores.test_set.hash:
            raise UsageError(
                f"{other.folder} was not evaluated on the same held-out examples as {first.folder}: "
                f"{_how_they_differ(first, other)}. Their scores would differ by the texts as well as by the models. "
                "Give both recipes the same sources, clean, prepare and evaluate, or measure one run's model on the "
                "other's texts with `steep evaluate RECIPE --model FOLDER`"
            )


def _how_they_differ(first: Evaluation, other: Evaluation) -> str:
    one, another = first.documents, other.documents
    if one == another:
        return f"the {len(one):,} documents are the same, the prompts or completions made of them are not"
    counts = f"{first.scores.test_set.documents:,} and {other.scores.test_set.documents:,} examples"
    alone = [
        f"only in {evaluation.name} {', '.join(sorted(ids)[:NAMED])}{' ...' if len(ids) > NAMED else ''}"
        for evaluation, ids in ((first, one - another), (other, another - one))
        if ids
    ]
    return f"{counts}, with {len(one & another):,} documents in common ({'; '.join(alone)})"


def shared(one: Measures, another: Measures) -> list[Key]:
    """What both measured, in the order of the first."""
    there = set(another.keys)
    return [key for key in one.keys if key in there]


def obstacle(metric: str, first: Evaluation, other: Evaluation) -> str | None:
    """Why two evaluations cannot be compared by a metric; None where they can."""
    mine, theirs = first.measures(metric, first.subject), other.measures(metric, other.subject)
    if mine is None or theirs is None:
        return f"not measured in {(first if mine is None else other).name}"
    keys = shared(mine, theirs)
    if len(set(mine.at(keys).groups)) < FEWEST:
        return f"fewer than {FEWEST} documents in common"
    step = metric.rpartition(".")[0] or STEPS.get(metric, metric)
    settings = _other_settings(first.scores.settings.get(step, {}), other.scores.settings.get(step, {}))
    if settings:
        return f"measured with other settings: {settings}"
    if metric in PER_TOKEN and not np.array_equal(mine.at(keys).rows[:, 1], theirs.at(keys).rows[:, 1]):
        return "their tokenizers cut the texts into other tokens: compare bits per byte"
    return _other_references(step, keys, first, other)


def _other_settings(one: dict[str, Any], another: dict[str, Any]) -> str:
    names = [name for name in {**one, **another} if name not in COUNTED and one.get(name) != another.get(name)]
    return ", ".join(f"{name} {plain(one.get(name))} and {plain(another.get(name))}" for name in names)


def _other_references(step: str, keys: Sequence[Key], first: Evaluation, other: Evaluation) -> str | None:
    mine, theirs = first.references(step), other.references(step)
    differ = sum(mine[key] != theirs[key] for key in keys if key in mine and key in theirs)
    return f"{differ:,} of {len(keys):,} answers were compared with other references" if differ else None

"""clean: documents in, better documents out, and for each that is dropped the step and the reason.

Steps run in the recipe's order over a Daft dataframe. Each is computed before the next begins, because the funnel needs
its counts and several steps learn from all documents; the price is that the texts are held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import daft
from daft import DataType, col, lit
from daft.functions import coalesce, fill_null, when

from steep.clean.boilerplate import clean_boilerplate
from steep.clean.duplicates import clean_deduplicate
from steep.clean.markup import clean_markup
from steep.clean.outcome import Drop, Outcome
from steep.clean.quality import clean_language, clean_length
from steep.clean.redact import clean_redact
from steep.clean.text import clean_whitespace
from steep.recipe.clean import CleanStep

__all__ = ["STEPS", "Cleaned", "clean_documents"]

STEPS: dict[str, Callable[[daft.DataFrame, Any], Outcome]] = {
    "whitespace": clean_whitespace,
    "markup": clean_markup,
    "boilerplate": clean_boilerplate,
    "redact": clean_redact,
    "deduplicate": clean_deduplicate,
    "length": clean_length,
    "language": clean_language,
}

_REWRITTEN = ("text", "title", "meta")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What stays, what went and why. Both keep the order of the documents.

    ``dropped`` holds the documents as they were before the step that dropped them, with ``step`` and ``reason``.

    ``funnel`` holds per step: step, before, after, dropped, changed (of those that stay), reasons (cause -> how many).
    ``evidence`` holds per step what it learned, e.g. the blocks that ``boilerplate`` removed, with their counts.
    """

    kept: daft.DataFrame
    dropped: daft.DataFrame
    funnel: list[dict[str, Any]]
    evidence: dict[str, list[Mapping[str, Any]]]


def clean_documents(documents: daft.DataFrame, steps: Sequence[CleanStep]) -> Cleaned:
    kept = _as_strings(documents).collect()
    columns = kept.column_names
    nothing = lit(None).cast(DataType.string())
    dropped = kept.limit(0).with_columns({"step": nothing, "reason": nothing}).collect()
    funnel: list[dict[str, Any]] = []
    evidence: dict[str, list[Mapping[str, Any]]] = {}
    for name, options in (step.chosen for step in steps):
        outcome = STEPS[name](kept.with_columns({f"{column}_before": col(column) for column in _REWRITTEN}), options)
        judged = _judged(outcome.documents, name)
        funnel.append(_counts(judged, name))
        evidence.setdefault(name, []).extend(outcome.evidence)
        kept = judged.where(col("reason").is_null()).select(*columns).collect()
        dropped = dropped.concat(_as_before(judged, name).select(*dropped.column_names)).collect()
    return Cleaned(kept, dropped, funnel, {name: found for name, found in evidence.items() if found})


def _as_strings(documents: daft.DataFrame) -> daft.DataFrame:
    """A column that holds nothing but nulls has no type of its own."""
    strings = {column: col(column).cast(DataType.string()) for column in _REWRITTEN}
    return documents.with_columns({**strings, "text": fill_null(strings["text"], lit(""))})


def _judged(documents: daft.DataFrame, name: str) -> daft.DataFrame:
    """With ``reason`` and ``cause``; a text of which nothing is left is dropped, whatever the step."""
    empty = when(col("text").strip() == "", lit(f"empty after {name}"))
    for column in Drop._fields:
        present = column in documents.column_names
        documents = documents.with_column(column, coalesce(col(column), empty) if present else empty)
    return documents.collect()


def _counts(judged: daft.DataFrame, name: str) -> dict[str, Any]:
    differs = [~col(column).eq_null_safe(col(f"{column}_before")) for column in _REWRITTEN]
    rows = judged.select("cause", (differs[0] | differs[1] | differs[2]).alias("changed")).to_pydict()
    reasons = Counter(cause for cause in rows["cause"] if cause is not None)
    changed = sum(changed for changed, cause in zip(rows["changed"], rows["cause"], strict=True) if cause is None)
    before = len(rows["cause"])
    return {
        "step": name,
        "before": before,
        "after": before - reasons.total(),
        "dropped": reasons.total(),
        "changed": changed,
        "reasons": dict(reasons.most_common()),
    }


def _as_before(judged: daft.DataFrame, name: str) -> daft.DataFrame:
    """The dropped rows as they were, so that a reader sees what went."""
    dropped = judged.where(~col("reason").is_null())
    return dropped.with_columns({"step": lit(name), **{column: col(f"{column}_before") for column in _REWRITTEN}})

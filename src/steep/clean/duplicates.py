"""Drops every document that repeats an earlier one, exactly or nearly; `steep.duplicates` says what is the same.

Of pairs of answers (`chosen`, `rejected` in ``meta``) only exact copies are: two that share a long prompt may differ in
the one word that matters.
"""

from __future__ import annotations

import json
from functools import reduce
from hashlib import sha256
from operator import or_
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, col
from daft.functions import contains

from steep.clean.rows import Batch, Drop, Learned, RowStep
from steep.duplicates import copies
from steep.recipe.clean import Deduplicate
from steep.records import ANSWERS, answers_in

LARGEST = 50
"""How many of the documents with the most copies are shown."""
EXCERPT = 300


def learn_duplicates(documents: daft.DataFrame, options: Deduplicate, scratch: Path) -> Learned:
    """The rows that are copies, in their order: row, of (the id of the document that stays) and similarity."""
    found = copies(_compared(documents), options.threshold, scratch)
    return Learned(found.to_arrow(), _most_copied(documents, found))


def _compared(documents: daft.DataFrame) -> daft.DataFrame:
    """In place of a pair's text a hash of prompt and answers: a single word, which resembles nothing but itself."""
    if not documents.where(_may_be_pair()).limit(1).count_rows():
        return documents
    return documents.with_column("text", _whole(col("text"), col("meta")))


def _may_be_pair() -> daft.Expression:
    return reduce(or_, (contains(col("meta"), f'"{name}"') for name in ANSWERS))


@daft.func.batch(return_dtype=DataType.string(), use_process=False)  # type: ignore[untyped-decorator]
def _whole(texts: daft.Series, metas: daft.Series) -> list[str]:
    return [_hashed(*one) for one in zip(texts.to_pylist(), metas.to_pylist(), strict=True)]


def _hashed(text: str, meta: str | None) -> str:
    answers = answers_in(json.loads(meta or "{}"))
    return (
        sha256(" ".join(f"{text} {answers}".casefold().split()).encode("utf-8", "replace")).hexdigest()
        if answers
        else text
    )


def drop_step(learned: pa.Table, options: Deduplicate) -> RowStep:
    rows = learned["row"].to_numpy()
    of, similarity = learned["of"], learned["similarity"]

    def step(batch: Batch) -> None:
        ours = np.asarray(batch.facts["row"], np.int64)
        places = np.searchsorted(rows, ours)
        batch.drops = [None] * len(batch)
        for number in np.flatnonzero(np.isin(ours, rows)).tolist():
            place = int(places[number])
            batch.drops[number] = _drop(of[place].as_py(), similarity[place].as_py())

    return step


def _drop(of: str, similarity: float | None) -> Drop:
    if similarity is None:
        return Drop(f"duplicate of {of}", "duplicate")
    return Drop(f"near duplicate of {of} (Jaccard {similarity:.2f})", "near duplicate")


def _most_copied(documents: daft.DataFrame, found: daft.DataFrame) -> list[dict[str, Any]]:
    """The documents that stay of which most copies go: document (its id), title, text (its beginning) and copies."""
    counts = found.groupby("of").agg(col("row").count().alias("copies"))
    most = counts.sort(["copies", "of"], desc=[True, False]).limit(LARGEST).collect()
    if not most.count_rows():
        return []
    text = col("text").left(EXCERPT)
    shown = documents.join(most, left_on="id", right_on="of").select("row", "id", "title", text, "copies")
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(shown.to_pylist(), key=lambda row: (-row["copies"], row["row"])):
        kept = {"title": row["title"], "text": row["text"], "copies": row["copies"]}
        first.setdefault(row["id"], {"document": row["id"], **kept})
    return list(first.values())

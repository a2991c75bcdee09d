"""Drops every document that repeats an earlier one, exactly or nearly; `steep.duplicates` says what is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import daft
import numpy as np
import pyarrow as pa
from daft import col

from steep.clean.rows import Batch, Drop, Learned, RowStep
from steep.duplicates import copies
from steep.recipe.clean import Deduplicate

LARGEST = 50
"""How many of the documents with the most copies are shown."""
EXCERPT = 300


def learn_duplicates(documents: daft.DataFrame, options: Deduplicate, scratch: Path) -> Learned:
    """The rows that are copies, in their order: row, of (the id of the document that stays) and similarity."""
    found = copies(documents, options.threshold, scratch)
    return Learned(found.to_arrow(), _most_copied(documents, found))


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

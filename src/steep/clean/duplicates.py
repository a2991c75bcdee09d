"""Drops every document that repeats an earlier one, exactly or nearly; `steep.duplicates` says what is the same."""

from __future__ import annotations

import daft

from steep.clean.outcome import Drop, Outcome, with_drops
from steep.duplicates import copies
from steep.recipe.clean import Deduplicate


def clean_deduplicate(documents: daft.DataFrame, options: Deduplicate) -> Outcome:
    ids = documents.select("id").to_pydict()["id"]
    drops: list[Drop | None] = [None] * len(ids)
    for copy in copies(documents, options.threshold):
        if copy.similarity is None:
            drops[copy.row] = Drop(f"duplicate of {ids[copy.of]}", "duplicate")
        else:
            reason = f"near duplicate of {ids[copy.of]} (Jaccard {copy.similarity:.2f})"
            drops[copy.row] = Drop(reason, "near duplicate")
    return Outcome(with_drops(documents, drops))

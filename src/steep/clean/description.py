"""What is told of the cleaned documents: their languages, and what the steps found, without what the recipe redacts.

Languages are counted in a sample that is spread evenly over the documents: the beginnings of 1,000 tell a share to
within 3 %, in 0.2 s and the time to read them. The classifier takes 0.4 s to load, more than all else that cleaning a
few documents costs: for fewer than 100 it is asked only where the recipe has the step `language`, which has loaded it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steep.clean.language import probabilities
from steep.personal.redaction import redact
from steep.recipe.clean import CleanStep

SAMPLE = 1_000
BEGINNING = 1_000
"""Characters of a document that are looked at."""
FEW = 100
UNKNOWN = "unknown"
"""Of texts that are too short to tell."""
QUOTED = ("block", "title", "text")
"""Keys of evidence whose values are of the documents' own words."""
Finding = Mapping[str, Any]


def sampled_languages(folder: Path, *, loaded: bool) -> dict[str, Any]:
    """``sampled``: of how many documents ``languages`` says how many are in each, the most frequent first.

    ``loaded``: whether the classifier is in memory already.
    """
    files = [pq.ParquetFile(path) for path in sorted(folder.glob("*.parquet"))]
    documents = sum(file.metadata.num_rows for file in files)
    if documents < FEW and not loaded:
        return {"languages": {}, "sampled": 0}
    wanted = np.unique(np.linspace(0, documents - 1, min(SAMPLE, documents)).round().astype(np.int64))
    beginnings = list(_beginnings(files, wanted)) if documents else []
    labels, found = probabilities(beginnings)
    told = (labels[row.argmax()] if row.any() else UNKNOWN for row in found)
    return {"languages": dict(Counter(told).most_common()), "sampled": len(beginnings)}


def _beginnings(files: list[pq.ParquetFile], wanted: Any) -> Iterator[str]:
    """Of the documents at those places among all; one row group is in memory at a time."""
    first = 0
    for file in files:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            here = wanted[(wanted >= first) & (wanted < end)] - first
            if len(here):
                texts = file.read_row_group(group, columns=["text"])["text"].take(here)
                yield from pc.utf8_slice_codeunits(texts, 0, BEGINNING).to_pylist()
            first = end


def redacted(evidence: Mapping[str, Sequence[Finding]], steps: Sequence[CleanStep]) -> dict[str, Sequence[Finding]]:
    """What the steps found, as it may be shown: a step before `redact` sees what is nobody else's business."""
    options = [step.redact for step in steps if step.redact]

    def shown(key: str, value: Any) -> Any:
        for option in options if key in QUOTED and value else ():
            value = redact(value, option.kinds, option.region)
        return value

    return {
        name: [{key: shown(key, value) for key, value in row.items()} for row in rows]
        for name, rows in evidence.items()
    }

"""What was measured on one model: per metric the statistics of each document, and what the model answered.

A metric is a function of summed statistics, such as tokens and their negative log-likelihood: so its value over any
choice of documents, as a bootstrap draws them, is that function of a sum of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steep.significance import Better

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """``rows`` [documents, statistics] of one metric; ``groups`` are the clusters of near-duplicates.

    ``better``: which direction is, where `steep.metrics` does not know the metric.
    """

    documents: Sequence[str]
    groups: Sequence[str]
    rows: Rows
    better: Better | None = None

    def without(self, documents: set[str]) -> Measured:
        kept = [place for place, name in enumerate(self.documents) if name not in documents]
        return self.at(kept)

    def at(self, places: Sequence[int]) -> Measured:
        documents, groups = ([names[place] for place in places] for names in (self.documents, self.groups))
        return Measured(documents, groups, self.rows[list(places)], self.better)


def paired(one: Measured, other: Measured) -> tuple[Measured, Measured]:
    """Both on the documents that both were measured on, in the same order."""
    if one.documents == other.documents:
        return one, other
    places = {name: place for place, name in enumerate(other.documents)}
    common = [place for place, name in enumerate(one.documents) if name in places]
    return one.at(common), other.at([places[one.documents[place]] for place in common])


@dataclass(slots=True)
class Answer:
    """What a model said to the prompt of one held-out document; ``finished``: it ended the text itself."""

    step: str
    document: int
    """Its place among the held-out examples."""
    document_id: str
    prompt: str
    reference: str
    text: str
    token_ids: list[int]
    finished: bool
    measures: dict[str, float | None] = field(default_factory=dict)
    """None where one answer alone has no value."""


@dataclass(slots=True)
class Results:
    """One model on the held-out examples. ``details`` and ``checks`` are by step."""

    test_set: str
    """Hash of the held-out examples."""
    documents: list[str]
    shots: str = ""
    """The examples that stood before every prompt."""
    measured: dict[str, Measured] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    longest_task: int = 0
    """Tokens of the longest prompt that is never cut, with its answer."""
    subsets: dict[str, list[list[int]]] = field(default_factory=dict)
    """Of a step that draws subsets, places among the rows of its metrics."""
    signatures: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)

"""Which label an answer means that is none of them: the one nearest by words, or by the meaning of the text.

A base model that has never seen the labels answers with a sentence. Exact comparison calls all of these wrong; this
says how often the sentence points to the right label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from steep.evaluate.embedding import Embed
from steep.evaluate.labels import Labels, truth
from steep.evaluate.overlap import words
from steep.evaluate.results import Rows


def soft_match_rows(
    answers: Sequence[str], references: Sequence[Sequence[str]], labels: Labels, embed: Embed | None = None
) -> dict[str, Rows]:
    """``soft_rouge`` and, where ``embed`` is given, ``soft_embedding``: 1 for an answer whose nearest label is the
    right one, and 1; [answers, 2].

    Nearest is the label with the greatest ROUGE-L (F-measure), or the greatest cosine of embeddings. Of n labels that
    are equally near, each counts 1/n. An answer that is a label is nearest to itself, one without a word to none.
    """
    likeness: dict[str, NDArray[Any]] = {"soft_rouge": _by_words(answers, labels)}
    if embed is not None:
        likeness["soft_embedding"] = embed(answers) @ embed(labels.written).T if answers else np.zeros((0, 1))
    return {name: _credit(values, answers, references, labels) for name, values in likeness.items()}


def _by_words(answers: Sequence[str], labels: Labels) -> NDArray[np.float64]:
    """ROUGE-L of each answer with each label, [answers, labels]."""
    found, wanted = [words(answer) for answer in answers], [words(name) for name in labels.written]
    common = cdist(found, wanted, scorer=LCSseq.similarity, dtype=np.int32)
    lengths = np.array([len(one) for one in found])[:, None] + np.array([len(one) for one in wanted])
    likeness: NDArray[np.float64] = 2 * common / np.maximum(lengths, 1)
    return likeness


def _credit(
    likeness: NDArray[Any], answers: Sequence[str], references: Sequence[Sequence[str]], labels: Labels
) -> Rows:
    rows = np.ones((len(answers), 2))
    for number, (answer, wanted) in enumerate(zip(answers, references, strict=True)):
        near = _nearest(likeness[number], answer, labels)
        right = [truth(labels, place, wanted) == place for place in near]
        rows[number, 0] = sum(right) / len(right) if right else 0.0
    return rows


def _nearest(likeness: NDArray[Any], answer: str, labels: Labels) -> list[int]:
    if (said := labels.place(answer)) is not None:
        return [said]
    if not words(answer) or not likeness.any():
        return []
    return np.flatnonzero(likeness == likeness.max()).tolist()

"""ROUGE of Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", with the values of ROUGE-1.5.5.

A line of a text is a sentence for `rougeLsum` and `rougeW`; `rougeL` takes each text as one sequence, as rouge-score
does. What ROUGE-1.5.5 prints as ROUGE-L is `rougeLsum`. Two things in it surprise, and are kept, so that figures can
be set beside published ones: ROUGE-SU leaves out each text's last word, and ROUGE-W's recall of equal texts is below 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.overlap.grams import ngrams, skip_bigrams
from steep.evaluate.overlap.pairs import Pairs, pairs_of
from steep.evaluate.overlap.sequences import WEIGHT, longest, longest_by_line, weighted

Floats = NDArray[np.float64]
Several = Literal["best", "average"]
"""What is made of several references: the one with the highest recall, or the counts of all of them summed."""

MEASURES = ("rouge1", "rouge2", "rougeL", "rougeLsum", "rougeW", "rougeS", "rougeSU")
"""And `rouge3`, `rouge4` and so on."""
TOLD = ("rouge1", "rouge2", "rougeL", "rougeS")
"""Those that an evaluation measures."""
SKIP = 4
"""Words that may stand between the two of a skip-bigram, as in the ROUGE-S4 and ROUGE-SU4 that papers give."""


def rouge_scores(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    measures: Sequence[str] = TOLD,
    *,
    skip: int | None = SKIP,
    stem: bool = False,
    several: Several = "best",
) -> dict[str, Floats]:
    """Precision, recall and F (their harmonic mean) of each text, [texts, 3], by measure; 0 where there are no words.

    ``references``: one or more for each text. ``skip``: None for any distance.
    """
    if not all(references):
        raise ValueError("every text needs a reference")
    counts: dict[str, list[NDArray[Any]]] = {measure: [np.zeros((0, 3))] for measure in measures}
    for pairs in pairs_of(texts, references, stem=stem):
        for measure, found in counts.items():
            found.append(_counts(measure, pairs, skip))
    sizes = np.fromiter(map(len, references), np.int64, len(references))
    return {name: _scores(name, np.concatenate(found), sizes, several) for name, found in counts.items()}


def rouge_rows(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Floats]:
    """F of each text and 1, [texts, 2], by measure: rows of a mean."""
    scores = rouge_scores(texts, references)
    return {name: np.stack([found[:, 2], np.ones(len(found))], axis=1) for name, found in scores.items()}


def rouge_signature(*, skip: int | None = SKIP, stem: bool = False, several: Several = "best") -> str:
    """How it is counted, in the form of sacrebleu's signatures."""
    parts = {
        "case": "lc",
        "tok": "letters+marks+digits",
        "stem": "porter" if stem else "no",
        "refs": several,
        "skip": "any" if skip is None else skip,
        "mean": "texts",
        "as": "ROUGE-1.5.5",
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def _counts(measure: str, pairs: Pairs, skip: int | None) -> NDArray[Any]:
    """[pairs, 3]: what text and reference share, what the text has, what the reference has."""
    if size := re.fullmatch(r"rouge([1-9]\d*)", measure):
        return ngrams(pairs, int(size[1]))
    if measure in ("rougeS", "rougeSU"):
        return skip_bigrams(pairs, skip, unigrams=measure == "rougeSU")
    return _SEQUENCES[measure](pairs)


_SEQUENCES: dict[str, Callable[[Pairs], NDArray[Any]]] = {
    "rougeL": longest,
    "rougeLsum": longest_by_line,
    "rougeW": weighted,
}


def _scores(measure: str, counts: NDArray[Any], sizes: NDArray[np.int64], several: Several) -> Floats:
    """From those of each text with each of its ``sizes`` references to precision, recall and F of each text."""
    starts = np.cumsum(sizes) - sizes
    if several == "best":
        recall = _ratio(counts[:, 0], counts[:, 2])
        order = np.lexsort((-recall, np.repeat(np.arange(len(sizes)), sizes)))  # stable: the first of equal ones
        counts = counts[order[starts]]
    power = 1.0
    if measure == "rougeW":
        power = 1 / WEIGHT
        counts = np.stack([counts[:, 0], counts[:, 1], counts[:, 2] ** WEIGHT], axis=1)  # see `weighted`
    if several == "average" and len(starts):
        counts = np.add.reduceat(counts, starts)
    precision, recall = (_ratio(counts[:, 0], counts[:, place]) ** power for place in (1, 2))
    return np.stack([precision, recall, _ratio(2 * precision * recall, precision + recall)], axis=1)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0))

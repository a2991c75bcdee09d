"""BLEU of Papineni et al. (2002) through sacrebleu, with its default tokenizer (13a) and smoothing (exp).

13a cuts at spaces and punctuation: the score says little for Chinese, Japanese or Thai.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

Floats = NDArray[np.float64]

ORDERS = 4
_LOG_OF_ZERO = -9999999999.0  # sacrebleu's


def bleu_rows(texts: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool = False) -> Floats:
    """What sacrebleu sums, [texts, 10]: words, words of the nearest reference, right 1- to 4-grams, all 1- to 4-grams.

    ``references``: one or more for each text.
    """
    return statistics(_metric(lowercase), texts, references, 2 + 2 * ORDERS)


def bleu_value(sums: Floats, order: int = ORDERS, *, effective_order: bool = False) -> Floats:
    """BLEU-1 to BLEU-4, with brevity penalty, 0 to 100: of summed rows [..., 10] the corpus score, of one row a text's.

    ``effective_order`` leaves n-grams out that the text is too short for: what sacrebleu advises for one text.
    """
    right, total = sums[..., 2 : 2 + order], sums[..., 2 + ORDERS : 2 + ORDERS + order]
    there = np.logical_and.accumulate(total > 0, axis=-1)
    halved = 2.0 ** np.cumsum(there & (right == 0), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(right > 0, 100 * right / total, 100 / (halved * total))
        logs = np.where(there, np.log(precisions), 0.0 if effective_order else _LOG_OF_ZERO)
        mean = logs.sum(axis=-1) / (there.sum(axis=-1) if effective_order else order)
        score = brevity_penalty(sums) * np.exp(mean)
    return np.asarray(np.where((right > 0).any(axis=-1), score, 0.0))


def brevity_penalty(sums: Floats) -> Floats:
    """1 where the texts are as long as their references; [..., 10] to [...]."""
    length, wanted = sums[..., 0], sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(length < wanted, np.exp(1 - wanted / length), 1.0))


def bleu_signature(references: int | None = 1, *, lowercase: bool = False) -> str:
    """``references``: how many each text has; None where their number varies."""
    return signature(_metric(lowercase), references)


def _metric(lowercase: bool) -> BLEU:
    return BLEU(lowercase=lowercase, force=True)  # no hint on the terminal about text that looks tokenised already


def statistics(metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]], width: int) -> Floats:
    """The counts of any of sacrebleu's metrics, through what its own significance tests call."""
    streams = list(zip_longest(*references))  # None where a text has fewer references than another
    rows = metric._extract_corpus_statistics(texts, streams) if streams else []
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def signature(metric: Any, references: int | None) -> str:
    metric.num_refs = -1 if references is None else references
    return str(metric.get_signature())

"""chrF of Popović (2015) through sacrebleu: F2 of the shared 1- to 6-grams of characters, without blanks.

It needs no words, so it holds for every script.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import CHRF

from steep.evaluate.overlap.bleu import Floats, signature, statistics

ORDERS = CHRF.CHAR_ORDER
_FACTOR = CHRF.BETA**2


def chrf_rows(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """What sacrebleu sums, [texts, 18]: for each length 1 to 6, the n-grams of the text, of the reference, and shared.

    Of several ``references`` of a text, those of the best.
    """
    return statistics(CHRF(), texts, references, 3 * ORDERS)


def chrf_value(sums: Floats) -> Floats:
    """0 to 100: of summed rows [..., 18] the corpus score, of one row a text's."""
    found, wanted, shared = (sums[..., place::3] for place in range(3))
    there = (found > 0) & (wanted > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        orders = there.sum(axis=-1)
        precision = np.where(there, shared / found, 0.0).sum(axis=-1) / orders
        recall = np.where(there, shared / wanted, 0.0).sum(axis=-1) / orders
        score = 100 * (1 + _FACTOR) * precision * recall / (_FACTOR * precision + recall)
    return np.asarray(np.nan_to_num(score, nan=0.0))


def chrf_signature(references: int | None = 1) -> str:
    """``references``: how many each text has; None where their number varies."""
    return signature(CHRF(), references)

"""How right an answer is, word by word, and how it is written: statistics of each answer, to be summed.

Words are those of `overlap.words`, so that all scripts count. SQuAD's own script leaves out English articles as well,
which would make "the who" and "who" one answer and means nothing in other languages; here they count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from steep.evaluate.overlap import words
from steep.evaluate.results import Rows

NGRAM = 4


def match_rows(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Rows]:
    """``exact_match`` and ``f1``, [answers, 2] each: the value with the best of an answer's references, and 1.

    Exact match is equality of the words, and of texts without any word equality but for case and blanks. F1 is the
    harmonic mean of precision and recall of the words, each as often as it occurs (Rajpurkar et al. 2016, section 6.1).
    """
    pairs = [(answer, wanted) for answer, wanted in zip(answers, references, strict=True)]
    return {
        "exact_match": _means([max(float(_same(answer, one)) for one in wanted) for answer, wanted in pairs]),
        "f1": _means([max(_f1(answer, one) for one in wanted) for answer, wanted in pairs]),
    }


def _same(answer: str, reference: str) -> bool:
    found, wanted = words(answer), words(reference)
    if found or wanted:
        return found == wanted
    return answer.casefold().split() == reference.casefold().split()


def _f1(answer: str, reference: str) -> float:
    found, wanted = words(answer), words(reference)
    if not found and not wanted:
        return float(_same(answer, reference))
    return 2 * (Counter(found) & Counter(wanted)).total() / (len(found) + len(wanted))


def quality_rows(
    answers: Sequence[str], references: Sequence[Sequence[str]], finished: Sequence[bool]
) -> dict[str, Rows]:
    """How answers are written, [answers, 2] each; the quotient of the sums is the measure.

    ``stop_rate``: ended by EOS, and 1. ``repetition``: word 4-grams that stood in the same answer before, and all its
    4-grams. ``length_ratio``: words of the answer, and of the reference that is nearest in length. ``empty``: without
    a word, and 1.
    """
    said = [words(answer) for answer in answers]
    lengths = [_nearest(len(found), wanted) for found, wanted in zip(said, references, strict=True)]
    return {
        "stop_rate": _means([float(one) for _, one in zip(answers, finished, strict=True)]),
        "repetition": _pairs([_repeated(found) for found in said]),
        "length_ratio": _pairs([(len(found), wanted) for found, wanted in zip(said, lengths, strict=True)]),
        "empty": _means([float(not found) for found in said]),
    }


def _nearest(length: int, references: Sequence[str]) -> int:
    """As BLEU does it: of two that are equally near, the shorter (Papineni et al. 2002, section 2.2.2)."""
    return min((len(words(one)) for one in references), key=lambda wanted: (abs(wanted - length), wanted))


def _repeated(found: Sequence[str]) -> tuple[int, int]:
    ngrams = [tuple(found[start : start + NGRAM]) for start in range(len(found) - NGRAM + 1)]
    return len(ngrams) - len(set(ngrams)), len(ngrams)


def _means(values: Sequence[float]) -> Rows:
    return _pairs([(value, 1) for value in values])


def _pairs(values: Sequence[tuple[float, float]]) -> Rows:
    return np.array(values, dtype=np.float64).reshape(-1, 2)

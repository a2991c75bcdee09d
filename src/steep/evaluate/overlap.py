"""How much of a reference's wording a text shares: BLEU, and ROUGE-1, -2 and -L.

BLEU (0 to 100) is sacrebleu's corpus score with its default tokenizer, 13a; the signature goes with the score. ROUGE
(F-measure, 0 to 1, mean over the texts) gives what rouge-score gives for English without stemming, and ROUGE-L takes
each text as one sequence. rouge-score drops all but a-z and 0-9, which leaves nothing of a Russian text; here a word is
a run of letters, marks and digits of any script, and scripts written without spaces count by character. BLEU's 13a
has no such rule: its score says little for Chinese, Japanese or Thai.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import regex
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics import BLEU

ROUGE = ("rouge1", "rouge2", "rougeL")
ROUGE_SIGNATURE = "f-measure|mean over texts|no stemming|words: lower-case letters, marks and digits"

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(rf"{_UNSPACED}\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+", regex.VERSION1)


def words(text: str) -> list[str]:
    """Cut a text into the lower-case words that ROUGE counts."""
    found: list[str] = _WORD.findall(text.lower())
    return found


def bleu(pairs: Sequence[tuple[str, str]]) -> tuple[float, str]:
    """Corpus BLEU of texts against their references, and its signature."""
    metric = BLEU(force=True)  # no hint on the terminal about text that looks tokenised already
    texts, references = [text for text, _ in pairs], [reference for _, reference in pairs]
    score = metric.corpus_score(texts, [references]).score
    return float(score), str(metric.get_signature())


def rouge(text: str, reference: str) -> dict[str, float]:
    """The F-measures of one text against its reference; 0 where one of them has no words."""
    found, wanted = words(text), words(reference)
    common = LCSseq.similarity(found, wanted)
    return {
        "rouge1": _overlap_of_ngrams(found, wanted, 1),
        "rouge2": _overlap_of_ngrams(found, wanted, 2),
        "rougeL": f_measure(common, len(found), len(wanted)),
    }


def _overlap_of_ngrams(found: Sequence[str], wanted: Sequence[str], n: int) -> float:
    ours, theirs = _ngrams(found, n), _ngrams(wanted, n)
    return f_measure((ours & theirs).total(), ours.total(), theirs.total())


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def f_measure(common: int, found: int, wanted: int) -> float:
    """Harmonic mean of precision and recall; equal to twice the common part over the sum of both."""
    return 2 * common / (found + wanted) if common else 0.0

"""How much of a reference's wording a text shares: BLEU, chrF and ROUGE.

BLEU and chrF (0 to 100) are sacrebleu's; their rows hold the counts that it sums, so that the score of any texts is one
function of their sum. ROUGE (0 to 1, mean over the texts) is counted for many texts at once: ROUGE-1, -2 and -L of
20,000 pairs of 52 words take 0.9 s where google's rouge-score takes 11 s, with equal values (`benchmarks/metrics.py`).
"""

from __future__ import annotations

from steep.evaluate.overlap.bleu import bleu_rows, bleu_signature, bleu_value, brevity_penalty
from steep.evaluate.overlap.chrf import chrf_rows, chrf_signature, chrf_value
from steep.evaluate.overlap.rouge import MEASURES, SKIP, Several, rouge_rows, rouge_scores, rouge_signature
from steep.evaluate.overlap.words import words

__all__ = [
    "MEASURES",
    "SIGNATURES",
    "SKIP",
    "Several",
    "bleu_rows",
    "bleu_signature",
    "bleu_value",
    "brevity_penalty",
    "chrf_rows",
    "chrf_signature",
    "chrf_value",
    "rouge_rows",
    "rouge_scores",
    "rouge_signature",
    "words",
]

SIGNATURES = {
    "bleu": bleu_signature(),
    "chrf": chrf_signature(),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeS"), rouge_signature()),
}
"""How each is counted where there is one reference and no option is set."""

"""The measures by name: what people call them, what they mean, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """``ratio``: a change is told as a share of the base's value. Overlaps are near zero where the base is far from the
    text, so that a share would only impress. ``told``: part of the verdict; what repeats another measure is not.
    ``better``: null where neither more nor less is."""

    label: str
    meaning: str
    better: Literal["higher", "lower"] | None = "higher"
    ratio: bool = False
    told: bool = True


METRICS = {
    "perplexity": Metric("Perplexity", "how many tokens the model is torn between at each step", "lower", ratio=True),
    "bits_per_byte": Metric(
        "Bits per byte", "the same, to compare with models of other tokenizers", "lower", ratio=True, told=False
    ),
    "preference": Metric("Preference", "held-out pairs whose chosen answer the model prefers, 0 to 1"),
    "preference_sum": Metric(
        "Preference by sum", "the same by the likelihood of the whole answer, which favours short ones", told=False
    ),
    "reward": Metric("Reward", "mean of what the recipe's rewards give the answers"),
    "bleu": Metric("BLEU", "word sequences shared with the reference, 0 to 100"),
    "chrf": Metric("chrF", "character sequences shared with it, 0 to 100"),
    "rouge1": Metric("ROUGE-1", "single words shared with it, 0 to 1"),
    "rouge2": Metric("ROUGE-2", "word pairs shared with it, 0 to 1"),
    "rougeL": Metric("ROUGE-L", "longest common word sequence, 0 to 1"),
    "rougeS": Metric("ROUGE-S", "word pairs with at most four words between them, shared with it, 0 to 1"),
    "exact_match": Metric("Exact match", "answers equal to the reference but for case, punctuation, blanks; 0 to 1"),
    "f1": Metric("Token F1", "words shared with the reference, 0 to 1"),
    "accuracy": Metric("Accuracy", "answers that are the right label, 0 to 1"),
    "macro_f1": Metric("Macro-F1", "F1 of each label, averaged over the labels, 0 to 1"),
    "soft_rouge": Metric("Soft match", "answers whose nearest label by words is the right one, 0 to 1"),
    "soft_embedding": Metric("Soft match by meaning", "the same, nearest by embedding, 0 to 1"),
    "format": Metric("Format valid", "answers of the wanted form, 0 to 1"),
    "stop_rate": Metric("Stop rate", "answers that the model ended itself, 0 to 1", None, told=False),
    "repetition": Metric("Repetition", "4-grams of an answer that stood in it before, 0 to 1", None, told=False),
    "length_ratio": Metric("Length ratio", "words of the answers over words of the references", None, told=False),
    "empty": Metric("Empty", "answers without a word, 0 to 1", None, told=False),
    "general_perplexity": Metric("General perplexity", "perplexity on general text", "lower", ratio=True, told=False),
}


GENERAL = "general_"
"""Begins the names of measures on general text ..."""
LM_EVAL = "lm_eval."
"""What the keys of lm-evaluation-harness's metrics begin with; its task and metric follow."""

REWARD_BY = "by:"
"""Begins the names of means of a single reward; what the recipe calls it follows."""


def metric(name: str) -> Metric:
    """By its key in ``scores.json``, where the step that measured it may stand before a dot."""
    if name.startswith(LM_EVAL):
        return Metric(name.removeprefix(LM_EVAL), "as lm-evaluation-harness defines it", None, told=False)
    last = name.rpartition(".")[2]
    if last.startswith(REWARD_BY):
        return Metric(f"Reward by {last.removeprefix(REWARD_BY)}", "mean of what it gives the answers", told=False)
    return METRICS[last]

"""What the checks of evaluation are about, and their keys as a reader sees them."""

from __future__ import annotations

from collections.abc import Mapping

ABOUT = {
    "contamination": "Held-out texts that stand in the training text as well: what a model has read, it need not have "
    "understood. Where scores without these texts differ from those with them, believe those without.",
    "memorization": "What the models write that stands word for word in the training text, and not in their prompt.",
    "canaries": "Sentences with a number that were planted among the training examples. Exposure says in bits how much "
    "likelier a model finds the planted number than others: 1.44 on average without memory.",
    "personal_data": "Personal data in what the models write. What came back stands in the text that was gathered; the "
    "rest was made up.",
    "forgetting": "Perplexity on general text: what the tuning cost of what the base model could do.",
    "familiarity": "How well the base model knows the held-out text: on a text that it has read before, little is "
    "proven.",
    "confusion": "Rows are the true labels, columns what the model answered; other is an answer that is no label.",
    "judgement": "A language model prefers the answer that it finds likelier, a reward model the one to which it gives "
    "the higher score. The base of a reward model is the language model that it started from, so it is judged by "
    "likelihood.",
    "format_faults": "Why answers have not the wanted form, and how many.",
}
KEYS: Mapping[str, Mapping[str, str]] = {
    "contamination": {
        "texts": "Held-out texts",
        "leaked": "Of them in the training text",
        "verdict_without": "Verdict without them",
        "leaks": "Leaked texts",
        "text": "Held-out text",
        "share": "Share of its word sequences",
        "document_id": "Found most in",
        "document_share": "Share there",
        "words": "Longest stretch, words",
        "stretch": "The stretch",
    },
    "memorization": {
        "answers": "Answers",
        "long_enough": "Answers long enough to hold such a run",
        "min_tokens": "Tokens from which on a run counts",
        "memorised": "Answers with such a run",
        "share": "Their share",
        "longest": "Longest run, tokens",
        "median": "Run of the middle answer, tokens",
        "known_prompts": "Prompts that stand in the training text",
        "new_after_known": "Share of new text after these",
        "new_after_other": "Share of new text after the others",
    },
    "canaries": {
        "candidates": "Other numbers that each is compared with",
        "mean": "Mean exposure, bits",
        "limit": "Mean from which on it is memory, bits",
        "p": "Probability of such a mean without memory",
        "false_alarms": "False alarms allowed for",
        "first": "Canaries likelier than all other numbers",
        "memorised": "Remembered",
        "exposures": "Exposure of each",
        "document_id": "Canary",
        "rank": "Rank",
        "bits": "Bits",
    },
    "forgetting": {
        "passages": "Passages of general text",
        "base": "Perplexity of the base model",
        "tuned": "Perplexity of the tuned model",
        "rise": "Rise, as a share",
        "low": "Lower bound, 95 % interval",
        "high": "Upper bound",
        "worst": "Most on",
    },
    "preference": {
        "judged_by": "Preferred by",
        "pairs": "Pairs",
        "cut": "Of them cut to the length of training",
        "no_room": "Left out: the prompt leaves no room",
    },
    "familiarity": {
        "texts": "Held-out texts",
        "bits_per_byte": "Their bits per byte",
        "general_bits_per_byte": "Those of general text",
        "min_k": "Log-likelihood of their least likely tokens, nats",
        "general_min_k": "That of general text",
        "gap": "Difference, nats",
        "low": "Lower bound, 95 % interval",
        "high": "Upper bound",
        "known": "May have been read before",
    },
    "personal_data": {
        "returned": "Came back",
        "invented": "Made up",
        "disclosures": "Values in the answers",
        "document_id": "Answer to document",
        "masked": "Masked",
    },
}

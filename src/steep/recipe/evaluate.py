"""The steps of evaluation: what is measured on the base model and on the tuned one, and what could fool us."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from steep.section import (
    Count,
    Fraction,
    NotNegative,
    OneOf,
    Positive,
    RegularExpression,
    Section,
    Text,
    UpToOne,
    Whole,
)

Overlap = Literal["bleu", "chrf", "rouge"]
CompletionMetric = Literal["exact_match", "f1", "labels", "soft_match", "bleu", "chrf", "rouge"]


class Perplexity(Section):
    """exp of the mean negative log-likelihood per token of the held-out text; template tokens are not counted."""

    stride: Fraction = 0.5
    """Step of the sliding window, as a share of the window; the rest is context that is not scored again."""


class Sampling(Section):
    """How a model writes, the same for all models."""

    temperature: NotNegative = 0.0
    """0 is greedy decoding."""
    top_p: UpToOne = 1.0
    """Sample from the likeliest tokens that make up this share of the probability."""
    batch_size: Count | None = None
    """Prompts that are answered at the same time; by default as many as a budget of memory holds."""
    seed: Whole = 42
    """Of the sampling, and of what is drawn."""


class Decoding(Sampling):
    """... and how much."""

    max_new_tokens: Count = 128
    """Longest answer."""


class Continuation(Decoding):
    """Each held-out text is cut; the model continues the first part; the second part is the reference."""

    split: Fraction = 0.5
    """Share of the tokens that is given."""
    whole_words: bool = False
    """Move the cut to the next border between words."""
    subsets: Count = 5
    """Random subsets of the held-out texts over which the spread of a score is told."""
    subset_share: UpToOne = 0.5
    """Size of a subset, as a share of the held-out texts."""
    metrics: list[Overlap] = Field(default=["bleu", "chrf", "rouge"], min_length=1)
    """How a continuation is compared with its reference; `rouge` is ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-S4."""


def _check_schema(schema: dict[str, Any]) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"json_schema is no JSON Schema, at {error.json_path}: {error.message}") from None


class Format(Section):
    """What every answer must look like: give one of the two."""

    pattern: RegularExpression | None = None
    """A regular expression that the whole answer matches."""
    json_schema: dict[str, Any] | None = None
    """A JSON Schema of an answer that is JSON."""

    @model_validator(mode="after")
    def _one(self) -> Format:
        if (self.pattern is None) == (self.json_schema is None):
            raise ValueError("give either `pattern` or `json_schema`")
        if self.json_schema is not None:
            _check_schema(self.json_schema)
        return self


class Completion(Decoding):
    """The model answers each held-out prompt, and the answer is compared with the completion that belongs to it."""

    metrics: list[CompletionMetric] = Field(
        default=["exact_match", "f1", "labels", "bleu", "chrf", "rouge"], min_length=1
    )
    """How an answer is compared with its reference. `labels` (accuracy and macro-F1) counts where completions are few
    labels, `soft_match` takes the answer for the label that resembles it most."""
    labels: list[Text] = Field(default=[])
    """The labels that a completion may be; by default those that occur, if they are at most 50 and at most one
    completion in ten is the only one of its label."""
    embedding_model: Text | None = None
    """A sentence-transformers model, a hub name or a folder, for `soft_match` by meaning as well as by words."""
    format: Format | None = None
    """What every answer must look like."""


class FewShot(Section):
    """The base model with training examples in its prompt: a fine-tuning that does not beat this is not worth it."""

    examples: Count = 4
    """How many at most; as many as leave room for half of the model's positions."""
    seed: Whole = 42
    """Of the choice."""


class Contamination(Section):
    """Held-out texts that are in the training text as well, and the scores without them."""

    ngram: Count = 8
    """Words in a row that count as the same text."""
    threshold: UpToOne = 0.2
    """Share of a held-out text's n-grams found in the training text from which on it counts as leaked."""


class Memorization(Section):
    """What the model writes that stands word for word in the training text, redacted values that come back, and
    planted canaries."""

    min_tokens: Count = 50
    """A run of so many tokens counts as memorised."""


class Forgetting(Section):
    """Perplexity on general text: what the tuning cost of what the base model could do."""

    max_increase: Positive | None = None
    """The run fails if it rises by more than this share: 0.1 is 10 %."""
    texts: Text | None = None
    """A JSON lines or text file of other general text; by default the one that ships with steep."""


class LmEval(Section):
    """Tasks of EleutherAI's lm-evaluation-harness, by name; needs the extra `lm-eval`."""

    tasks: list[Text] = Field(min_length=1)
    """Their names."""
    limit: Count | None = None
    """At most so many questions of each."""
    num_fewshot: Whole | None = None
    """Examples in each prompt; by default the task's own number."""
    include_path: Text | None = None
    """A folder with tasks of your own."""


class Preference(Section):
    """Share of the held-out pairs whose chosen answer the model prefers: by its likelihood, or as a reward model."""


class MeanReward(Sampling):
    """The model answers each held-out prompt with at most `train.rollouts.max_completion_length` tokens, and
    `train.rollouts.rewards` score the answers."""


class EvaluateStep(OneOf):
    """One measurement, for the base model and the tuned one."""

    perplexity: Perplexity | None = None
    continuation: Continuation | None = None
    completion: Completion | None = None
    few_shot: FewShot | None = None
    contamination: Contamination | None = None
    memorization: Memorization | None = None
    forgetting: Forgetting | None = None
    preference: Preference | None = None
    reward: MeanReward | None = None
    lm_eval: LmEval | None = None


STEPS = ("perplexity", "continuation", "few_shot", "contamination", "memorization", "forgetting")
BY_OBJECTIVE = {
    "dpo": (*STEPS, "preference"),
    "reward": ("preference",),
    "rloo": (*STEPS, "reward"),
    "grpo": (*STEPS, "reward"),
}
"""What is measured unless the recipe says otherwise, and for objectives of their own."""


def default_steps() -> list[EvaluateStep]:
    return [EvaluateStep.model_validate(name) for name in STEPS]

"""What ``scores.json`` holds: the measures of each model, how they differ, and what could fool the reader.

The models are named by the part they play: `base`, `few_shot` (the base model with training examples in its prompt)
and `tuned`. `steep schema --scores` prints the JSON Schema, made from the docstrings below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steep.errors import RunError

VERSION = 1

Model = Literal["base", "few_shot", "tuned"]
Word = Literal["better", "worse", "not proven"]
Doubt = Literal[
    "few_documents",
    "few_shot",
    "contamination",
    "memorization",
    "personal_data",
    "canaries",
    "forgetting",
    "familiarity",
    "one_label",
    "skipped",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Estimate(_Part):
    """The value over all documents, and its interval at the confidence of `Statistics`; null where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Difference(_Part):
    """The tuned model's value minus that of another model, paired by document."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the hypothesis that there is no difference."""
    p_adjusted: float | None = None
    """By Holm's method over the metrics of the verdict; null for a metric that is not one of them."""
    effect_size: float | None = None
    """Difference over the standard deviation of the documents' differences: Cohen's d for paired samples."""
    wins: float
    """Share of the documents on which the tuned model is better; a tie counts half."""
    verdict: Word | None = None
    """Null for a metric that is not part of the verdict."""


class Metric(_Part):
    """One measure on the same documents for each model."""

    documents: int
    better: Literal["higher", "lower"] | None
    """Null where neither is."""
    models: dict[Model, Estimate]
    differences: dict[Model, Difference] = Field(default={})
    """Against the base model, and against the few-shot prompted one."""
    subsets: dict[Model, list[float]] = Field(default={})
    """The value over each of some random subsets of the documents."""


class Warning(_Part):
    """Something that a reader must know before believing the figures."""

    kind: Doubt
    message: str


class Gate(_Part):
    """A limit of the recipe."""

    name: str
    value: float
    limit: float
    passed: bool


class Statistics(_Part):
    """How the intervals were made."""

    confidence: float
    resamples: int
    seed: int
    clusters: int
    """Groups of near-duplicate documents: what is drawn in a resample."""


class TestSet(_Part):
    documents: int
    hash: str
    """Of the held-out examples: runs are compared where it is the same."""


class Scores(_Part):
    version: int = VERSION
    test_set: TestSet
    models: dict[Model, str]
    """What each of them is."""
    metrics: dict[str, Metric]
    """By name; those of a step that generates have its name before a dot: `continuation.rougeL`."""
    verdict: dict[Model, Word] = Field(default={})
    """Of the tuned model over all metrics of the verdict, against each other model."""
    warnings: list[Warning] = Field(default=[])
    gates: list[Gate] = Field(default=[])
    checks: dict[str, Any] = Field(default={})
    """What each check of the recipe found, by its step."""
    details: dict[str, Any] = Field(default={})
    """What was found besides figures, such as a confusion matrix: by model, then by step."""
    signatures: dict[str, str] = Field(default={})
    settings: dict[str, dict[str, Any]] = Field(default={})
    statistics: Statistics | None = None


def read_scores(path: Path) -> Scores:
    """Raises RunError where the file is missing, damaged, or of another version."""
    try:
        return Scores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing: run the evaluate stage again") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(
            f"{path} is damaged or of another version of steep ({where}: {first['msg']}): run evaluate again"
        ) from None

"""How documents become training examples: split, template, length."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticKnownError

from steep.section import Count, Fraction, NoSwitch, Section, Share, Whole


class Split(Section):
    """Which documents are held out. Near-duplicates never straddle train and test."""

    test: Fraction = 0.1
    """Share of the documents that is held out."""
    validation: Share = 0.0
    """Share of what is left for training that is held out too, for `train.eval_steps`; evaluation never sees it."""
    sources: list[str] = Field(default=[])
    """Hold out exactly the documents of these sources as the test instead."""
    seed: Whole = 42
    """Of the draw."""


TEMPLATES = ("plain", "title-description", "alpaca", "llama-2", "llama-3", "chat")

TEMPLATE_SCHEMA = {"anyOf": [{"enum": list(TEMPLATES)}, {"pattern": r"\.jinja$"}]}


def _template(value: str) -> str:
    if value not in TEMPLATES and not value.endswith(".jinja"):
        known = ", ".join(map(repr, TEMPLATES))
        raise PydanticKnownError("literal_error", {"expected": f"{known} or 'FILE.jinja'"})
    return value


class Canaries(Section):
    """Made-up secrets among the training examples: what the model then knows of them tells whether it remembers single
    examples (Carlini et al. 2019, arXiv 1802.08232)."""

    count: Annotated[int, Field(ge=1, le=1000), NoSwitch] = 20
    """How many; each has a number of nine digits of its own."""
    repeat: Count = 1
    """How often each of them stands in the training examples."""
    seed: Whole = 42
    """Of the draw; the same seed gives the same numbers."""


class Prepare(Section):
    """From documents to training examples."""

    template: Annotated[str, AfterValidator(_template), Field(json_schema_extra=TEMPLATE_SCHEMA)] = "plain"
    """plain, title-description, alpaca, llama-2, llama-3, chat (conversations, in the model's own format), or the path
    of a .jinja file."""
    fields: dict[str, str] = Field(default={})
    """Jinja expressions that fill the template's variables, e.g. `instruction: "Write about {{ title }}."`."""
    lowercase: bool = False
    """Write the examples in lower case."""
    split: Split = Split()
    max_length: Annotated[int, Field(ge=8), NoSwitch] = 512
    """Tokens per example; `overlength` says what becomes of longer ones, and they are counted."""
    overlength: Literal["truncate", "drop", "split"] = "truncate"
    """Cut what is too long, leave the example out, or make several examples of it. A prompt is never split."""
    truncation_side: Literal["right", "left"] = "right"
    """Where `truncate` cuts: the end of the text or completion, or the beginning of the text or prompt."""
    repeat: dict[str, Count] = Field(default={})
    """How often the training examples of a source are repeated, so that a large source does not drown a small one."""
    canaries: Canaries | None = None
    """Plant made-up secrets; only on request."""

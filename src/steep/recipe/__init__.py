"""What a recipe may say: one pydantic model per section, in the order of the stages. Nothing heavy is imported here.

Each section has a module of its own; which of their values contradict each other is in `conflicts`.

``config.load_recipe`` reads a file into a `Recipe`; every mistake is reported with its line. The docstrings and field
descriptions are the recipe reference: ``docs/recipe.md`` and ``steep schema`` are made from them.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, model_validator

from steep.recipe.clean import CleanStep
from steep.recipe.conflicts import conflicts, line_error
from steep.recipe.evaluate import BY_OBJECTIVE, EvaluateStep, default_steps
from steep.recipe.gather import Source
from steep.recipe.model import Architecture, Model
from steep.recipe.prepare import TEMPLATES, Canaries, Prepare, Split
from steep.recipe.train import AdaLora, AdaptionPrompt, Dpo, Lora, Reward, Rollouts, Train
from steep.section import RUN_NAME, Count, Section, Text

__all__ = [
    "TEMPLATES",
    "AdaLora",
    "AdaptionPrompt",
    "Architecture",
    "Canaries",
    "Dpo",
    "Lora",
    "Model",
    "Prepare",
    "Recipe",
    "Reward",
    "Rollouts",
    "Split",
    "Train",
]


def _default_clean() -> list[CleanStep]:
    return [CleanStep.model_validate(name) for name in ("whitespace", "redact", "deduplicate")]


class Recipe(Section):
    """Everything about a run, from the sources to the evidence."""

    name: str = Field(pattern=RUN_NAME)
    """Name of the run: its folder is `runs/<name>`."""
    cluster: Text | None = None
    """Address of a Ray cluster on which documents are cleaned, such as ray://host:10001; by default this machine."""
    limit: Count | None = None
    """At most this many documents of each source: for a first look."""
    gather: list[Source] = Field(min_length=1)
    """Where the text comes from."""
    clean: list[CleanStep] = Field(default_factory=_default_clean)
    """Steps of cleaning, in the order given."""
    prepare: Prepare = Prepare()
    model: Model = Model()
    train: Train = Train()
    evaluate: list[EvaluateStep] = Field(default_factory=default_steps, min_length=1)
    """What is measured, on the base model and on the tuned one."""

    @model_validator(mode="before")
    @classmethod
    def _measured_by_objective(cls, value: Any) -> Any:
        train = value.get("train") if isinstance(value, dict) else None
        steps = BY_OBJECTIVE.get(str(train.get("objective"))) if isinstance(train, dict) else None
        return {"evaluate": list(steps), **value} if steps else value

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if found := list(conflicts(self)):
            raise ValidationError.from_exception_data("Recipe", [line_error(conflict) for conflict in found])
        return self

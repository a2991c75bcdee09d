"""`steep compare-methods`: one recipe trained by each method on the same tokens, and what each gives and costs.

Each method is a run of its own in ``runs/<name>/methods/``; what was gathered, cleaned and prepared is shared. All take
the same steps over the same rows; what differs is the learning rate, since each method has one of its own. The verdict
on one trial at one learning rate is no verdict on a method: `steep sweep` looks for a better one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steep.config import read_recipe
from steep.errors import GateError, RecipeError, SteepError
from steep.methods.choice import METHODS, Rates, learning_rate, read_words
from steep.pipeline import Note, Options, run_recipe
from steep.preflight import examine
from steep.recipe import Recipe
from steep.runs import Run, hold
from steep.variants import Variant, prepared, share

__all__ = ["METHODS", "Outcome", "Told", "train_methods"]

Told = Callable[[str, str], None]
"""Told of each method and what becomes of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a method: a finished run, or why there is none."""

    method: str
    learning_rate: float | None = None
    run: Run | None = None
    skipped: str = ""
    """The recipe does not allow it."""
    failed: str = ""


def train_methods(
    path: Path, words: Sequence[str], methods: Sequence[str], *, runs: Path, tell: tuple[Note, Told]
) -> tuple[Path, list[Outcome]]:
    """Train and evaluate the recipe by each method; returns the folder of the runs, and what became of each, the
    recipe's own method first. Finished runs are kept.

    Raises UsageError and RecipeError before any work. KeyboardInterrupt: the same call goes on.
    """
    note, told = tell
    overrides, rates = read_words(words)
    recipe = read_recipe(path, overrides)
    examine(recipe)
    folder = runs / recipe.recipe.name / "methods"
    with hold(Run(folder)):
        base = prepared(path, overrides, runs, note)
        outcomes = []
        for method in _own_first(methods, recipe.recipe):
            told(method, "")
            outcomes.append(_trained(Variant(path, (), folder), overrides, method, rates, base, note))
            told(method, _said(outcomes[-1]))
    return folder, outcomes


def _own_first(methods: Sequence[str], recipe: Recipe) -> list[str]:
    own = {"method": recipe.train.method, "quantization": recipe.model.quantization}
    return sorted(methods, key=lambda name: METHODS[name] != own)


def _said(outcome: Outcome) -> str:
    if outcome.skipped:
        return f"skipped: {outcome.skipped}"
    return f"failed: {outcome.failed}" if outcome.failed else "done"


def _trained(at: Variant, overrides: Sequence[str], method: str, rates: Rates, base: Run, note: Note) -> Outcome:
    rate = learning_rate(read_recipe(at.path, overrides).recipe, method, rates)
    chosen = METHODS[method]
    words = [f"train.method={chosen['method']}", f"model.quantization={chosen['quantization']}"]
    variant = Variant(at.path, [*overrides, *words, f"train.learning_rate={rate!r}", f"name={method}"], at.runs)
    try:
        variant.read()
    except RecipeError as error:
        return Outcome(method, skipped="; ".join(problem.message for problem in error.problems))
    try:
        share(base, variant)
        folder = run_recipe(variant.path, variant.overrides, runs=variant.runs, options=Options(), note=note)
    except GateError as error:  # the run is finished
        folder = error.folder
    except SteepError as error:
        return Outcome(method, rate, failed=str(error))
    return Outcome(method, rate, Run(folder))

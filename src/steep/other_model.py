"""`steep evaluate RECIPE --model NAME`: another model on what a run has held out, beside the run's own evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steep.advice import explain
from steep.config import read_recipe
from steep.errors import SteepError
from steep.pipeline import check_before, fingerprints
from steep.preflight import examine
from steep.runs import Run, hold


def evaluate_other_model(
    path: str | Path, overrides: Sequence[str], model: str, *, runs: str | Path = "runs"
) -> tuple[Run, Path]:
    """Measure ``model``, a folder or a hub name, by the steps of the recipe; the run, and the folder of the result.

    Raises what `run_recipe` does, and UsageError where the run has held nothing out by this recipe.
    """
    recipe = read_recipe(path, overrides)
    examine(recipe)
    run = Run(Path(runs) / recipe.recipe.name)
    check_before("train", run, recipe, fingerprints(recipe), "evaluate --model")
    from steep.stages.evaluation import evaluate_other

    with hold(run):
        try:
            return run, evaluate_other(run, recipe, model)
        except SteepError:
            raise
        except Exception as error:
            message = explain(error, "evaluate", run.folder)
            if message is None:
                raise
            raise SteepError(message) from error

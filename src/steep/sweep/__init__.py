"""`steep sweep`: trains a recipe with other values of some keys and says which did best on validation examples.

Each trial is a run of its own in ``runs/<name>/sweep/`` that shares what was gathered, cleaned and prepared. The first
measurements decide which trials are worth going on with (ASHA), so that most of them are short. The price: a trial that
starts slowly and would have ended well is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steep.config import read_recipe
from steep.errors import SteepError, UsageError
from steep.pipeline import Note
from steep.preflight import examine
from steep.runs import Run, hold
from steep.sweep import study as studies
from steep.sweep.best import write_best
from steep.sweep.goal import LOSS, goal_of
from steep.sweep.outcomes import importances, outcomes_of
from steep.sweep.record import check_same
from steep.sweep.results import Result, write_results
from steep.sweep.space import as_overrides
from steep.sweep.trials import Search, Told, work_through
from steep.sweep.words import read_space
from steep.variants import prepared

if TYPE_CHECKING:
    from optuna import Study

__all__ = ["Result", "sweep"]

TRIALS = 20


def sweep(
    path: Path,
    words: Sequence[str],
    *,
    runs: Path,
    metric: str = LOSS,
    trials: int = TRIALS,
    jobs: int = 1,
    tell: tuple[Note, Told],
) -> Result:
    """Do what is left of a sweep, and write its results and the recipe with the best values.

    Raises UsageError and RecipeError before any work, RunError where another process holds the sweep, and SteepError
    where no trial came to its end. KeyboardInterrupt: the same call goes on.
    """
    note, told = tell
    space = read_space(path, words)
    recipe = read_recipe(path, space.overrides)
    goal = goal_of(recipe.recipe, metric)
    if jobs > 1 and recipe.recipe.train.devices > 1:
        raise UsageError("--jobs shares the GPUs among trials, and train.devices gives all to one: leave out one")
    examine(recipe)
    folder = runs / recipe.recipe.name / "sweep"
    with hold(Run(folder)):
        check_same(folder, recipe, space, goal)
        study = studies.open_study(folder, goal, first=recipe.recipe.train.eval_steps or 1)
        base = prepared(path, space.overrides, runs, note)
        search = Search(path, space, goal, base, folder, recipe.recipe.train.seed)
        work_through(search, study, trials=_lined_up(search, study, trials), jobs=jobs, told=told)
        return _result(recipe.recipe.name, search, study)


def _lined_up(search: Search, study: Study, trials: int) -> int:
    """How many trials there are to be: of few combinations each is tried once, in the place of a search."""
    studies.repeat_failed(study)
    if search.space.size > trials:
        return trials
    studies.line_up(study, search.space, search.seed)
    return int(search.space.size)


def _result(name: str, search: Search, study: Study) -> Result:
    outcomes = outcomes_of(study, search.space)
    result = Result(name, search.folder, search.space, search.goal, outcomes, importances(study))
    write_results(result)
    if result.best is None:
        raise SteepError(f"{result.sentence} See {search.folder / 'results.html'}")
    overrides = [*search.space.overrides, *as_overrides(result.best.values)]
    return replace(result, recipe=write_best(search.path, overrides))

"""The trials of a sweep as Optuna keeps them: an SQLite file in the sweep's folder that survives any end.

A trial's values follow from the seed, the trial's number and what the trials before it came to, so that an interrupted
sweep goes on as if it had not been. What ran when it was interrupted goes on under its number, from its checkpoint;
what failed is tried once more under a new one.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError
from steep.sweep.goal import Goal
from steep.sweep.space import Choice, Dimension, Space, Values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

REDUCTION = 3
"""Of the trials that come to a rung, about one in so many goes on; the next rung is so many times as far."""
REPEATS, WHY = "repeats", "why"


STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "interrupted", "WAITING": "to come"}
FEWEST = 8
"""Finished trials, from which it is told how much each key matters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial came out. ``value``: where it was pruned, the last one; ``steps``: of the last measurement."""

    number: int
    state: str
    values: Values
    value: float | None
    steps: int
    why: str


def open_study(folder: Path, goal: Goal, *, first: int) -> Study:
    """The sweep's study, made or gone on with. ``first``: the step of the first measurement, where pruning begins.

    Pruning is ASHA (Li et al. 2020, arXiv 1810.05934, algorithm 2). Raises UsageError without Optuna.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("steep sweep needs Optuna: pip install 'steep[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=f"sqlite:///{(folder / 'study.db').resolve()}",
        study_name="sweep",
        direction=goal.direction,
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION),
        load_if_exists=True,
    )


def interrupted(study: Study) -> Iterator[Trial]:
    """Trials that ran when the sweep was stopped."""
    from optuna.trial import Trial, TrialState

    for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        yield Trial(study, one._trial_id)


def repeat_failed(study: Study) -> None:
    """Line up what failed, to be tried once more."""
    from optuna.trial import TrialState

    again = _repeated(study)
    for one in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if one.number not in again:
            study.enqueue_trial(one.params, user_attrs={REPEATS: one.number})


def _repeated(study: Study) -> set[int]:
    """Numbers of trials that another one stands for."""
    return {one.user_attrs[REPEATS] for one in study.get_trials(deepcopy=False) if REPEATS in one.user_attrs}


def line_up(study: Study, space: Space, seed: int) -> None:
    """Every combination of a finite space once, in an order drawn by the seed; those that were tried are left out."""
    combinations = list(space.every())
    random.Random(seed).shuffle(combinations)
    for values in combinations:
        stored = {one.key: _stored(one, values[one.key]) for one in space.dimensions}
        study.enqueue_trial(stored, skip_if_exists=True)


def counted(study: Study) -> int:
    """The trials that were begun or lined up, a repeated one once."""
    return len(study.get_trials(deepcopy=False)) - len(_repeated(study))


def waiting(study: Study) -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def ask(study: Study, seed: int) -> Trial:
    """The next trial: one that is lined up, else one that the tree-structured Parzen estimator draws (Bergstra et al.
    2011, Algorithms for hyper-parameter optimization, section 4)."""
    from optuna.samplers import TPESampler

    study.sampler = TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))
    return study.ask()


def outcomes(study: Study, space: Space) -> list[Outcome]:
    """Of all trials, the best first, then the pruned ones, then the failed ones that were not repeated."""
    again = _repeated(study)
    found = [_outcome(one, space) for one in study.get_trials(deepcopy=False) if one.number not in again]
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    states = list(STATES.values())
    return sorted(found, key=lambda one: (states.index(one.state), sign * (one.value or 0.0), one.number))


def _outcome(one: FrozenTrial, space: Space) -> Outcome:
    return Outcome(
        one.number,
        STATES[one.state.name],
        stored_values(one.params, space),
        one.value if one.value is not None else one.intermediate_values.get(one.last_step or -1),
        one.last_step or 0,
        one.user_attrs.get(WHY, ""),
    )


def importances(study: Study) -> dict[str, float]:
    """How much of the spread between good and middling trials each key explains (PED-ANOVA, Watanabe et al. 2023, arXiv
    2304.10255), as shares of 1; empty where too few trials came to an end, or all to the same."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < FEWEST or len({one.value for one in finished}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is new
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {key: share for key, share in found.items() if math.isfinite(share)}


def values_of(trial: Trial, space: Space) -> Values:
    """A trial's values, drawn now or, of an interrupted trial, before."""
    return {one.key: _suggested(trial, one) for one in space.dimensions}


def _suggested(trial: Trial, one: Dimension) -> Any:
    if isinstance(one, Choice):
        return json.loads(trial.suggest_categorical(one.key, [_stored(one, value) for value in one.values]))
    if one.whole:
        return trial.suggest_int(one.key, int(one.low), int(one.high))
    return plain_number(trial.suggest_float(one.key, one.low, one.high, log=one.log), one.low, one.high)


def plain_number(value: float, low: float, high: float) -> float:
    """In four digits, for people: what a fifth one would change is far below what a seed does."""
    return min(max(float(f"{value:.4g}"), low), high)


def stored_values(params: Values, space: Space) -> Values:
    """Values of what Optuna has stored."""
    return {one.key: _read_back(params[one.key], one) for one in space.dimensions if one.key in params}


def _read_back(stored: Any, one: Dimension) -> Any:
    if isinstance(one, Choice):
        return json.loads(stored)
    return int(stored) if one.whole else plain_number(stored, one.low, one.high)


def _stored(one: Dimension, value: Any) -> Any:
    """Choices are kept as JSON, since Optuna takes no lists."""
    return json.dumps(value, ensure_ascii=False) if isinstance(one, Choice) else value

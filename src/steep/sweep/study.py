"""The trials of a sweep as Optuna keeps them: an SQLite file in the sweep's folder that survives any end.

A trial's values follow from the seed, the trial's number and what the trials before it came to, so that an interrupted
sweep goes on as if it had not been. What ran when it was interrupted goes on under its number, from its checkpoint;
what failed is tried once more under a new one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError
from steep.sweep.goal import Goal
from steep.sweep.space import Choice, Dimension, Space, Values, plain_number

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

REDUCTION = 3
"""Of the trials that come to a rung, about one in so many goes on; the next rung is so many times as far."""
REPEATS, WHY = "repeats", "why"


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

    again = repeated(study)
    for one in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if one.number not in again:
            study.enqueue_trial(one.params, user_attrs={REPEATS: one.number})


def repeated(study: Study) -> set[int]:
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
    return len(study.get_trials(deepcopy=False)) - len(repeated(study))


def waiting(study: Study) -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def values_of(trial: Trial, space: Space, seed: int) -> Values:
    """A trial's values: those that it was lined up or interrupted with, else those that the tree-structured Parzen
    estimator draws (Bergstra et al. 2011, Algorithms for hyper-parameter optimization, section 4)."""
    from optuna.samplers import TPESampler

    trial.study.sampler = TPESampler(seed=seed + trial.number)
    return {one.key: _suggested(trial, one) for one in space.dimensions}


def _suggested(trial: Trial, one: Dimension) -> Any:
    if isinstance(one, Choice):
        return json.loads(trial.suggest_categorical(one.key, [_stored(one, value) for value in one.values]))
    if one.whole:
        return trial.suggest_int(one.key, int(one.low), int(one.high))
    return plain_number(trial.suggest_float(one.key, one.low, one.high, log=one.log), one.low, one.high)


def _stored(one: Dimension, value: Any) -> Any:
    """Choices are kept as JSON, since Optuna takes no lists."""
    return json.dumps(value, ensure_ascii=False) if isinstance(one, Choice) else value

"""How the trials came out, read from what Optuna has stored."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.sweep.space import Choice, Dimension, Space, Values, plain_number
from steep.sweep.study import WHY, repeated

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

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


def outcomes_of(study: Study, space: Space) -> list[Outcome]:
    """Of all trials, the best first, then the pruned ones, then the failed ones that were not repeated."""
    again = repeated(study)
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


def stored_values(params: Values, space: Space) -> Values:
    """Values of what Optuna has stored."""
    return {one.key: _read_back(params[one.key], one) for one in space.dimensions if one.key in params}


def _read_back(stored: Any, one: Dimension) -> Any:
    if isinstance(one, Choice):
        return json.loads(stored)
    return int(stored) if one.whole else plain_number(stored, one.low, one.high)

"""The trials of a sweep at work: each a child process whose metrics are read as they come.

One loop starts them, reads, stops those that fall behind, and notes how each came out. The decision to stop one depends
on what it has measured, not on when that was read, so that a sweep on one place is reproducible.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from steep.errors import INTERRUPTED, RunError, SteepError
from steep.runs import Run, hold
from steep.sweep import study as studies
from steep.sweep.goal import Goal, measurements
from steep.sweep.gpus import gpu_of
from steep.sweep.space import Space, Values, as_overrides
from steep.variants import Child, Variant, share, start

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

POLL = 0.2
"""Seconds between two looks at the trials' metrics."""
PATIENCE = 3
"""A sweep whose first so many trials fail is stopped: the fault is not in the values."""

Told = Callable[[int, str, Values, float | None, str], None]
"""Told of each trial: number, ``running``, ``finished``, ``pruned`` or ``failed``, values, result, and what to add."""


@dataclass(frozen=True, slots=True)
class Search:
    """A sweep: what is tried, what for, on how many places, and where it is kept."""

    path: Path
    space: Space
    goal: Goal
    base: Run
    folder: Path
    seed: int


@dataclass(slots=True)
class Work:
    """A trial at work."""

    trial: Trial
    values: Values
    child: Child
    place: int
    seen: dict[int, float] = field(default_factory=dict)


def trial_name(number: int) -> str:
    return f"trial-{number:03}"


def work_through(search: Search, study: Study, *, trials: int, jobs: int, told: Told) -> None:
    """Until ``trials`` are done. KeyboardInterrupt stops what runs, which goes on the next time."""
    waiting = list(studies.interrupted(study))
    running: list[Work] = []
    try:
        while True:
            while len(running) < jobs and (trial := _next(search, study, waiting, trials)):
                running.append(_begin(search, trial, _free(running, jobs), jobs, told))
            if not running:
                return
            running = [work for work in running if not _advance(search, study, work, told)]
            time.sleep(POLL)
    finally:
        for work in running:
            work.child.interrupt()


def _next(search: Search, study: Study, waiting: list[Trial], trials: int) -> Trial | None:
    if waiting:
        return waiting.pop(0)
    if studies.waiting(study) or studies.counted(study) < trials:
        return study.ask()
    return None


def _begin(search: Search, trial: Trial, place: int, jobs: int, told: Told) -> Work:
    values = studies.values_of(trial, search.space, search.seed)
    words = [*search.space.overrides, *as_overrides(values), f"name={trial_name(trial.number)}"]
    variant = Variant(search.path, words, search.folder)
    told(trial.number, "running", values, None, "")
    child = start(variant, share(search.base, variant), until="train", environ=gpu_of(place) if jobs > 1 else {})
    return Work(trial, values, child, place)


def _free(running: Sequence[Work], jobs: int) -> int:
    return next(place for place in range(jobs) if place not in {work.place for work in running})


# ---------------------------------------------------------------------------------------------------- how it comes out


def _advance(search: Search, study: Study, work: Work, told: Told) -> bool:
    """Read what is new; True when the trial is over."""
    ended = work.child.ended  # before reading, so that nothing written since is missed
    for step, value in measurements(work.child.run.folder, search.goal.metric):
        if step in work.seen:
            continue
        work.seen[step] = value
        if not _goes_on(study, work, step, value):
            work.child.kill()
            _prune(study, work, step, told)
            return True
    if ended:
        _finish(search, study, work, told)
    return ended


def _goes_on(study: Study, work: Work, step: int, value: float) -> bool:
    if step not in study.get_trials(deepcopy=False)[work.trial.number].intermediate_values:  # of an interrupted one
        work.trial.report(value, step)
    return not work.trial.should_prune()


def _prune(study: Study, work: Work, step: int, told: Told) -> None:
    from optuna.trial import TrialState

    study.tell(work.trial, state=TrialState.PRUNED)
    told(work.trial.number, "pruned", work.values, work.seen[step], f"at step {step:,}")
    _tidy(work.child.run)


def _finish(search: Search, study: Study, work: Work, told: Told) -> None:
    code = work.child.process.returncode
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code or not work.seen:
        none = f"no {search.goal.metric} in {work.child.run.stage('train') / 'metrics.jsonl'}"
        _fail(study, work, _failure(work.child, code) if code else none, told)
        return
    value = search.goal.result(list(work.seen.values()))
    if math.isnan(value):
        _fail(study, work, f"{search.goal.metric} is no number", told)
        return
    study.tell(work.trial, value)
    told(work.trial.number, "finished", work.values, value, "")
    _tidy(work.child.run)


def _failure(child: Child, code: int) -> str:
    last = (child.words.splitlines() or [f"it ended with code {code}"])[-1]
    return f"{last} (all of it in {child.log})"


def _fail(study: Study, work: Work, why: str, told: Told) -> None:
    from optuna.trial import TrialState

    work.trial.set_user_attr(studies.WHY, why)
    study.tell(work.trial, state=TrialState.FAIL)
    told(work.trial.number, "failed", work.values, None, why)
    others = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if not others and len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,))) >= PATIENCE:
        raise SteepError(f"the first {PATIENCE} trials failed, and none came to an end. The last one: {why}")


def _tidy(run: Run) -> None:
    """Checkpoints are for going on, and there is nothing to go on with. Waits until the trial's last process is gone,
    and the GPU's memory with it."""
    with suppress(RunError), hold(run):  # one that takes its time to end keeps them
        for folder in (run.partial("train"), run.stage("train")):
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)

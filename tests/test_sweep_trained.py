"""`steep sweep` with trials that are really trained: two learning rates by two batch sizes, killed in the middle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import steep
from steep.config import read_recipe

pytest.importorskip("optuna")

WORDS = (
    "train.learning_rate=1e-2,1e-6",
    "train.batch_size=1,2",
    "train.max_steps=20",
    "train.eval_steps=5",
    "train.save_steps=5",
    "prepare.split.validation=0.2",
)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not what():
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.05)


def steps_of(trial: Path) -> list[str]:
    """Lines of its metrics, each with the seconds that it took, which no second training would repeat."""
    (metrics,) = trial.glob("*train*/metrics.jsonl")
    return metrics.read_text().splitlines()


def kill_in_the_second_trial(folder: Path) -> list[str]:
    """Killed for good as soon as that trial has a checkpoint; returns its metrics up to there."""
    words = [str(Path(sys.executable).with_name("steep")), "sweep", "small.yaml", *WORDS]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
    trial = folder / "runs" / "small" / "sweep" / "trial-001"
    wait_for(lambda: any(trial.glob(".train.partial/checkpoint-5")), process)
    process.kill()
    process.wait()
    return steps_of(trial)[:5]


@pytest.fixture(scope="module")
def killed(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The process that went on, whose ``cwd`` holds the recipe, and the ``steps`` at which the first was killed."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(small_recipe.parent, folder, dirs_exist_ok=True)
    steps = kill_in_the_second_trial(folder)
    done: Any = steep("sweep", "small.yaml", *WORDS, cwd=folder)
    assert done.returncode == 0, done.stderr
    done.cwd, done.steps = folder, steps
    return done


@pytest.fixture(scope="module")
def results(killed: Any) -> Any:
    return json.loads((killed.cwd / "runs" / "small" / "sweep" / "results.json").read_text())


def test_after_a_kill_the_same_command_ends_with_every_combination_once(results: Any) -> None:
    tried = sorted(
        (one["values"]["train.learning_rate"], one["values"]["train.batch_size"]) for one in results["trials"]
    )
    assert tried == [(1e-6, 1), (1e-6, 2), (1e-2, 1), (1e-2, 2)]
    assert {one["state"] for one in results["trials"]} == {"finished", "pruned"}


def test_what_was_finished_before_the_kill_is_not_trained_again(killed: Any) -> None:
    assert "trial 0 " not in killed.stdout
    assert "trial 1 " in killed.stdout


def test_the_trial_that_was_killed_goes_on_from_its_checkpoint(killed: Any) -> None:
    assert len(killed.steps) == 5
    assert steps_of(killed.cwd / "runs" / "small" / "sweep" / "trial-001")[:5] == killed.steps


def test_a_trial_that_learns_too_slowly_is_stopped_early(results: Any) -> None:
    stopped = {
        one["values"]["train.learning_rate"]: one["steps"] for one in results["trials"] if one["state"] == "pruned"
    }
    assert 1e-6 in stopped
    assert all(steps < 20 for steps in stopped.values())


def test_the_best_trial_is_one_that_learned(killed: Any, results: Any) -> None:
    best = next(one for one in results["trials"] if one["number"] == results["best"])
    assert best["values"]["train.learning_rate"] == 1e-2
    train = read_recipe(killed.cwd / "small.best.yaml").recipe.train
    assert (train.learning_rate, train.batch_size) == (1e-2, best["values"]["train.batch_size"])

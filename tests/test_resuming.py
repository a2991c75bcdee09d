"""kill -9 at random moments: the same command always ends with the weights of a training that was left alone.

Ten kills (`steep verify-resume RECIPE --kills 10`) take some minutes; here are three.
"""

from __future__ import annotations

import json

import pytest
import torch

from conftest import steep
from steep.resuming import _difference, _steps_done
from steep.runs import Run


@pytest.mark.timeout(600)
def test_killed_at_random_moments_a_training_ends_with_the_weights_of_one_that_was_left_alone(small_recipe, tmp_path):
    done = steep("verify-resume", small_recipe, "--steps", "60", "--kills", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained 60 steps without interruption" in done.stdout
    assert done.stdout.count("killed after step ") == 3
    assert "tensors of weights are equal to the last bit" in done.stdout
    assert not (tmp_path / "runs" / "small" / "train").exists()
    rows = Run(tmp_path / "runs" / "small" / "verify-resume" / "killed").stage("train") / "metrics.jsonl"
    assert [json.loads(line)["step"] for line in rows.read_text().splitlines()] == list(range(1, 61))


def test_verify_resume_needs_more_steps_than_kills(small_recipe, tmp_path):
    done = steep("verify-resume", small_recipe, "--steps", "4", "--kills", "4", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "--kills 4 needs more than 4 steps; --steps is 4\n")


def test_a_difference_is_a_share_of_the_largest_weight():
    assert _difference(torch.tensor([1.0, -4.0]), torch.tensor([1.0, -3.0])) == 0.25
    assert _difference(torch.zeros(2), torch.zeros(2)) == 0.0


def test_steps_are_counted_by_what_is_on_disk(tmp_path):
    run = Run(tmp_path)
    assert _steps_done(run) == 0
    run.partial("train").mkdir()
    (run.partial("train") / "metrics.jsonl").write_text("{}\n{}\n{")
    assert _steps_done(run) == 2

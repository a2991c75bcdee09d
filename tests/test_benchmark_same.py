"""The benchmark that holds steep's plan against plain transformers and PEFT: a whole run on real text, short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "same.py"


@pytest.mark.parametrize("method", [[], ["--full"]], ids=["lora", "full"])
def test_the_plan_is_the_training_of_plain_transformers_and_peft(steep_data, tmp_path, method):
    command = [sys.executable, PROGRAM, steep_data, "--steps", "4", "--json", tmp_path / "same.json", *method]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "same.json").read_text())
    assert found["gap"] < found["limit"] == 1e-5
    for (loss, norm), (plain, plain_norm) in zip(found["curves"]["steep"], found["curves"]["plain"], strict=True):
        assert loss == pytest.approx(plain, rel=1e-5)
        assert norm == pytest.approx(plain_norm, rel=1e-4)

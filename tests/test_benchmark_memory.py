"""The benchmark of memory runs where there is no GPU, and its old measurements get new estimates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "memory.py"


def run(*arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "memory.json"
    run("--quick", "nf4", "--json", path)
    return path


def test_a_quantised_model_made_of_random_weights_is_trained_and_measured(results):
    content = json.loads(results.read_text("utf-8"))
    (row,) = content["rows"]
    assert "error" not in row
    assert {"setting", "estimate_gib", "allocated_gib", "reserved_gib", "ratio", "tokens_per_second"} <= set(row)
    assert {"torch", "transformers", "bitsandbytes"} <= set(content["versions"])
    assert row["used_gib"] > 0.1


def test_a_setting_that_cannot_be_measured_says_why_and_others_stay(results, tmp_path):
    more = tmp_path / "memory.json"
    more.write_text(results.read_text("utf-8"), "utf-8")
    run("--quick", "int8", "--seconds", "0.1", "--json", more)
    first, second = json.loads(more.read_text("utf-8"))["rows"]
    assert "error" not in first
    assert second["error"] == "not done after 0 s"


def test_old_measurements_get_new_estimates(results, tmp_path):
    content = json.loads(results.read_text("utf-8"))
    content["rows"][0]["estimate_gib"] = content["rows"][0]["ratio"] = 99
    changed = tmp_path / "memory.json"
    changed.write_text(json.dumps(content), "utf-8")
    run("--again", changed)
    (again,), (first,) = (json.loads(path.read_text("utf-8"))["rows"] for path in (changed, results))
    assert again["estimate_gib"] == first["estimate_gib"]
    assert again["ratio"] == pytest.approx(first["ratio"], abs=0.01)

"""`steep runs`: what is listed, in which order, and that nothing stops it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluated import write_run
from steep.cli import app
from steep.errors import UsageError
from steep.listing import list_runs

TRAINED = {"seconds": 63.2, "tokens": 120000, "device": "cpu", "method": "lora"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    recipe = {"train": {"method": "lora"}, "model": {"quantization": "nf4"}}
    for name, skill, day in (("old", 1.0, "01"), ("new", 1.8, "02")):
        folder = write_run(tmp_path / name, skill, 11, recipe=recipe)
        (folder / "train" / "summary.json").write_text(json.dumps(TRAINED))
        change(folder, lambda record, day=day: finish(record, f"2026-01-{day}T10:20:30+00:00"))
    return tmp_path


def finish(record: dict[str, Any], when: str) -> None:
    record["stages"] = {name: {**stage, "finished": when} for name, stage in record["stages"].items()}


def change(folder: Path, edit: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    edit(record)
    (folder / "run.json").write_text(json.dumps(record))


def said(*arguments: object) -> str:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)], catch_exceptions=False).output


def test_the_newest_run_comes_first(runs: Path) -> None:
    assert [one.name for one in list_runs(runs).runs] == ["new", "old"]


def test_a_line_says_what_came_of_a_run_and_how_it_was_trained(runs: Path) -> None:
    line = next(line for line in said("--runs", runs).splitlines() if line.startswith("new"))
    assert "better" in line
    assert "Perplexity" in line
    assert "60 texts" in line
    assert "lora nf4 sft on tiny" in line
    assert "1 min 3 s, 120,000 tokens, cpu" in line
    assert "2026-01-02 10:20" in line


def test_the_measure_is_that_of_the_base_and_of_the_tuned_model(runs: Path) -> None:
    scores = json.loads((runs / "new" / "evaluate" / "scores.json").read_text())
    models = scores["metrics"]["perplexity"]["models"]
    measure = list_runs(runs).runs[0].measure
    assert measure
    assert (measure.base, measure.tuned) == (models["base"]["value"], models["tuned"]["value"])


def test_json_holds_the_same(runs: Path) -> None:
    first = json.loads(said("--json", "--runs", runs))["runs"][0]
    assert (first["name"], first["verdict"], first["quantization"], first["tokens"]) == ("new", "better", "nf4", 120000)


def test_an_interrupted_stage_is_named(runs: Path) -> None:
    (runs / "old" / ".evaluate.partial").mkdir()
    shutil.rmtree(runs / "old" / "evaluate")
    change(runs / "old", lambda record: record["stages"].pop("evaluate"))
    change(runs / "old", lambda record: record.update(begun={"evaluate": "1"}))
    assert "until train; evaluate interrupted" in said("--runs", runs)


@pytest.mark.parametrize("file", ["run.json", "train/summary.json", "evaluate/scores.json"])
def test_a_damaged_run_is_named_and_the_others_are_listed(runs: Path, file: str) -> None:
    (runs / "old" / file).write_text('{"stages": ')
    told = said("--runs", runs)
    assert f"old: {runs / 'old' / file} is damaged" in told
    assert "new" in told


def test_a_run_of_another_version_is_named(runs: Path) -> None:
    change(runs / "old", lambda record: record.update(stages={"train": "done"}))
    assert "old: " in said("--runs", runs)
    assert "holds files of another version of steep" in said("--runs", runs)


def test_the_runs_of_methods_are_listed_and_the_trials_of_a_sweep_are_counted(runs: Path) -> None:
    write_run(runs / "new" / "methods" / "full", 1.0, 13)
    (runs / "new" / "sweep" / "trial-000").mkdir(parents=True)
    (runs / "new" / "sweep" / "sweep.json").write_text("{}")
    assert "new/methods/full" in said("--runs", runs)
    assert f"{runs / 'new' / 'sweep'}: a sweep of 1 trial, without results yet" in said("--runs", runs)
    results = {"metric": "eval_loss", "best": 0, "trials": [{"number": 0, "value": 1.25}]}
    (runs / "new" / "sweep" / "results.json").write_text(json.dumps(results))
    assert "a sweep of 1 trial, best eval_loss 1.25" in said("--runs", runs)


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    assert f"No runs in {tmp_path}: steep run RECIPE makes one." in said("--runs", tmp_path)
    with pytest.raises(UsageError, match="no such folder; name the one that holds the runs with --runs"):
        list_runs(tmp_path / "nowhere")


def test_nothing_heavy_is_imported() -> None:
    heavy = ["numpy", "torch", "transformers", "pydantic", "pyarrow", "matplotlib", "optuna"]
    code = f"import steep.listing.printing, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"

"""`steep sweep`: the search, its end at any moment, and what it leaves.

What trains here is a small program that writes metrics as the train stage does: the loss is smallest at a learning rate
of 0.001.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("optuna")

from steep.cli import app
from steep.config import read_recipe
from steep.errors import SteepError, UsageError
from steep.runs import Run
from steep.sweep import Result, results, sweep, trials
from steep.sweep.best import write_best
from steep.sweep.gpus import gpu_of
from steep.variants import Child, Variant

TRAINER = """
import json, math, pathlib, sys, time
folder, values = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
if values.get("train.optim") == "sgd" and not (folder.parent / "mended").exists():
    sys.exit("a traceback\\nthe optimizer broke")
work = folder / ".train.partial"
work.mkdir(exist_ok=True)
with (work / "metrics.jsonl").open("w") as file:
    for step in range(10, 70, 10):
        loss = abs(math.log10(values["train.learning_rate"]) + 3) + 5 / step
        print(json.dumps({"step": step, "loss": 9.0}), file=file)
        print(json.dumps({"step": step, "eval_loss": loss}), file=file, flush=True)
        time.sleep(0.03)
work.rename(folder / "train")
"""
CHARTS = results.charts
RATE = "train.learning_rate=1e-5..1e-1"
BASE = ("prepare.split.validation=0.1", "train.eval_steps=10")


def begin(variant: Variant, run: Run, **options: Any) -> Child:
    values = {
        key: json.loads(text) for key, text in (word.split("=") for word in variant.overrides if "train." in word)
    }
    with (run.folder / "log.txt").open("wb") as log:
        words = [sys.executable, "-S", "-c", TRAINER, str(run.folder), json.dumps(values)]
        return Child(Popen(words, stdout=log, stderr=STDOUT), run)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steep.sweep.prepared", lambda path, overrides, runs, note: Run(runs / "small"))
    monkeypatch.setattr(trials, "start", begin)
    monkeypatch.setattr(trials, "POLL", 0.01)
    monkeypatch.setattr(results, "charts", lambda result: {})  # drawn in one test, since they take a second each


@pytest.fixture
def recipe(small_recipe: Path, tmp_path: Path) -> Path:
    """Beside links to its files, to be written beside."""
    for name in ("base", "texts.jsonl"):
        (tmp_path / name).symlink_to(small_recipe.parent / name)
    path = tmp_path / "small.yaml"
    path.write_text(small_recipe.read_text().replace("batch_size: 2", "batch_size: 2  # fits"))
    return path


def search(
    recipe: Path, *words: str, count: int = 6, told: Callable[..., None] = lambda *_: None, **options: Any
) -> Result:
    runs = options.pop("runs", recipe.parent / "runs")
    tell = (lambda *_: None, told)
    return sweep(recipe, [*BASE, *(words or (RATE,))], runs=runs, trials=count, tell=tell, **options)


def trials_of(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((result.folder / "results.json").read_text())["trials"]
    return found


def states(result: Result) -> list[str]:
    return [one.state for one in result.outcomes]


def test_the_best_trial_is_the_one_with_the_smallest_validation_loss(recipe: Path) -> None:
    result = search(recipe)
    assert result.best
    losses = {one["number"]: one["value"] for one in trials_of(result)}
    assert losses[result.best.number] == min(losses.values())


def test_the_best_recipe_holds_the_best_values_and_the_overrides_and_keeps_its_comments(recipe: Path) -> None:
    result = search(recipe)
    assert result.best
    assert result.recipe == recipe.with_name("small.best.yaml")
    read = read_recipe(result.recipe).recipe
    assert read.train.learning_rate == result.best.values["train.learning_rate"]
    assert read.prepare.split.validation == 0.1
    assert "batch_size: 2  # fits\n" in result.recipe.read_text()


def test_an_alias_does_not_carry_a_value_elsewhere(recipe: Path) -> None:
    """The best recipe is written out in full where a value cannot be put in alone."""
    adapters = "  lora: &adapter {alpha: 8}\n  adalora: *adapter\n"
    recipe.write_text(recipe.read_text().replace("train:\n", f"train:\n{adapters}"))
    train = read_recipe(write_best(recipe, ["train.lora.alpha=16"])).recipe.train
    assert (train.lora.alpha, train.adalora.alpha) == (16, 8)


def test_a_trial_that_falls_behind_is_stopped(recipe: Path) -> None:
    result = search(recipe)
    pruned = [one for one in result.outcomes if one.state == "pruned"]
    assert pruned
    for one in pruned:
        written = (result.folder / f"trial-{one.number:03}").glob("*train*/metrics.jsonl")
        assert len(next(written).read_text().splitlines()) < 12


def test_the_same_seed_gives_the_same_trials(recipe: Path, tmp_path: Path) -> None:
    assert trials_of(search(recipe)) == trials_of(search(recipe, runs=tmp_path / "again"))
    assert trials_of(search(recipe, RATE, "train.seed=7", runs=tmp_path / "other")) != trials_of(search(recipe))


def test_an_interrupted_sweep_ends_as_an_uninterrupted_one(recipe: Path, tmp_path: Path) -> None:
    def stop(number: int, event: str, *_: Any) -> None:
        if (number, event) == (3, "running"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(recipe, told=stop)
    assert trials_of(search(recipe)) == trials_of(search(recipe, runs=tmp_path / "whole"))


def test_a_trial_interrupted_at_work_goes_on_under_its_number(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(search: Any, study: Any, work: Any, told: Any, known: Any = trials._advance) -> bool:
        if work.trial.number == 0 and work.seen:
            raise KeyboardInterrupt
        return bool(known(search, study, work, told))

    with monkeypatch.context() as patch:
        patch.setattr(trials, "_advance", stop)
        patch.setattr(Child, "interrupt", Child.kill)
        with pytest.raises(KeyboardInterrupt):
            search(recipe)
    result = search(recipe)
    assert sorted(one.number for one in result.outcomes) == list(range(6))


def test_more_trials_go_on_with_a_finished_sweep(recipe: Path) -> None:
    few = {one["number"]: one for one in trials_of(search(recipe, count=3))}
    begun: list[int] = []
    many = search(recipe, count=5, told=lambda number, event, *_: begun.append(number))
    assert set(begun) == {3, 4}
    assert {one["number"]: one for one in trials_of(many) if one["number"] < 3} == few


def test_of_few_combinations_each_is_tried_once(recipe: Path) -> None:
    result = search(recipe, "train.learning_rate=0.001,0.01", "train.lora.rank=7..8", count=20)
    assert sorted(tuple(one.values.values()) for one in result.outcomes) == [
        (0.001, 7), (0.001, 8), (0.01, 7), (0.01, 8),
    ]  # fmt: skip


def test_what_failed_is_tried_again_by_the_same_command(recipe: Path) -> None:
    words = ("train.learning_rate=0.001,0.01", "train.optim=adafactor,sgd")
    failed = [one for one in search(recipe, *words).outcomes if one.state == "failed"]
    assert len(failed) == 2
    assert re.match(r"the optimizer broke \(all of it in .*/log.txt\)", failed[0].why)
    (recipe.parent / "runs" / "small" / "sweep" / "mended").touch()
    assert "failed" not in states(search(recipe, *words))


def test_a_sweep_whose_first_trials_all_fail_is_stopped(recipe: Path) -> None:
    with pytest.raises(
        SteepError, match=r"the first 3 trials failed, and none came to an end\. The last one: the optim"
    ):
        search(recipe, RATE, 'train.optim="sgd"')


def test_another_search_in_the_same_folder_is_refused_with_what_differs(recipe: Path) -> None:
    search(recipe, count=1)
    with pytest.raises(
        UsageError, match=r"train.learning_rate was 1e-05..0.1 and is 0.001..0.1.*remove .*sweep to begin"
    ):
        search(recipe, "train.learning_rate=1e-3..1e-1")
    with pytest.raises(
        UsageError, match=r"holds a sweep that differs: train.weight_decay was 0 and is 0.1\. Its trials"
    ):
        search(recipe, RATE, "train.weight_decay=0.1")
    with pytest.raises(UsageError, match="--metric was eval_loss and is eval_accuracy"):
        search(recipe, metric="eval_accuracy")


def test_what_is_only_evaluated_makes_no_other_search(recipe: Path) -> None:
    search(recipe, count=1)
    recipe.write_text(recipe.read_text().replace("  - contamination\n", ""))
    search(recipe, count=2)


def test_without_validation_examples_there_is_no_sweep(recipe: Path) -> None:
    with pytest.raises(
        UsageError, match=r"set prepare.split.validation, such as .*=0.1 and train.eval_steps.*The test"
    ):
        sweep(recipe, [RATE], runs=recipe.parent, tell=(lambda *_: None, lambda *_: None))


def test_a_measure_of_the_test_split_is_refused(recipe: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--metric perplexity is not measured on the validation examples.*begins with"
    ):
        search(recipe, metric="perplexity")


def test_a_metric_that_training_does_not_write_is_told(recipe: Path) -> None:
    with pytest.raises(SteepError, match=r"no eval_accuracy in .*metrics.jsonl"):
        search(recipe, metric="eval_accuracy")


def test_trials_at_the_same_time_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [gpu_of(place)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["4", "6", "4"]


def test_several_trials_at_the_same_time_come_to_the_same_number(recipe: Path) -> None:
    assert len(search(recipe, jobs=2).outcomes) == 6


def test_the_page_loads_nothing_and_shows_every_key(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "charts", CHARTS)
    result = search(recipe, RATE, "train.lora.rank=8,16", count=8)
    page = (result.folder / "results.html").read_text("utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link rel=.stylesheet|(src|href)=.https?:", page)
    assert page.count("<svg") == 3
    assert "pruned at step 10" in page


def test_the_terminal_shows_each_trial_and_a_table_with_the_best_first(recipe: Path) -> None:
    words = [*BASE, RATE, "--trials", "4", "--runs", str(recipe.parent / "runs")]
    told = CliRunner().invoke(app, ["sweep", str(recipe), *words], catch_exceptions=False).output
    result = search(recipe, count=4)
    assert result.best
    assert re.search(rf"✓ trial {result.best.number} +learning_rate [\d.e-]+: [\d.]+\n", told)
    assert re.search(rf"\ntrial +learning_rate +eval_loss *\n{result.best.number} ", told)
    assert re.search(r"\ntrial[^\n]*(\n\d[^\n]*)*\n\d[^\n]*pruned at step \d+", told)
    assert f"Best recipe: steep run {recipe.with_name('small.best.yaml')}" in told


def test_a_combination_that_was_tried_is_not_tried_again(recipe: Path) -> None:
    words = ("train.learning_rate=0.001,0.01", "train.lora.rank=7,8")
    begun: list[int] = []
    search(recipe, *words, count=4)
    search(recipe, *words, count=20, told=lambda number, *_: begun.append(number))
    assert begun == []

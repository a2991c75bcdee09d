"""Which stages run, which are skipped, and what an end at a bad moment leaves behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import Started
from steep import pipeline
from steep.config import read_recipe
from steep.errors import RecipeError, RunError, SteepError, UsageError
from steep.pipeline import Options, fingerprints, run_recipe
from steep.runs import STAGES, Run, hold


@pytest.fixture
def go(small_recipe, copied_run):
    """Runs the small recipe on a copy of its finished run; returns what became of each stage."""

    def run(*overrides, recipe=small_recipe, **options):
        events = {}
        run_recipe(
            recipe,
            overrides,
            runs=copied_run,
            options=Options(**options),
            note=lambda folder, stage, event, seconds: events.update({stage: event}),
        )
        return events

    return run


def finished(runs):
    folder = runs / "small"
    recorded = set(Run(folder).read()["stages"])
    assert recorded <= {name for name in STAGES if (folder / name).exists()}
    return recorded


@pytest.fixture
def no_process(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_a_second_run_does_no_stage_again(go, no_process):
    assert go() == dict.fromkeys(STAGES, "unchanged")


def test_a_changed_clean_step_reruns_clean_but_not_gather(go, copied_run):
    assert go("clean.1.length.min_words=4", until="clean") == {"gather": "unchanged", "clean": "done"}
    assert finished(copied_run) == {"gather", "clean"}
    report = (copied_run / "small" / "report.html").read_text()
    assert "min_words: 4" in report
    assert f"clean.1.length.min_words=4 --runs {copied_run}</code>" in report


def test_what_follows_a_changed_clean_step_is_out_of_date(small_recipe):
    before = fingerprints(read_recipe(small_recipe))
    after = fingerprints(read_recipe(small_recipe, ["clean.1.length.min_words=4"]))
    assert [name for name in STAGES if before[name] != after[name]] == ["clean", "prepare", "train", "evaluate"]


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("gather.0.licence=CC0-1.0", "gather"),
        ("prepare.max_length=32", "prepare"),
        ("model.base=tiny", "prepare"),
        ("train.seed=1", "train"),
        ("evaluate.0.perplexity.stride=0.4", "evaluate"),
    ],
)
def test_a_change_makes_its_stage_and_those_after_it_out_of_date(small_recipe, override, first):
    before, after = (fingerprints(read_recipe(small_recipe, given)) for given in ([], [override]))
    assert [name for name in STAGES if before[name] != after[name]] == list(STAGES[STAGES.index(first) :])


@pytest.mark.parametrize(
    ("override", "values", "first"),
    [
        ("clean.1.length.min_words=${GIVEN}", ("3", "4"), "clean"),
        ("model.base=${GIVEN}", ("acme/one", "acme/two"), "prepare"),
        ("train.learning_rate=${GIVEN}", ("1e-3", "1e-4"), "train"),
    ],
)
def test_a_value_from_the_environment_counts_as_it_is_now(small_recipe, override, values, first):
    before, after = (fingerprints(read_recipe(small_recipe, [override], {"GIVEN": value})) for value in values)
    assert [name for name in STAGES if before[name] != after[name]] == list(STAGES[STAGES.index(first) :])


def test_the_folder_of_input_files_may_move(small_recipe, tmp_path):
    shutil.copy(small_recipe.parent / "texts.jsonl", tmp_path)
    before, after = (
        fingerprints(read_recipe(small_recipe, ["gather.0.files=${DATA}/texts.jsonl"], {"DATA": str(folder)}))
        for folder in (small_recipe.parent, tmp_path)
    )
    assert before == after


def test_the_command_that_repeats_a_run_names_overrides_and_runs(small_recipe):
    said = pipeline._command(read_recipe(small_recipe), ["name=a", "clean=[length: 3]"], Path("my runs"))
    given = ["steep", "run", str(small_recipe), "name=a", "clean=[length: 3]", "--runs", "my runs"]
    assert shlex.split(said) == given
    assert pipeline._command(read_recipe(small_recipe), [], Path("runs")) == f"steep run {small_recipe}"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prepare.max_length=2048", r"small.yaml:\d+: prepare.max_length: 2,048 is above the model's 256 positions"),
        ("gather.0.files=text.jsonl", r"small.yaml:\d+: gather.0.files: no file matches 'text.jsonl'"),
    ],
)
def test_what_would_stop_a_later_stage_is_said_before_the_first(go, no_process, copied_run, override, words):
    with pytest.raises(RecipeError, match=words):
        go(override)
    assert finished(copied_run) == set(STAGES)


def test_a_file_of_the_current_folder_stands_in_for_no_library(go, tmp_path, monkeypatch):
    (tmp_path / "ftfy.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert go(start="clean", until="clean") == {"gather": "unchanged", "clean": "done"}


def test_a_changed_evaluation_reruns_evaluate_only(go):
    events = go("evaluate.1.continuation.max_new_tokens=3")
    assert events == dict.fromkeys(STAGES[:-1], "unchanged") | {"evaluate": "done"}


def test_a_changed_input_file_reruns_gather(go, small_recipe, copied_run, tmp_path):
    shutil.copytree(small_recipe.parent, tmp_path / "recipe")
    with (tmp_path / "recipe" / "texts.jsonl").open("a") as file:
        file.write('{"text": "One more text about a kettle."}\n')
    assert go(recipe=tmp_path / "recipe" / "small.yaml", until="gather") == {"gather": "done"}
    assert Run(copied_run / "small").summary("gather")["documents"] == 41


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_changed_base_model_makes_prepare_out_of_date(small_recipe, tmp_path, file):
    shutil.copytree(small_recipe.parent, tmp_path / "recipe")
    copy = read_recipe(tmp_path / "recipe" / "small.yaml")
    before = fingerprints(copy)
    with (tmp_path / "recipe" / "base" / file).open("ab") as changed:
        changed.write(b" ")
    after = fingerprints(copy)
    assert [name for name in STAGES if before[name] != after[name]] == ["prepare", "train", "evaluate"]


def test_from_runs_a_stage_again_and_until_stops_after_it(go, copied_run):
    assert go(start="clean", until="clean") == {"gather": "unchanged", "clean": "done"}
    assert finished(copied_run) == {"gather", "clean"}


def test_changed_general_texts_make_evaluate_out_of_date_and_missing_ones_are_said_before_any_work(
    small_recipe, copied_run, go, tmp_path
):
    texts = tmp_path / "general.txt"
    override = f"evaluate=[forgetting: {{texts: {texts}}}]"
    with pytest.raises(RecipeError, match=r"evaluate.*texts: there is no file .*general\.txt"):
        go(override)
    texts.write_text("Rain fell on the roof.")
    before = fingerprints(read_recipe(small_recipe, [override]))
    texts.write_text("Rain fell on the roof all morning.")
    after = fingerprints(read_recipe(small_recipe, [override]))
    assert [name for name in STAGES if before[name] != after[name]] == ["evaluate"]


def test_force_runs_every_stage_again(go, copied_run):
    assert go(force=True, until="gather") == {"gather": "done"}
    assert finished(copied_run) == {"gather"}


def test_until_leaves_later_results_alone_where_nothing_runs(go, copied_run):
    assert go("train.seed=1", until="prepare") == dict.fromkeys(("gather", "clean", "prepare"), "unchanged")
    assert finished(copied_run) == set(STAGES)
    assert Run(copied_run / "small").read()["recipe"]["train"]["seed"] == 42


def test_from_after_until_is_refused():
    with pytest.raises(UsageError, match="--from train comes after --until clean: no stage would run"):
        Options(start="train", until="clean")


def test_force_and_from_contradict_each_other():
    with pytest.raises(UsageError, match="leave out --from, or leave out --force"):
        Options(start="train", force=True)


def test_a_stage_names_what_it_lacks_before_it(go, copied_run):
    shutil.rmtree(copied_run / "small" / "clean")
    with pytest.raises(UsageError, match=r"train needs the stage clean.*`steep clean small\.yaml` that stage alone"):
        go(start="train", until="train")
    assert (copied_run / "small" / "train").exists()


def test_a_lost_report_is_made_again(go, copied_run):
    (copied_run / "small" / "report.html").unlink()
    go()
    assert (copied_run / "small" / "report.html").exists()


@pytest.fixture
def left(copied_run, small_recipe):
    """Clean was interrupted: its folder holds a file that nothing but going on with it would keep."""
    run = Run(copied_run / "small")
    run.discard(STAGES[1:])
    run.begin("clean", fingerprints(read_recipe(small_recipe))["clean"])
    (run.partial("clean") / "left").touch()
    return run.stage("clean") / "left"


@pytest.mark.parametrize("start", [None, "clean"])
def test_interrupted_work_goes_on(go, left, start):
    go(start=start, until="clean")
    assert left.exists()


def test_work_interrupted_under_another_recipe_is_thrown_away(go, left):
    go("clean.1.length.min_words=4", until="clean")
    assert not left.exists()


def test_force_throws_interrupted_work_away(go, left):
    go(force=True, until="clean")
    assert not left.exists()


def test_a_failed_stage_is_named_and_keeps_those_before(go, copied_run):
    with pytest.raises(SteepError, match=r"the stage clean failed: clean left no document: the step length dropped"):
        go("clean.1.length.min_words=1000")
    assert finished(copied_run) == {"gather"}
    assert not (copied_run / "small" / "report.html").exists()  # it would tell of results that are out of date


def test_a_change_that_fails_early_costs_no_trained_model(go, copied_run):
    weights = copied_run / "small" / "train" / "model" / "model.safetensors"
    with pytest.raises(SteepError, match="the stage clean failed"):
        go("clean.1.length.min_words=1000")
    assert weights.exists()
    with pytest.raises(RunError, match="the stage train is not finished"):
        Run(copied_run / "small").need("train")


def test_an_unexpected_exception_shows_its_traceback_and_its_stage(go, copied_run, capfd):
    path = copied_run / "small" / "gather" / "documents" / "part-0.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(SteepError, match="the stage clean failed: see the traceback above"):
        go(start="clean")
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [("SIGKILL", "killed from outside .*memory.*lower train.batch_size"), ("SIGSEGV", "ended by SIGSEGV")],
)
def test_a_stage_that_a_signal_ended_is_explained(monkeypatch, go, copied_run, number, words):
    monkeypatch.setattr(sys, "executable", str(suicide(copied_run, number)))
    with pytest.raises(SteepError, match="the stage train") as raised:
        go(start="train")
    assert raised.match(words)


def suicide(folder: Path, number: str) -> Path:
    script = folder / "python"
    script.write_text(f"#!/bin/sh\nkill -{number.removeprefix('SIG')} $$\n")
    script.chmod(0o755)
    return script


def test_a_second_run_at_a_time_is_refused(go, copied_run, monkeypatch):
    monkeypatch.setattr("steep.runs.PATIENCE", 0.1)
    with hold(Run(copied_run / "small")), pytest.raises(RunError, match=f"in use by process {os.getpid()}, since"):
        go()


def test_versions_and_hardware_are_those_of_the_work(go, copied_run, monkeypatch):
    monkeypatch.setattr(pipeline, "_hardware", lambda: {"system": "another"})
    go()
    assert Run(copied_run / "small").read()["hardware"] != {"system": "another"}


def test_a_folder_with_the_signs_of_a_pattern_in_its_name_is_a_folder(small_recipe, tmp_path):
    run_recipe(small_recipe, runs=tmp_path / "[ab]*", options=Options(until="clean"))
    assert Run(tmp_path / "[ab]*" / "small").summary("clean")["documents"] == 40


# ------------------------------------------------------------------------------------------------ ends at bad moments


def ledgers(folder):
    """What an evaluation has kept so far of each model, in lines."""
    names = ("base", "few_shot", "tuned")
    return {name: path.read_text().splitlines() for name in names if (path := folder / f"{name}.jsonl").exists()}


def test_an_evaluation_that_is_killed_goes_on_where_it_was_and_ends_as_if_nothing_had_happened(
    small_recipe, small_run, copied_run
):
    command, run = ("run", small_recipe, "--runs", copied_run), Run(copied_run / "small")
    run.discard(["evaluate"])
    partial = run.partial("evaluate")
    started = Started(*command, cwd=copied_run).when(lambda: len(ledgers(partial).get("few_shot", ())) > 1)
    assert started.send(signal.SIGKILL)[0] == -signal.SIGKILL
    before = ledgers(partial)["base"]
    assert len(before) > 1
    assert "evaluate" not in finished(copied_run)
    started = Started(*command, cwd=copied_run).when(lambda: "tuned" in ledgers(partial))
    after = ledgers(partial)["base"]
    code, output = started.ended()
    assert code == 0, output
    assert after == before, "the base model was measured again"
    for name in ("scores.json", "samples.jsonl"):
        uninterrupted = small_run.cwd / "runs" / "small" / "evaluate" / name
        assert (run.stage("evaluate") / name).read_bytes() == uninterrupted.read_bytes()
    assert ledgers(run.stage("evaluate")) == {}


@pytest.mark.parametrize("stage", ["gather", "clean"])
def test_a_kill_in_an_early_stage_leaves_nothing_half_done(stage, small_recipe, tmp_path):
    command = ("run", small_recipe, "--until", stage)
    folder = tmp_path / "runs" / "small"
    Started(*command, cwd=tmp_path).when((folder / f".{stage}.partial").exists).send(signal.SIGKILL)
    assert finished(tmp_path / "runs") == set(STAGES[: STAGES.index(stage)])
    events = {}
    run_recipe(
        small_recipe,
        runs=tmp_path / "runs",
        options=Options(until=stage),
        note=lambda folder, name, event, seconds: events.update({name: event}),
    )
    before = STAGES[: STAGES.index(stage)]
    assert events == dict.fromkeys(before, "unchanged") | {stage: "done"}


def test_each_interrupt_is_handed_on_to_the_stage():
    # where other tests have used Daft in this process, its handler stands here and lets a read go on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    script = "trap 'n=$((n+1)); echo $n; [ $n = 2 ] && exit 7' INT; while :; do sleep 0.02; done"
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, process_group=0)
    timers = [threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)) for after in (0.3, 1.2)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        pipeline._words(child)
    assert child.returncode == 7  # it ended by itself, at the second


def test_ctrl_c_while_a_stage_is_being_started_shows_no_traceback(small_recipe, tmp_path):
    partial = tmp_path / "runs" / "small" / ".gather.partial"
    started = Started("run", small_recipe, cwd=tmp_path).when(partial.exists)
    time.sleep(0.05)  # the child imports
    code, output = started.send(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in output
    assert finished(tmp_path / "runs") == set()


def test_a_changed_function_of_the_user_makes_clean_run_again(tmp_path: Path) -> None:
    text = 'name: any\ngather: [{files: texts.txt}]\nclean: [{function: {call: "mine:mend"}}]\n'
    (tmp_path / "texts.txt").write_text("some text", "utf-8")
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    (tmp_path / "mine.py").write_text("def mend(document):\n    return document['text']\n", "utf-8")
    before = fingerprints(read_recipe(tmp_path / "recipe.yaml"))
    (tmp_path / "mine.py").write_text("def mend(document):\n    return document['title']\n", "utf-8")
    after = fingerprints(read_recipe(tmp_path / "recipe.yaml"))
    assert before["gather"] == after["gather"]
    assert before["clean"] != after["clean"]


def test_a_limit_does_not_replace_a_gather_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("some text", "utf-8")
    (tmp_path / "recipe.yaml").write_text("name: any\ngather: [{files: texts.txt}]\n", "utf-8")
    run_recipe(tmp_path / "recipe.yaml", runs=tmp_path / "runs", options=Options(until="gather"))
    run = Run(tmp_path / "runs/any")
    run.discard(["gather"], keep="gather")
    shutil.rmtree(run.stage("gather"))
    (run.partial("gather") / "state").mkdir(parents=True)
    with pytest.raises(UsageError, match="a limit would replace it"):
        run_recipe(tmp_path / "recipe.yaml", ["limit=3"], runs=tmp_path / "runs", options=Options(until="gather"))
    assert (run.partial("gather") / "state").is_dir()

"""The run folder: what counts as finished, who holds it, what damage to it looks like."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from steep.errors import RunError
from steep.runs import Run, file_hash, fingerprint, hold, write_atomically


@pytest.fixture
def run(tmp_path):
    (tmp_path / "x").mkdir()
    return Run(tmp_path / "x")


def finish(run, name, **summary):
    run.begin(name, f"print of {name}")
    (run.partial(name) / "summary.json").write_text(json.dumps(summary))
    run.finish(name, 1.5)


def test_a_finished_stage_has_its_folder_and_its_record(run):
    finish(run, "gather", documents=3)
    assert run.summary("gather") == {"documents": 3}
    assert not run.partial("gather").exists()
    record = run.read()["stages"]["gather"]
    assert (record["fingerprint"], record["seconds"]) == ("print of gather", 1.5)


def test_a_folder_without_a_record_is_no_result(run):
    finish(run, "gather")
    run.write({})
    with pytest.raises(RunError, match="the stage gather is not finished; run `steep gather RECIPE` first"):
        run.need("gather")


def test_a_record_without_a_folder_is_no_result(run):
    finish(run, "gather")
    run.stage("gather").rmdir() if not any(run.stage("gather").iterdir()) else run.stage("gather").rename(
        run.folder / "y"
    )
    with pytest.raises(RunError, match="not finished"):
        run.need("gather")


def test_only_work_begun_from_the_same_inputs_was_interrupted(run):
    run.begin("train", "one")
    assert run.interrupted("train", "one")
    assert not run.interrupted("train", "other")
    assert not run.interrupted("clean", "one")


def test_a_finished_stage_was_not_interrupted(run):
    finish(run, "train")
    assert not run.interrupted("train", "print of train")


def test_discarded_stages_are_forgotten_with_the_report_on_them_and_their_folders_stay(run):
    for name in ("gather", "clean", "prepare"):
        finish(run, name)
    run.begin("train", "print")
    (run.folder / "report.html").touch()
    run.discard(("clean", "prepare", "train"), keep="train")
    left = [".train.partial", "clean", "gather", "prepare", "run.json"]
    assert sorted(path.name for path in run.folder.iterdir()) == left
    assert list(run.read()["stages"]) == ["gather"]
    assert run.interrupted("train", "print")


def test_a_stage_done_again_takes_the_place_of_the_one_before(run):
    finish(run, "train")
    (run.stage("train") / "model").touch()
    run.discard(("train",))
    run.begin("train", "other")
    assert (run.stage("train") / "model").exists()
    run.finish("train", 1.0)
    assert list(run.stage("train").iterdir()) == []


@pytest.mark.parametrize(("print_", "goes_on"), [("one", True), ("other", False)])
def test_only_interrupted_work_on_the_same_inputs_goes_on(run, print_, goes_on):
    run.begin("train", "one")
    (run.partial("train") / "checkpoint").touch()
    run.begin("train", print_)
    assert (run.partial("train") / "checkpoint").exists() == goes_on


def test_discarded_work_does_not_go_on(run):
    run.begin("train", "print")
    run.discard(("clean", "train"), keep="clean")
    assert not run.interrupted("train", "print")


@pytest.mark.parametrize("content", ["{", "[]", "\x00\x00"])
def test_a_damaged_record_is_named_with_what_to_do(run, content):
    (run.folder / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json is damaged \(.+\): remove .*run\.json, and every stage runs again"):
        run.read()


@pytest.mark.parametrize("content", [None, "{"])
def test_a_damaged_summary_is_named_with_what_to_do(run, content):
    finish(run, "clean")
    path = run.stage("clean") / "summary.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RunError, match=r"summary\.json is damaged .*: remove .*x/clean, and the stage runs again"):
        run.summary("clean")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"


def test_a_second_process_is_told_who_holds_the_folder(run, monkeypatch):
    monkeypatch.setattr("steep.runs.PATIENCE", 0.2)
    code = (
        "import sys; from pathlib import Path; from steep.runs import *\n"
        "with hold(Run(Path(sys.argv[1]))): print(1, flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    other.stdout.readline()
    try:
        with (
            pytest.raises(RunError, match=rf"in use by process {other.pid}, since \d{{4}}-.*wait for it, stop it"),
            hold(run),
        ):
            pass
    finally:
        other.kill()
        other.communicate()
    with hold(run):  # the lock ended with the process
        assert str(os.getpid()) in (run.folder / ".lock").read_text()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=r"cannot write to .*file/x \(.+\): give another folder with --runs"),
        hold(Run(tmp_path / "file" / "x")),
    ):
        pass


def test_a_fingerprint_depends_on_values_and_not_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint("\ud800")  # half a surrogate pair, as broken input has it


def test_a_file_is_known_by_its_content(tmp_path):
    for name, content in {"a": "x", "b": "x", "c": "y"}.items():
        (tmp_path / name).write_text(content)
    a, b, c = (file_hash(tmp_path / name) for name in "abc")
    assert a == b != c

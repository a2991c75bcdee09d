"""Runs of a recipe with other values share what its own run has finished, and are processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steep.errors import INTERRUPTED
from steep.pipeline import fingerprints
from steep.runs import Run
from steep.variants import Variant, share, start


@pytest.fixture
def base(copied_run: Path) -> Run:
    return Run(copied_run / "small")


def variant(recipe: Path, base: Run, *words: str) -> Variant:
    return Variant(recipe, [*words, "name=other"], base.folder / "variants")


def test_what_was_prepared_is_shared(small_recipe: Path, base: Run) -> None:
    other = variant(small_recipe, base, "train.learning_rate=0.1")
    run = share(base, other)
    assert run.unchanged(fingerprints(other.read())) == ("gather", "clean", "prepare")


def test_shared_stages_take_no_room_and_outlive_those_of_the_base(small_recipe: Path, base: Run) -> None:
    run = share(base, variant(small_recipe, base))
    ours, theirs = (one.stage("prepare") / "train.parquet" for one in (run, base))
    assert ours.samefile(theirs)
    shutil.rmtree(base.stage("prepare"))
    assert ours.exists()


def test_a_stage_that_differs_is_not_shared_and_neither_are_those_after_it(small_recipe: Path, base: Run) -> None:
    run = share(base, variant(small_recipe, base, "clean=[whitespace]"))
    assert list(run.read()["stages"]) == ["gather"]


def test_a_training_is_never_shared(small_recipe: Path, base: Run) -> None:
    assert "train" in base.read()["stages"]
    assert not share(base, variant(small_recipe, base)).stage("train").exists()


def test_what_is_there_already_is_kept(small_recipe: Path, base: Run) -> None:
    run = share(base, variant(small_recipe, base))
    (run.stage("prepare") / "mark").touch()
    share(base, variant(small_recipe, base))
    assert (run.stage("prepare") / "mark").exists()


def test_a_variant_runs_as_a_process_of_its_own(small_recipe: Path, base: Run) -> None:
    other = variant(small_recipe, base, "train.max_steps=2")
    child = start(other, share(base, other), until="train")
    assert child.process.wait(300) == 0
    assert child.run.summary("train")["steps"] == 2


def test_what_stops_a_variant_is_in_its_log(small_recipe: Path, base: Run) -> None:
    run = share(base, variant(small_recipe, base))
    child = start(variant(small_recipe, base, "train.epochs=-1"), run, until="prepare")
    assert child.process.wait(300) == 2
    assert "override train.epochs=-1: train.epochs: must be above 0, got -1" in child.words


def test_an_interrupted_variant_keeps_what_it_has(small_recipe: Path, base: Run) -> None:
    other = variant(small_recipe, base, "train.max_steps=5000", "train.save_steps=10")
    child = start(other, share(base, other), until="train")
    metrics = child.run.partial("train") / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    child.interrupt()
    assert child.process.returncode == INTERRUPTED
    assert list(child.run.partial("train").glob("checkpoint-*"))


def test_a_variant_ends_with_the_process_that_started_it(small_recipe: Path, base: Run) -> None:
    other = variant(small_recipe, base, "train.max_steps=5000")
    run = share(base, other)
    code = (
        "import json, sys, time; from pathlib import Path; from steep.runs import Run; from steep.variants import *\n"
        "path, words, runs, folder = json.loads(sys.argv[1])\n"
        "child = start(Variant(Path(path), words, Path(runs)), Run(Path(folder)), until='train')\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    words = json.dumps([str(other.path), list(other.overrides), str(other.runs), str(run.folder)])
    parent = subprocess.Popen([sys.executable, "-c", code, words], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    while not run.partial("train").exists():  # it has begun, and watches
        time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody waits for."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

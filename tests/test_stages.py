"""A stage as a process: how it ends, and what it says."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from steep import stages
from steep.advice import explain
from steep.config import read_recipe, recipe_from_stored
from steep.demo import serve_site
from steep.errors import SteepError
from steep.runs import Run
from steep.stages import Stage


def disk(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - free, free))


FULL = r"no space left on the disk of .*: free some, and the same command goes on from here"
MEMORY = (
    "out of memory: lower train.batch_size and raise train.gradient_accumulation_steps as much, or set "
    "train.gradient_checkpointing=true. The same command goes on from here"
)


class OutOfMemoryError(RuntimeError):  # torch's is called so
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SteepError("as it is"), "as it is"),
        (OSError(errno.ENOSPC, "No space left on device", "file"), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        (ValueError("I/O error: No space left on device (os error 28)"), FULL),  # as safetensors says it
        (MemoryError(), MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), MEMORY),
    ],
)
def test_what_users_can_cause_is_explained(error, words, tmp_path):
    assert re.fullmatch(words, explain(error, "train", tmp_path))


def test_a_write_that_failed_without_saying_why_on_a_full_disk_is_explained(monkeypatch, tmp_path):
    disk(monkeypatch, free=4096)
    said = "PytorchStreamWriter failed writing file data/0: file write failed"
    assert "no space left" in explain(RuntimeError(said), "train", tmp_path)


def test_an_error_in_a_folder_that_is_gone_is_left_to_its_traceback(tmp_path):
    assert explain(RuntimeError("shapes do not match"), "train", tmp_path / "gone") is None


def test_any_other_error_is_left_to_its_traceback(monkeypatch, tmp_path):
    disk(monkeypatch, free=10**10)
    assert explain(RuntimeError("shapes do not match"), "train", tmp_path) is None


def test_a_stage_whose_parent_is_gone_ends(small_run, copied_run):
    run = Run(copied_run / "small")
    run.discard(("train", "evaluate"))
    run.begin("train", "print")
    begin = time.monotonic()
    gone = 2**22 + 1  # above any process id
    ended = subprocess.run([sys.executable, "-m", "steep.stages", run.folder, "train", str(gone)])
    assert ended.returncode == 1
    assert time.monotonic() - begin < 3
    assert "train" not in run.read()["stages"]


def test_the_commit_of_a_hub_model_is_kept_with_the_run(copied_run, tmp_path, tiny_model, tokenizer, monkeypatch):
    repository = tmp_path / "cache" / "models--acme--llama"
    for name, text in {"refs/main": "c0ffee", "snapshots/c0ffee/config.json": "{}"}.items():
        (repository / name).parent.mkdir(parents=True)
        (repository / name).write_text(text)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("steep.stages.training._base_model", lambda stage, tokenizer: tiny_model)
    monkeypatch.setattr("steep.stages.training.tokenizer_of", lambda stage, revision: tokenizer)
    run = Run(copied_run / "small")
    record = run.read()
    record["recipe"]["model"]["base"] = "acme/llama"
    record["recipe"]["train"] |= {"max_steps": 1, "warmup_ratio": 0.0}
    stage = Stage(run, recipe_from_stored(record["recipe"]), Path(record["folder"]), run.partial("train"))
    stages.train(stage)
    summary = json.loads((stage.work / "summary.json").read_text())
    assert (summary["base_revision"], summary["steps"]) == ("c0ffee", 1)


@pytest.mark.parametrize(("given", "used"), [(None, "c0ffee"), ("v2", "v2")])
def test_the_base_that_is_measured_is_the_commit_that_was_trained(given, used, copied_run, monkeypatch):
    class Asked(Exception):
        pass

    def load(name, *, revision, **options):
        raise Asked(revision)

    monkeypatch.setattr("steep.models.load_model", load)
    run = Run(copied_run / "small")
    summary = run.summary("train") | {"base_revision": "c0ffee"}
    (run.stage("train") / "summary.json").write_text(json.dumps(summary))
    record = run.read()
    record["recipe"]["model"] |= {"revision": given} if given else {}
    stage = Stage(run, recipe_from_stored(record["recipe"]), Path(record["folder"]), run.partial("evaluate"))
    with pytest.raises(Asked, match=used):
        stages.evaluate(stage)


def test_gather_counts_licences_what_robots_txt_said_and_why_something_failed(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "Free."}\n{"text": "As air."}\n{}\n{}\n')
    with serve_site(0) as address:
        web = f"  - web: {address}/\n    max_pages: 1\n"
        files = "  - files: texts.jsonl\n    licence: CC0 1.0\n"
        (tmp_path / "recipe.yaml").write_text(f"name: counted\ngather:\n{web}{files}")
        recipe = read_recipe(tmp_path / "recipe.yaml")
        run = Run(tmp_path / "counted")
        run.folder.mkdir()
        run.write({"stages": {}, "recipe": recipe.stored})
        stages.gather(Stage(run, recipe.recipe, tmp_path, run.partial("gather")))
    summary = json.loads((run.partial("gather") / "summary.json").read_text())
    assert summary["licences"] == {"cc0": 2, "none": 1}
    assert summary["robots"] == {"allowed": 1}
    assert sum(summary["reasons"].values()) == summary["failed"] == 2

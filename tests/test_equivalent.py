"""One recipe through the command line: however its steps are shared out, packed, read or interrupted, one training."""

from __future__ import annotations

import json
import shutil
import signal

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from conftest import SHAPE, Started, steep
from steep.models import new_model
from steep.runs import Run
from together import EXAMPLES

RECIPE = """
name: same
gather:
  - files: texts.jsonl
prepare: {max_length: 48, split: {test: 0.2}}
model: {base: base}
train: {learning_rate: 3.0e-3, max_steps: 60, batch_size: 8, packing: false, dtype: float32, save_steps: 5}
"""
WAYS = {
    "8": [],
    "4 x 2 accumulated": ["train.batch_size=4", "train.gradient_accumulation_steps=2"],
    "2 processes x 4": ["train.batch_size=4", "train.devices=2"],
    "from disk": ["train.streaming=true"],
    "packed": ["train.packing=true"],
}


@pytest.fixture(scope="module")
def recipe(tokenizer, tmp_path_factory):
    """Its first three stages are done. Every step has all eight examples, so packed rows hold the same ones."""
    folder = tmp_path_factory.mktemp("equivalent")
    new_model(SHAPE, tokenizer, seed=0).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    lines = [json.dumps(row) + "\n" for row in EXAMPLES.slice(0, 10).to_pylist()]
    (folder / "texts.jsonl").write_text("".join(lines))
    (folder / "same.yaml").write_text(RECIPE)
    done = steep("run", "same.yaml", "--until", "prepare", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(folder / "runs/same/prepare/train.parquet").num_rows == 8
    return folder / "same.yaml"


def arguments(recipe, runs, *overrides):
    """Of a training on a copy of what was prepared."""
    shutil.copytree(recipe.parent / "runs", runs)
    return ("train", recipe, *overrides, "--runs", runs)


def read(runs):
    """The lines of a training's metrics, and its weights."""
    folder = Run(runs / "same").stage("train")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 61))
    return rows, load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def trained(recipe):
    """What each way gave, each trained once."""
    found = {}

    def training(way):
        if way not in found:
            runs = recipe.with_name(way)
            done = steep(*arguments(recipe, runs, *WAYS[way]), cwd=recipe.parent)
            assert done.returncode == 0, done.stderr
            found[way] = read(runs)
        return found[way]

    return training


@pytest.mark.parametrize("way", [way for way in WAYS if way != "8"])
def test_the_same_losses_and_weights_come_out(trained, way):
    (rows, weights), (expected, wanted) = trained(way), trained("8")
    for name in ("loss", "grad_norm", "learning_rate"):
        values = [row[name] for row in expected]
        assert [row[name] for row in rows] == pytest.approx(values, rel=1e-5, abs=1e-5), name
    torch.testing.assert_close(weights, wanted, rtol=0, atol=1e-5)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1


def steps_of(folder):
    return (folder / "metrics.jsonl").read_bytes().splitlines()


def test_killed_and_interrupted_it_ends_with_the_same_bits(recipe, trained):
    runs = recipe.with_name("resumed")
    command = arguments(recipe, runs)
    folder = Run(runs / "same")
    partial = folder.partial("train")
    for number in (signal.SIGKILL, signal.SIGINT):
        goal = saved(partial) + 10
        started = Started(*command, cwd=recipe.parent).when(lambda goal=goal: saved(partial) >= goal)
        code, output = started.send(number, group=number == signal.SIGKILL)
        assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert "train" not in folder.read()["stages"]
        before = steps_of(partial)[: saved(partial)]
        assert goal <= len(before) < 60
    assert "Interrupted. What was finished is kept: the same command goes on from here." in output
    done = steep(*command, cwd=recipe.parent)
    assert done.returncode == 0, done.stderr
    assert steps_of(folder.stage("train"))[: len(before)] == before, "with their times: none was done again"
    (rows, weights), (expected, wanted) = read(runs), trained("8")
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    torch.testing.assert_close(weights, wanted, rtol=0, atol=0)


def saved(partial):
    """The step of the newest whole checkpoint."""
    return max((int(path.parent.name.split("-")[1]) for path in partial.glob("checkpoint-*/complete")), default=0)

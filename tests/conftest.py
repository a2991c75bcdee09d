"""Shared fixtures: a tokenizer and a Llama of a few thousand weights, made in memory; nothing reaches the network."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same on a machine with a GPU as on one without

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steep.models import new_model, train_tokenizer
from steep.recipe import Architecture

CHROMIUM = Path("/usr/bin/chromium")
WORDS = (
    "The kettle sings when the water is ready. A quick brown fox jumps over the lazy dog by the harbour wall. "
    "Rain fell on the roof all morning, and nobody minded. Ünïcode, numbers 1 2 3 and punctuation: all here!"
)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([WORDS] * 20, vocab_size=400, model_max_length=256)


SHAPE = Architecture(
    vocab_size=400,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)


@pytest.fixture
def tiny_model(tokenizer):
    return new_model(SHAPE, tokenizer, seed=0)


@pytest.fixture(scope="session")
def steep_data() -> Path:
    """The folder of real data, from ``STEEP_DATA``; tests that need it are skipped without."""
    folder = os.environ.get("STEEP_DATA")
    if not folder:
        pytest.skip("STEEP_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


# --------------------------------------------------------------------------------------------------- a whole small run

SMALL = """
name: small
gather:
  - files: texts.jsonl
clean:
  - whitespace
  - length: {min_words: 3}
prepare:
  max_length: 64
model:
  base: base
train:
  method: full
  learning_rate: 1.0e-2
  max_steps: 200
  batch_size: 2
  dtype: float32
  save_steps: 20
evaluate:
  - perplexity
  - continuation: {max_new_tokens: 4, metrics: [bleu]}
  - few_shot: {examples: 1}
  - contamination
  - memorization: {min_tokens: 3}
  - forgetting
"""


def steep(*arguments, cwd, timeout=100, **environment):
    """Run the command line to its end."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("steep")), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
    )


def write_small_recipe(folder, tokenizer):
    model = new_model(SHAPE, tokenizer, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS.split(), k=24)) for _ in range(40)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "small.yaml").write_text(SMALL)
    return folder / "small.yaml"


@pytest.fixture(scope="session")
def small_recipe(tokenizer, tmp_path_factory) -> Path:
    """A recipe of which the whole run takes 20 s, most of them to import libraries. Not to be written to."""
    return write_small_recipe(tmp_path_factory.mktemp("recipe"), tokenizer)


@pytest.fixture(scope="session")
def small_run(small_recipe, tmp_path_factory):
    """The finished process of that recipe, whose ``cwd`` holds ``runs/small``. Not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    done = steep("run", small_recipe, cwd=folder)
    assert done.returncode == 0, done.stderr
    done.cwd = folder
    return done


@pytest.fixture
def copied_run(small_run, tmp_path) -> Path:
    """A copy of that run, to do with as one likes: the folder that holds ``small``."""
    shutil.copytree(small_run.cwd / "runs", tmp_path / "runs")
    return tmp_path / "runs"

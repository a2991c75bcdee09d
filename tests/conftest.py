"""Shared fixtures: a tokenizer and a Llama of a few thousand weights, made in memory; nothing reaches the network."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several tests run at a time, and some in several processes
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # else each process loads Inductor, for bitsandbytes
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same on a machine with a GPU as on one without

import json
import pickle
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from steep.models import new_model, train_tokenizer
from steep.recipe import Architecture

CHROMIUM = Path("/usr/bin/chromium")
LONGEST = (
    "test_launch",
    "test_train_matrix",
    "test_pipeline",
    "test_resuming",
    "test_sweep_trained",
    "test_objectives",
    "test_train_parallel",
    "test_equivalent",
    "test_cli",
    "test_train_options",
)
"""Files that take a minute or more: first, so that at the end no worker waits for one of them."""
WORDS = (
    "The kettle sings when the water is ready. A quick brown fox jumps over the lazy dog by the harbour wall. "
    "Rain fell on the roof all morning, and nobody minded. Ünïcode, numbers 1 2 3 and punctuation: all here!"
)


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


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


def steep(*arguments, cwd, **environment):
    """Run the command line to its end."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("steep")), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


class Started:
    """The command line at work in a process group of its own; ``processes`` are those that it has started."""

    def __init__(self, *arguments, cwd):
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("steep"), *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def when(self, reached):
        deadline = time.monotonic() + 300
        while not reached():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "never reached"
            time.sleep(0.002)
        self.processes = psutil.Process(self.process.pid).children(recursive=True)
        return self

    def send(self, number, *, group=True):
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.ended()

    def ended(self):
        """Its exit code and what it said, once all that it started is gone."""
        output, _ = self.process.communicate(timeout=300)
        _, alive = psutil.wait_procs(self.processes, timeout=10)
        assert not alive, "a stage outlived its parent"
        return self.process.returncode, output


def write_small_recipe(folder, tokenizer):
    new_model(SHAPE, tokenizer, seed=0).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS.split(), k=24)) for _ in range(40)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "small.yaml").write_text(SMALL)
    return folder / "small.yaml"


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that the workers of pytest-xdist have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def small_recipe(tokenizer, shared) -> Path:
    """A recipe of which the whole run takes 35 s, most of them to import libraries. Not to be written to."""
    folder = shared / "recipe"
    with FileLock(shared / "recipe.lock"):
        if not (folder / "small.yaml").exists():
            write_small_recipe(folder, tokenizer)
    return folder / "small.yaml"


@pytest.fixture(scope="session")
def small_run(small_recipe, shared):
    """The finished process of that recipe, whose ``cwd`` holds ``runs/small``. Not to be written to."""
    folder, kept = shared / "finished", shared / "finished.pickle"
    with FileLock(shared / "finished.lock"):
        if not kept.exists():
            folder.mkdir()
            done = steep("run", small_recipe, cwd=folder)
            assert done.returncode == 0, done.stderr
            done.cwd = folder
            kept.write_bytes(pickle.dumps(done))
    return pickle.loads(kept.read_bytes())


@pytest.fixture
def copied_run(small_run, tmp_path) -> Path:
    """A copy of that run, to do with as one likes: the folder that holds ``small``."""
    shutil.copytree(small_run.cwd / "runs", tmp_path / "runs")
    return tmp_path / "runs"

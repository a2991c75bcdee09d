"""Two GPUs train as one does: in bfloat16 to its precision, in float32 to the last digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SHAPE
from steep.models import new_model
from steep.preflight import gpus

TOGETHER = Path(__file__).parents[1] / "together.py"
KINDS = {
    "LoRA by DDP": {"method": "lora"},
    "full by FSDP2": {"method": "full"},
    "full by FSDP2, checkpointed": {"method": "full", "gradient_checkpointing": True},
    "QLoRA by FSDP2": {"method": "lora", "parallel": "fsdp", "quantized": True},
    "QLoRA by DDP": {"method": "lora", "quantized": True},
}


@pytest.fixture
def course(tmp_path, tokenizer, monkeypatch):
    """The losses of a kind of training on so many GPUs, in processes that see them; other tests do not."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if len(gpus()) < 2:
        pytest.skip("needs two GPUs")
    new_model(SHAPE, tokenizer, seed=0).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")

    def trained(count, **options):
        folder = tmp_path / f"{count}"
        jobs = [(str(folder), {"devices": count, "batch_size": 8 // count, **options})]
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        done = subprocess.run(
            [sys.executable, *launcher, TOGETHER, tmp_path / "base", json.dumps(jobs)],
            env={**os.environ, "OMP_NUM_THREADS": "4"},
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    return trained


@pytest.mark.parametrize("kind", KINDS)
def test_two_gpus_have_the_losses_of_one(course, kind):
    expected = course(1, **KINDS[kind])
    assert course(2, **KINDS[kind]) == pytest.approx(expected, abs=1e-4, rel=0)
    assert expected[-1] < expected[0] - 0.1


@pytest.mark.parametrize("kind", ["LoRA by DDP", "full by FSDP2"])
def test_two_gpus_in_bfloat16_have_nearly_the_losses_of_one(course, kind):
    expected = course(1, dtype="bfloat16", **KINDS[kind])
    assert course(2, dtype="bfloat16", **KINDS[kind]) == pytest.approx(expected, rel=0.01)

"""One process or several, in one go or interrupted: the same losses and the same weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steep.errors import UsageError
from steep.models import new_model
from steep.recipe import Train
from steep.train import parallel
from steep.train.order import Shuffled
from steep.train.saving import trainable_state
from together import train

KINDS = {
    "LoRA": {"method": "lora"},
    "full by FSDP2, packed": {"method": "full"},
    "full by FSDP2, unpacked": {"method": "full", "packing": False},
    "full by FSDP2, checkpointed": {"method": "full", "gradient_checkpointing": True},
    "LoRA by FSDP2, checkpointed": {"method": "lora", "parallel": "fsdp", "gradient_checkpointing": True},
    "QLoRA by FSDP2": {"method": "lora", "parallel": "fsdp", "quantized": True},
}
DDP, FSDP = [kind for kind in KINDS if "FSDP2" not in kind], [kind for kind in KINDS if "FSDP2" in kind]
RESUMED = ("LoRA", "full by FSDP2, packed", "QLoRA by FSDP2")


def together(base, jobs):
    """Train in two processes, one job after another."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [str(Path(__file__).with_name("together.py")), str(base), json.dumps(jobs)]
    done = subprocess.run([sys.executable, "-m", *launcher, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def halves(source, folder):
    """A run as it is when it was killed after its sixth step."""
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "checkpoint-12")
    return folder


@pytest.fixture(scope="module")
def courses(tmp_path_factory, tokenizer):
    """Of each kind, the folders of a training in one process, accumulated, in two, and with a change midway."""
    from conftest import SHAPE

    home = tmp_path_factory.mktemp("courses")
    new_model(SHAPE, tokenizer, seed=0).save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    for kind, options in KINDS.items():
        train(home / "base", home / kind / "one", batch_size=8, **options)
        train(home / "base", home / kind / "accumulated", batch_size=2, gradient_accumulation_steps=4, **options)
    for kinds in (DDP, FSDP):
        jobs = [(home / kind / "two", {"devices": 2, "batch_size": 4, **KINDS[kind]}) for kind in kinds]
        for kind in set(kinds) & set(RESUMED):
            again = halves(home / kind / "one", home / kind / "one to two")
            jobs.append((again, {"devices": 2, "batch_size": 2, "gradient_accumulation_steps": 2, **KINDS[kind]}))
        together(home / "base", [(str(folder), options) for folder, options in jobs])
    for kind in RESUMED:
        again = halves(home / kind / "two", home / kind / "two to one")
        train(home / "base", again, batch_size=8, **KINDS[kind])
    return home


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    (path,) = [*folder.glob("model/*.safetensors"), *folder.glob("adapter/*.safetensors")]
    return load_file(path)


def assert_same_course(found, expected):
    assert [row["step"] for row in rows(found)] == [*range(1, 13)]
    for name in ("loss", "grad_norm", "learning_rate"):
        values = [row[name] for row in rows(expected)]
        assert [row[name] for row in rows(found)] == pytest.approx(values, rel=1e-5, abs=1e-5), name
    wanted = weights(expected)
    assert weights(found).keys() == wanted.keys()
    for name, weight in weights(found).items():
        torch.testing.assert_close(weight, wanted[name], rtol=0, atol=1e-5, msg=name)
    losses = [row["loss"] for row in rows(found)]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["accumulated", "two"])
def test_eight_rows_are_the_same_step_accumulated_and_on_two_processes(courses, kind, way):
    assert_same_course(courses / kind / way, courses / kind / "one")


@pytest.mark.parametrize("kind", RESUMED)
@pytest.mark.parametrize("way", ["one to two", "two to one"])
def test_a_training_goes_on_with_another_number_of_processes(courses, kind, way):
    assert_same_course(courses / kind / way, courses / kind / "one")


@pytest.mark.parametrize("kind", RESUMED)
def test_a_checkpoint_of_two_processes_is_that_of_one(courses, kind):
    states = {}
    for way in ("one", "two"):
        folder = courses / kind / way / "checkpoint-8"
        states[way] = torch.load(folder / "optimizer.pt", weights_only=True)
        assert (folder / "complete").exists()
    assert states["one"]["param_groups"][0]["params"] == states["two"]["param_groups"][0]["params"]
    for index, state in states["one"]["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(states["two"]["state"][index][name], value, rtol=0, atol=1e-5)


def test_the_summary_counts_the_parameters_of_all_processes(courses):
    found = [
        json.loads((courses / "full by FSDP2, packed" / way / "summary.json").read_text()) for way in ("one", "two")
    ]
    assert [one["devices"] for one in found] == [1, 2]
    assert found[0]["parameters"] == found[1]["parameters"]


def test_an_epoch_has_each_row_once_and_the_filling_at_its_end():
    order = Shuffled(rows=5, filling=3, seed=1)
    drawn = []
    for epoch in range(3):
        order.set_epoch(epoch)
        drawn.append(list(order))
    assert all(sorted(one[:5]) == [0, 1, 2, 3, 4] and one[5:] == [5, 6, 7] for one in drawn)
    assert drawn[0] != drawn[1]


def test_full_training_on_several_devices_is_divided_and_adapters_are_not():
    assert "fsdp" in parallel.parallel_arguments(Train(method="full", devices=2))
    assert "fsdp" not in parallel.parallel_arguments(Train(method="lora", nodes=2))
    assert parallel.parallel_arguments(Train(method="full")) == {}


def test_a_wrong_number_of_processes_says_how_to_start_them():
    with pytest.raises(
        UsageError, match=r"train.devices x train.nodes is 4, and the processes here are 1: `steep run`"
    ):
        parallel.join(Train(devices=2, nodes=2))


def test_a_smallest_change_of_one_weight_is_seen(tiny_model):
    before = trainable_state(tiny_model)
    weight = tiny_model.get_input_embeddings().weight
    with torch.no_grad():
        weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(9.0))
    assert {name for name, found in trainable_state(tiny_model).items() if found != before[name]} == {
        "model.embed_tokens.weight"
    }

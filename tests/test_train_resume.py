"""Whatever ends training, the same call goes on from there as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import pyarrow as pa
import pytest
from transformers import TrainerCallback

from conftest import SHAPE
from steep.errors import ModelError
from steep.models import new_model
from steep.recipe import AdaLora, Lora, Train
from steep.train import More, checkpoints, run, train_model
from steep.train.stops import Stops
from together import EXAMPLES as TEXTS
from together import WORDS

EXAMPLES = TEXTS.slice(0, 24)
METHODS = {
    "full": {"method": "full"},
    "lora": {"method": "lora", "lora": Lora(rank=4, dropout=0.2)},
    "pissa": {"method": "lora", "lora": Lora(rank=4, init_lora_weights="pissa")},
    "adalora": {"method": "adalora", "adalora": AdaLora(init_r=4, target_r=2, tinit=1, tfinal=2)},
    "adaption-prompt": {"method": "adaption-prompt"},
    "muon": {"method": "full", "optim": "muon"},
    "neftune": {"method": "full", "neftune_noise_alpha": 5.0},
}


class At(TrainerCallback):
    """Does something at the beginning of a step, once."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_begin(self, args, state, control, **kwargs):
        if self.action and state.global_step + 1 == self.step:
            action, self.action = self.action, None
            action()


class Killed(Exception):
    pass


def kill():
    raise Killed


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def train(monkeypatch, tokenizer):
    """Twelve steps, of more than two epochs, with a checkpoint at every third; returns the rows of the metrics."""

    def trained(folder, *, method="full", at=None, more=None, examples=EXAMPLES, **options):
        make = run.make_trainer
        wanted = {"batch_size": 2, "max_steps": 12, "save_steps": 3, "learning_rate": 1e-2, "dtype": "float32"}
        with monkeypatch.context() as patch:

            def with_callback(*args):
                trainer = make(*args)
                if at:
                    trainer.add_callback(at)
                return trainer

            patch.setattr(run, "make_trainer", with_callback)
            train_model(
                examples,
                Train(**{**wanted, **METHODS[method], **options}),
                model=new_model(SHAPE, tokenizer, seed=0),
                tokenizer=tokenizer,
                max_length=24,
                folder=folder,
                more=more or More(),
            )
        return metrics(folder)

    return trained


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_course(found, expected):
    assert [row["step"] for row in found] == [row["step"] for row in expected] == [*range(1, len(expected) + 1)]
    for name in ("loss", "learning_rate", "grad_norm", "tokens", "epoch"):
        assert [row[name] for row in found] == [row[name] for row in expected], name
    seconds = [row["seconds"] for row in found]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_with_the_losses_of_one_that_was_not(train, tmp_path, method):
    expected = train(tmp_path / "straight", method=method)
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train(folder, method=method, at=At(8, kill))
    assert checkpoints.last_complete(folder).name == "checkpoint-6"
    assert len(metrics(folder)) == 7
    seen = []
    assert_same_course(train(folder, method=method, at=At(7, lambda: seen.append(len(metrics(folder))))), expected)
    assert seen == [6]  # it went on, and step 7, which no checkpoint holds, is forgotten and done again
    assert len(expected) == 12


def test_the_summary_of_a_resumed_run_is_about_all_of_it(train, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, at=At(8, kill))
    before = metrics(tmp_path)[5]
    rows = train(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["steps"], summary["tokens"], summary["seconds"]) == (12, rows[-1]["tokens"], rows[-1]["seconds"])
    assert summary["seconds"] > before["seconds"]
    assert summary["final_loss"] == rows[-1]["loss"]


def test_an_unfinished_checkpoint_is_removed_and_the_one_before_it_used(train, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, at=At(8, kill))
    (tmp_path / "checkpoint-6" / checkpoints.MARKER).unlink()
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    assert checkpoints.last_complete(tmp_path).name == "checkpoint-3"
    assert not (tmp_path / "checkpoint-6").exists()
    assert [row["step"] for row in train(tmp_path)] == [*range(1, 13)]


def test_the_last_line_of_the_metrics_may_be_half_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "tokens": 10 * step, "seconds": float(step)} for step in (1, 2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "tok')
    assert checkpoints.keep_metrics_until(path, 9) == rows[2]
    assert metrics(tmp_path) == rows
    assert checkpoints.keep_metrics_until(path, 2) == rows[1]
    assert checkpoints.keep_metrics_until(path, 0) == {"tokens": 0, "seconds": 0.0}


def test_ctrl_c_finishes_the_step_saves_a_checkpoint_and_then_interrupts(train, tmp_path, capfd):
    expected = train(tmp_path / "straight")
    folder, before = tmp_path / "interrupted", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(folder, at=At(5, interrupt))
    assert checkpoints.last_complete(folder).name == "checkpoint-5"
    assert not (folder / "summary.json").exists()
    assert "saving a checkpoint at the end of this step; Ctrl-C again ends at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert_same_course(metrics(folder), expected[:5])
    assert_same_course(train(folder), expected)


def test_a_second_ctrl_c_ends_at_once(train, tmp_path):
    def twice():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, at=At(5, twice))
    assert len(metrics(tmp_path)) == 4
    assert checkpoints.last_complete(tmp_path).name == "checkpoint-3"


def test_a_loss_that_is_no_number_stops_training_and_says_what_to_lower(train, tmp_path):
    with pytest.raises(ModelError) as error:
        train(tmp_path, learning_rate=1e20, warmup_ratio=0.0)
    assert "training diverged: " in str(error.value)
    assert " is nan at step 2; lower train.learning_rate (it is 1e+20)" in str(error.value)
    (batch,) = tmp_path.glob("diverged-step-2.jsonl")
    assert "The batch of this step is in " + str(batch) in str(error.value)
    (row,) = [json.loads(line) for line in batch.read_text().splitlines()]
    assert {"text", "input_ids", "labels"} == row.keys()
    assert [row["step"] for row in metrics(tmp_path)] == [1]


@pytest.mark.parametrize("logs", [{"loss": 1.0, "grad_norm": float("inf")}, {"loss": float("nan"), "grad_norm": 1.0}])
def test_training_stops_at_a_loss_or_gradient_that_is_no_number(tmp_path, logs):
    state = SimpleNamespace(global_step=3)
    stops = Stops(SimpleNamespace(latest=[]), Train(learning_rate=0.1), SimpleNamespace(folder=tmp_path))
    stops.on_log(None, state, None, logs={"loss": 1.0, "grad_norm": 2.0})
    with pytest.raises(ModelError, match=r"at step 3; lower train.learning_rate \(it is 0.1\)"):
        stops.on_log(None, state, None, logs=logs)


def test_training_in_a_thread_does_without_the_signal(train, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(train, tmp_path, max_steps=2).result()) == 2


@pytest.mark.parametrize(("method", "name"), [("full", "model/model"), ("lora", "adapter/adapter_model")])
def test_a_run_that_ended_before_it_was_saved_takes_no_step_again(train, tmp_path, method, name):
    expected, saved = train(tmp_path, method=method), tmp_path / f"{name}.safetensors"
    weights = saved.read_bytes()
    for path in (saved, tmp_path / "summary.json"):
        path.unlink()
    assert train(tmp_path, method=method) == expected
    assert saved.read_bytes() == weights
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 12


def killed_between_saving_and_the_end(train, folder, **options):
    """The rows of a run whose weights were lost after the last checkpoint, and are made again."""
    expected = train(folder, **options)
    weights = (folder / "model" / "model.safetensors").read_bytes()
    for path in (folder / "model" / "model.safetensors", folder / "summary.json"):
        path.unlink()
    assert train(folder, **options) == expected
    assert (folder / "model" / "model.safetensors").read_bytes() == weights


ROUGH = {"learning_rate": 0.5, "lr_scheduler_type": "constant", "optim": "sgd", "max_grad_norm": 20.0}
VALIDATED = {"more": More(validation=EXAMPLES.slice(0, 4)), "eval_steps": 3, "load_best_model_at_end": True}


def test_a_run_that_was_killed_at_its_end_saves_its_best_weights_and_not_its_last(train, tmp_path):
    killed_between_saving_and_the_end(train, tmp_path, **VALIDATED, **ROUGH)
    measured = [row["eval_loss"] for row in metrics(tmp_path) if "eval_loss" in row]
    assert min(measured) != measured[-1]


def test_ctrl_c_waits_for_the_last_step_on_the_same_answers(train, tmp_path, capfd):
    (tmp_path / "letters.py").write_text(
        "def count(completions):\n    return [float(len(one)) for one in completions]\n"
    )
    rollouts = {"rewards": ["letters:count"], "num_generations": 2, "max_completion_length": 4, "num_iterations": 2}
    options = {
        "examples": pa.table({"prompt": [f"Say {word}:" for word in WORDS], "completion": WORDS}),
        "more": More(home=tmp_path),
        **{"objective": "grpo", "batch_size": 4, "max_steps": 6, "save_steps": 6, "rollouts": rollouts},
    }
    expected = train(tmp_path / "straight", method="lora", **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "interrupted", method="lora", at=At(3, interrupt), **options)
    assert checkpoints.last_complete(tmp_path / "interrupted").name == "checkpoint-4"
    assert "saving a checkpoint at the end of the steps on these answers; Ctrl-C again" in capfd.readouterr().err
    assert_same_course(train(tmp_path / "interrupted", method="lora", **options), expected)


def test_patience_is_not_forgotten_by_an_interruption(train, tmp_path):
    options = {**VALIDATED, **ROUGH, "early_stopping_patience": 2, "max_steps": 60}
    expected = train(tmp_path / "straight", **options)
    last = max(row["step"] for row in expected)
    assert last < 60
    with pytest.raises(Killed):
        train(tmp_path / "killed", at=At(last - 1, kill), **options)
    found = train(tmp_path / "killed", **options)
    assert [row.get("loss") for row in found] == [row.get("loss") for row in expected]


def test_adalora_goes_back_to_its_best_weights(train, tmp_path):
    rows = train(tmp_path, method="adalora", **VALIDATED)
    assert len([row for row in rows if "eval_loss" in row]) == 4
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_adaloras_penalty_weighs_the_same_in_one_batch_and_in_two(train, tmp_path):
    ranks = AdaLora(init_r=4, target_r=3, tinit=1, tfinal=2, orth_reg_weight=50.0)
    whole = train(tmp_path / "whole", method="adalora", adalora=ranks, batch_size=4, packing=False)
    parts = train(tmp_path / "parts", method="adalora", adalora=ranks, gradient_accumulation_steps=2, packing=False)
    assert [row["loss"] for row in parts] == pytest.approx([row["loss"] for row in whole], rel=1e-4)
    config = json.loads((tmp_path / "parts" / "adapter" / "adapter_config.json").read_text())
    assert config["orth_reg_weight"] == 50.0

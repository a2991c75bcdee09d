"""Options of training beside its method: each does what it says, on a small model."""

from __future__ import annotations

import json
import os
import sys
import weakref

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from steep.errors import ModelError
from steep.models import TINY, fit_vocabulary, load_merged, load_model, load_tokenizer, load_tuned
from steep.recipe import Train
from steep.tokens import encode_prompts
from steep.train import More, probe, rows, train_model
from steep.train import run as course
from together import EXAMPLES, TEXT, WORDS

TABLE = EXAMPLES.slice(0, 24)
HELD = pa.table({"text": [" ".join(WORDS[begin : begin + 6]) for begin in range(4)]})


@pytest.fixture
def train(tiny_model, tokenizer, tmp_path):
    def trained(examples=TABLE, *, model=tiny_model, tokenizer=tokenizer, name="train", more=None, **options):
        wanted = {
            "method": "full",
            "dtype": "float32",
            "max_steps": 6,
            "batch_size": 2,
            "learning_rate": 1e-2,
            **options,
        }
        return train_model(
            examples,
            Train.model_validate(wanted),
            model=model,
            tokenizer=tokenizer,
            max_length=24,
            folder=tmp_path / name,
            more=more or More(),
        )

    return trained


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder):
    return [row["loss"] for row in metrics(folder) if "loss" in row]


@pytest.mark.parametrize(
    "optim", ["adamw_torch", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "adafactor", "lion_8bit", "sgd"]
)
def test_every_optimizer_lowers_the_loss(train, tmp_path, optim):
    rate = {"sgd": 1.0, "lion_8bit": 5e-3}.get(optim, 1e-2)
    train(optim=optim, learning_rate=rate, max_steps=25, batch_size=4)
    found = losses(tmp_path / "train")
    assert sum(found[-5:]) < 0.9 * sum(found[:5])


@pytest.mark.parametrize("schedule", ["cosine_with_min_lr", "polynomial", "inverse_sqrt", "constant"])
def test_every_schedule_warms_up_and_ends_where_it_should(train, tmp_path, schedule):
    train(lr_scheduler_type=schedule, warmup_ratio=0.25, max_steps=8, min_lr_ratio=0.5)
    rates = [row["learning_rate"] for row in metrics(tmp_path / "train")]
    assert rates[:3] == pytest.approx([0.0, 5e-3, 1e-2])
    ends = {
        "cosine_with_min_lr": (5e-3, 6e-3),
        "polynomial": (0, 2e-3),
        "inverse_sqrt": (4e-3, 9e-3),
        "constant": (1e-2, 1e-2),
    }
    assert ends[schedule][0] <= rates[-1] <= ends[schedule][1] + 1e-9


def test_examples_read_from_disk_train_as_those_in_memory(train, tmp_path, tiny_model, monkeypatch):
    written, write = [], rows._written
    monkeypatch.setattr(rows, "_written", lambda tables, path: (written.append(path), write(tables, path))[1])
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    train(name="memory")
    tiny_model.load_state_dict(before)
    pq.write_table(TABLE, tmp_path / "examples.parquet", row_group_size=5)
    train(tmp_path / "examples.parquet", name="disk", streaming=True)
    assert losses(tmp_path / "disk") == losses(tmp_path / "memory")
    assert written == [tmp_path / "disk" / "rows" / "0" / "train" / "rows.arrow"]
    assert not (tmp_path / "disk" / "rows").exists()


def test_rows_for_the_disk_are_made_a_portion_at_a_time(tmp_path):
    made = []

    def tables():
        for number in range(5):
            table = pa.table({"input_ids": [[number]]})
            made.append(weakref.ref(table))
            yield table
            del table
            assert sum(one() is not None for one in made) <= 2

    assert len(rows._written(tables(), tmp_path / "rows.arrow")) == 5


@pytest.mark.parametrize("streaming", [False, True])
def test_examples_are_tokenized_once_for_all_trainings_on_them(train, tmp_path, tiny_model, monkeypatch, streaming):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    more = More(validation=HELD, rows=tmp_path / "kept")
    train(name="first", more=more, streaming=streaming, eval_steps=6)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["train.arrow", "validation.arrow"]
    tiny_model.load_state_dict(before)
    with monkeypatch.context() as patch:
        patch.delattr(rows.tokens, "fit_examples")
        train(name="second", more=more, streaming=streaming, eval_steps=6)
    without_times = [
        [
            {key: row[key] for key in ("loss", "eval_loss", "grad_norm") if key in row}
            for row in metrics(tmp_path / name)
        ]
        for name in ("first", "second")
    ]
    assert without_times[0] == without_times[1]


def test_examples_that_are_refused_leave_no_tokens_for_another_training(train, tmp_path):
    same = pa.table({"prompt": ["a", "b"], "completion": [" yes", " yes"]})
    for _ in range(2):
        with pytest.raises(ModelError, match="there is a single class"):
            train(same, more=More(rows=tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_noise_on_the_embeddings_changes_the_course_and_is_gone_afterwards(train, tmp_path, tiny_model, tokenizer):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    train(name="plain")
    tiny_model.load_state_dict(before)
    train(name="noisy", neftune_noise_alpha=5.0)
    assert losses(tmp_path / "noisy") != losses(tmp_path / "plain")
    ids = torch.tensor(encode_prompts(["the kettle"], tokenizer))
    assert torch.equal(tiny_model(input_ids=ids).logits, tiny_model(input_ids=ids).logits)
    assert not tiny_model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("method", ["full", "lora"])
def test_checkpointing_of_activations_changes_no_loss(train, tmp_path, tiny_model, method):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    train(name="plain", method=method)
    if method == "full":
        tiny_model.load_state_dict(before)
        train(name="checkpointed", method=method, gradient_checkpointing=True)
        assert losses(tmp_path / "checkpointed") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
        assert not tiny_model.is_gradient_checkpointing


# ------------------------------------------------------------------------------------------------------- validation


def test_the_validation_loss_is_that_of_all_trained_tokens(train, tmp_path, tiny_model, tokenizer):
    result = train(more=More(validation=HELD), eval_steps=3)
    found = [row for row in metrics(tmp_path / "train") if "eval_loss" in row]
    assert [row["step"] for row in found] == [3, 6]
    assert all(row.keys() == {"step", "eval_loss"} for row in found)
    scored = []
    for prompt in encode_prompts(HELD["text"].to_pylist(), tokenizer):
        ids = torch.tensor([[*prompt, tokenizer.eos_token_id]])
        with torch.no_grad():
            scored.append(tiny_model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]))
    assert found[-1]["eval_loss"] == pytest.approx(-float(torch.cat(scored).mean()), rel=1e-4)
    assert result.validation_loss == found[-1]["eval_loss"]


def test_training_stops_early_and_keeps_the_best_weights(train, tmp_path, tiny_model):
    options = {"eval_steps": 2, "save_steps": 2, "early_stopping_patience": 2, "load_best_model_at_end": True}
    result = train(more=More(validation=HELD), max_steps=400, learning_rate=0.05, save_total_limit=1, **options)
    measured = [row["eval_loss"] for row in metrics(tmp_path / "train") if "eval_loss" in row]
    assert result.steps < 400
    assert min(measured) not in measured[-2:]
    assert result.validation_loss == min(measured)
    kept = load_model(str(tmp_path / "train" / "model"), dtype=torch.float32)
    torch.testing.assert_close(kept.state_dict(), tiny_model.state_dict())


def test_as_many_checkpoints_are_kept_as_asked_for(train, tmp_path):
    train(save_steps=1, save_total_limit=3)
    kept = sorted(path.name for path in (tmp_path / "train").glob("checkpoint-*"))
    assert kept == ["checkpoint-4", "checkpoint-5", "checkpoint-6"]


# ------------------------------------------------------------------------------------------------------- batch: auto


def test_a_batch_that_does_not_fit_is_halved_and_the_step_keeps_its_rows(train, tmp_path, tiny_model, monkeypatch):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    train(name="given", batch_size=8, packing=False)
    tiny_model.load_state_dict(before)
    forward = probe._forward_and_back

    def full_above_two(trainer, batch):
        if len(batch["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        forward(trainer, batch)

    monkeypatch.setattr(probe, "_forward_and_back", full_above_two)
    result = train(name="found", batch_size="auto", global_batch_size=8, packing=False)
    assert (result.batch_size, result.gradient_accumulation_steps) == (2, 4)
    assert losses(tmp_path / "found") == pytest.approx(losses(tmp_path / "given"), rel=1e-5)
    with pytest.raises(ModelError, match=r"out of memory at the longest batch of 8 rows, before the first step: lower"):
        train(name="refused", batch_size=8, packing=False)


def test_the_probe_takes_the_longest_rows_and_leaves_no_trace(train, tmp_path, tiny_model, monkeypatch):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    seen, forward = [], probe._forward_and_back
    monkeypatch.setattr(
        probe, "_forward_and_back", lambda trainer, batch: (seen.append(batch), forward(trainer, batch))
    )
    train(name="probed", packing=False, neftune_noise_alpha=5.0)
    tiny_model.load_state_dict(before)
    monkeypatch.setattr(course, "probe", lambda trainer, options: None)
    train(name="unprobed", packing=False, neftune_noise_alpha=5.0)
    assert losses(tmp_path / "probed") == losses(tmp_path / "unprobed")
    assert len(seen) == 2
    longest = sorted(TABLE["text"].to_pylist(), key=len)[-1]
    assert seen[0]["input_ids"].shape[1] >= len(longest.split())


# ------------------------------------------------------------------------------------------------------- what is told


def test_samples_are_written_while_training_and_change_nothing(train, tmp_path, tiny_model, capfd):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    train(name="silent", neftune_noise_alpha=5.0)
    tiny_model.load_state_dict(before)
    train(name="spoken", neftune_noise_alpha=5.0, sample_steps=3)
    told = [json.loads(line) for line in (tmp_path / "spoken" / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in told] == [3, 3, 3, 6, 6, 6]
    assert all(row["prompt"] and "completion" in row for row in told)
    assert "step 6: " in capfd.readouterr().err
    assert losses(tmp_path / "spoken") == losses(tmp_path / "silent")


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_tracker_gets_the_metrics_without_a_network(train, tmp_path, tracker, monkeypatch):
    pytest.importorskip(tracker)
    home = tmp_path / "tracked"
    for name, value in {
        "TENSORBOARD_LOGGING_DIR": str(home),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(home),
        "WANDB_SILENT": "true",
        "TRACKIO_DIR": str(home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db" if tracker == "mlflow" else "",
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    home.mkdir()
    monkeypatch.chdir(home)
    for module in [module for name, module in sys.modules.items() if name.startswith("trackio")]:
        if hasattr(module, "TRACKIO_DIR"):  # read when it was imported
            monkeypatch.setattr(module, "TRACKIO_DIR", home)
    train(report_to=[tracker], max_steps=3)
    written = [path for path in home.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in written) > 0
    assert len(losses(tmp_path / "train")) == 3


# ------------------------------------------------------------------------------------------------------- added tokens


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("tied", [True, False])
def test_added_tokens_are_trained_saved_and_merged(tmp_path, tiny_model, tokenizer, method, tied):
    if not tied:
        tiny_model.config.tie_word_embeddings = False
        tiny_model.lm_head.weight = torch.nn.Parameter(tiny_model.lm_head.weight.detach().clone())
    tiny_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    grown = load_tokenizer(str(tmp_path / "base"), added_tokens=["<|kettle|>", "<|wall|>"])
    model = load_model(str(tmp_path / "base"), dtype=torch.float32)
    fit_vocabulary(model, grown)
    new = tuple(grown.convert_tokens_to_ids(["<|kettle|>", "<|wall|>"]))
    untrained = model.get_input_embeddings().weight[list(new)].detach().clone()
    table = pa.table({"text": [f"the <|kettle|> sings by the <|wall|> {word}" for word in WORDS]})
    train_model(
        table,
        Train(method=method, dtype="float32", max_steps=4, learning_rate=1e-2, batch_size=2),
        model=model,
        tokenizer=grown,
        max_length=24,
        folder=tmp_path / "train",
        more=More(new_tokens=new),
    )
    saved = load_tokenizer(str(tmp_path / "train" / ("model" if method == "full" else "adapter")))
    assert saved.get_vocab() == grown.get_vocab()
    ids = torch.tensor(encode_prompts(["the <|kettle|> sings by the <|wall|>"], saved))
    expected = model.eval()(input_ids=ids).logits
    for load in (load_tuned, load_merged):
        tuned = load(tmp_path / "train", str(tmp_path / "base"), saved, dtype=torch.float32)
        torch.testing.assert_close(tuned(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    merged = load_merged(tmp_path / "train", str(tmp_path / "base"), saved, dtype=torch.float32)
    assert (merged.get_input_embeddings().weight[list(new)] - untrained).abs().max() > 1e-3
    known = len(tokenizer)
    base = load_model(str(tmp_path / "base"), dtype=torch.float32)
    same = torch.equal(merged.get_input_embeddings().weight[:known], base.get_input_embeddings().weight[:known])
    assert same == (method == "lora")


# ------------------------------------------------------------------------------------------------------- nf4 on a CPU


def test_gradients_beside_nf4_weights_are_right_also_after_an_evaluation():
    """bitsandbytes' AVX512-BF16 path lost them after the first pass without gradients."""
    from peft import LoraConfig, get_peft_model

    def adapted(model):
        torch.manual_seed(0)
        return get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False))

    tokenizer = load_tokenizer(str(TINY))
    ids = torch.tensor(encode_prompts([TEXT], tokenizer))

    def gradient(model):
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])

    for dtype in (torch.float32, torch.bfloat16):
        quantized = adapted(load_model(str(TINY), dtype=dtype, quantization="nf4"))
        plain = load_model(str(TINY), dtype=torch.float32, quantization="nf4").dequantize(torch.float32).float()
        expected = gradient(adapted(plain))
        for _ in range(2):
            found = gradient(quantized)
            assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.999
            with torch.no_grad():
                quantized(input_ids=ids)


@pytest.fixture(autouse=True)
def no_run_of_wandb():
    yield
    os.environ.pop("WANDB_RUN_ID", None)

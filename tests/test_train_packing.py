"""Packed, batched, accumulated: loss and gradients are always those of the examples one by one."""

from __future__ import annotations

import copy
import json

import pyarrow as pa
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from conftest import SHAPE
from steep.models import new_model
from steep.recipe import Train
from steep.tokens import Fit, encode
from steep.train import run, train_model
from steep.train.objectives import Setting
from steep.train.rows import Encoder
from together import WORDS

TEXTS = [" ".join(WORDS[begin : begin + 1 + 3 * begin % 11]) for begin in range(12)]
EXAMPLES = {
    "text": pa.table({"text": TEXTS}),
    "completion": pa.table({"prompt": TEXTS, "completion": [" " + text for text in reversed(TEXTS)]}),
}


class Gradients(TrainerCallback):
    """Those of the first step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def first_step(monkeypatch, tokenizer, tmp_path):
    """Loss and gradients of one step of `train_model`."""

    def stepped(model, examples, max_length=48, **options):
        gradients, make = Gradients(), run.make_trainer
        with monkeypatch.context() as patch:

            def with_callback(*args):
                trainer = make(*args)
                trainer.add_callback(gradients)
                return trainer

            patch.setattr(run, "make_trainer", with_callback)
            one_step = {"max_steps": 1, "max_grad_norm": 1e9, "warmup_ratio": 0.0}
            wanted = {"method": "full", "dtype": "float32", **one_step, **options}
            folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            train_model(
                examples, Train(**wanted), model=model, tokenizer=tokenizer, max_length=max_length, folder=folder
            )
        return json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"], gradients.found

    return stepped


def one_by_one(model, tokenizer, examples, max_length=48):
    """Loss and gradients by the definition alone."""
    model.set_attn_implementation("eager")
    encoded = encode(examples.to_pylist(), tokenizer, max_length)
    count, total = sum(one.trained for one in encoded), 0.0
    for one in encoded:
        logits = model(input_ids=torch.tensor([one.input_ids], device=model.device)).logits[0, :-1]
        loss = cross_entropy(logits, torch.tensor(one.labels[1:], device=model.device), reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters()}


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name
        )


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_packed_and_unpacked_training_have_the_loss_and_gradients_of_a_plain_loop(
    first_step, tokenizer, kind, packing, kv_heads
):
    model = new_model(SHAPE.model_copy(update={"num_key_value_heads": kv_heads}), tokenizer, seed=0)
    expected = one_by_one(copy.deepcopy(model), tokenizer, EXAMPLES[kind])
    assert_same(first_step(model, EXAMPLES[kind], batch_size=12, packing=packing), expected)


def edited(monkeypatch, edit):
    """Let the collator's batches be edited before the model gets them."""
    collate = DataCollatorForLanguageModeling.torch_call

    def torch_call(self, examples):
        batch = collate(self, examples)
        edit(batch)
        return batch

    monkeypatch.setattr(DataCollatorForLanguageModeling, "torch_call", torch_call)


def test_training_stops_where_the_position_ids_of_documents_are_removed(monkeypatch, first_step, tiny_model):
    def remove(batch):
        for name in ("position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"):
            batch.pop(name)

    edited(monkeypatch, remove)
    with pytest.raises(ValueError, match="needs one flattened row with cu_seq_lens_q"):
        first_step(tiny_model, EXAMPLES["text"])


def test_documents_that_saw_each_other_would_be_noticed(monkeypatch, first_step, tiny_model, tokenizer):
    def merge(batch):
        batch["cu_seq_lens_q"] = batch["cu_seq_lens_q"][[0, -1]]

    expected = one_by_one(copy.deepcopy(tiny_model), tokenizer, EXAMPLES["text"])
    edited(monkeypatch, merge)
    loss, gradients = first_step(tiny_model, EXAMPLES["text"], batch_size=12)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert (gradients[name] - expected[1][name]).norm() > 0.1 * expected[1][name].norm()
    assert loss != pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_one_batch_of_four_rows_equals_two_accumulated_batches_of_two(first_step, tiny_model, packing, kind):
    twin, options = copy.deepcopy(tiny_model), {"max_length": 32, "packing": packing, "warmup_ratio": 0.0}
    before = copy.deepcopy(tiny_model.state_dict())
    whole = first_step(tiny_model, EXAMPLES[kind], batch_size=4, **options)
    assert_same(first_step(twin, EXAMPLES[kind], batch_size=2, gradient_accumulation_steps=2, **options), whole)
    for name, weight in tiny_model.named_parameters():
        torch.testing.assert_close(twin.get_parameter(name), weight, rtol=1e-5, atol=1e-5, msg=name)
        assert not torch.equal(weight, before[name]), name


def packed_fragments(tokenizer, model, texts, tmp_path, max_length, **options):
    table, options = pa.table({"text": texts}), Train(method="full", **options)
    fit = Fit(None if options.objective == "pretrain" else max_length)
    rows = Encoder(tokenizer, options, fit).rows(table, tmp_path / "rows")
    trainer = run.make_trainer(rows, None, options, Setting(model, tokenizer, max_length, tmp_path, tmp_path, []))
    for row in trainer.train_dataset:
        assert len(row["input_ids"]) == sum(row["seq_lengths"]) <= max_length
        begin = 0
        for length in row["seq_lengths"]:
            yield tuple(row["input_ids"][begin : begin + length])
            begin += length


@pytest.mark.parametrize("objective", ["sft", "pretrain"])
def test_packing_more_texts_than_one_batch_of_the_packer_loses_no_token(tokenizer, tiny_model, tmp_path, objective):
    texts = [f"{number} {WORDS[number % 20]} {'roof ' * (number % 9)}" for number in range(1300)]
    found = list(packed_fragments(tokenizer, tiny_model, texts, tmp_path, 16, objective=objective))
    whole = [one.input_ids for one in encode([{"text": text} for text in texts], tokenizer, None)]
    cuts = [tuple(ids[begin : begin + 16]) for ids in whole for begin in range(0, len(ids), 16)]
    expected = cuts if objective == "pretrain" else [tuple(ids[:16]) for ids in whole]
    assert max(map(len, whole)) > 16
    assert sorted(found) == sorted(expected)


def test_a_batch_in_which_a_text_leaves_one_token_alone_has_no_loss_and_no_nan(first_step, tiny_model, tokenizer):
    text = next(text for text in TEXTS if len(encode([{"text": text}], tokenizer, None)[0].input_ids) > 9)
    length = len(encode([{"text": text}], tokenizer, None)[0].input_ids)
    examples, options = pa.table({"text": [text]}), {"objective": "pretrain", "batch_size": 1, "max_steps": 2}
    losses = {first_step(copy.deepcopy(tiny_model), examples, length - 1, seed=seed, **options)[0] for seed in range(6)}
    assert min(losses) == 0.0
    assert max(losses) > 5.0

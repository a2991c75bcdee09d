from __future__ import annotations

import copy
import itertools
import json
import math
import warnings
from dataclasses import asdict

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from steep.errors import ModelError
from steep.generation import generate
from steep.models import load_model, load_tokenizer, load_tuned
from steep.recipe import Lora, Train
from steep.speed.plan import Plan
from steep.tokens import encode, encode_prompts
from steep.train import train_model

TEXTS = ["Rain fell on the roof all morning.", "The kettle sings when the water is ready.", "A lazy dog."]
TABLE = pa.table({"text": TEXTS})


@pytest.fixture
def train(tiny_model, tokenizer, tmp_path):
    def run(examples=TABLE, *, model=tiny_model, name="train", max_length=48, **options):
        wanted = {"method": "full", "dtype": "float32", "max_steps": 2, "batch_size": 2, **options}
        folder = tmp_path / name
        return train_model(
            examples, Train(**wanted), model=model, tokenizer=tokenizer, max_length=max_length, folder=folder
        )

    return run


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("packing", [True, False])
def test_the_saved_model_gives_the_logits_of_the_one_in_memory(train, tiny_model, tokenizer, tmp_path, method, packing):
    tiny_model.save_pretrained(tmp_path / "base")
    train(method=method, packing=packing, learning_rate=1e-2, max_steps=4, lora=Lora(dropout=0.5))
    ids = torch.tensor(encode_prompts(["The kettle sings"], tokenizer), device=tiny_model.device)
    tuned = load_tuned(tmp_path / "train", str(tmp_path / "base"), dtype=torch.float32)
    found, expected = tuned(input_ids=ids).logits, tiny_model.eval()(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    base = load_model(str(tmp_path / "base"), dtype=torch.float32)
    assert (base(input_ids=ids).logits - expected).abs().max() > 0.01
    saved = load_tokenizer(str(tmp_path / "train" / ("model" if method == "full" else "adapter")))
    assert saved.get_vocab() == tokenizer.get_vocab()


LEVELS = ["none", "int8", "nf4", "fp8"]
ADAPTERS = ["lora", "adalora", "adaption-prompt"]


@pytest.mark.parametrize(("method", "quantization"), [("full", "none"), *itertools.product(ADAPTERS, LEVELS)])
def test_in_bfloat16_a_model_is_trained_and_answers(train, tiny_model, tokenizer, tmp_path, method, quantization):
    base = str(tmp_path / "base")
    tiny_model.save_pretrained(base)
    loading = {"dtype": torch.bfloat16, "quantization": quantization}
    result = train(model=load_model(base, **loading), method=method, dtype="bfloat16", sample_steps=1)
    assert math.isfinite(result.final_loss)
    tuned = load_tuned(tmp_path / "train", base, **loading)
    (answer,) = generate(tuned, tokenizer, encode_prompts(["The kettle"], tokenizer), max_new_tokens=4)
    assert answer.text


def test_the_adapter_holds_trained_matrices_for_every_linear_layer(train, tmp_path):
    train(method="lora", learning_rate=1e-2, max_steps=4, lora=Lora(rank=4))
    tensors = load_file(tmp_path / "train" / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * 7  # A and B, of two layers with seven linear parts
    assert all(tensor.abs().max() > 0 for tensor in tensors.values())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_after_training_the_model_is_as_it_was_but_for_its_weights(train, tiny_model, method):
    config = copy.deepcopy(tiny_model.eval().config)
    train(method=method, dtype="bfloat16")
    for name in ("use_cache", "_attn_implementation"):
        assert getattr(tiny_model.config, name) == getattr(config, name)
    assert tiny_model.forward.__func__ is type(tiny_model).forward
    assert not tiny_model.training


def test_the_saved_model_uses_its_cache_and_comes_with_no_card_that_knows_nothing(train, tmp_path):
    train(save_steps=1)
    assert not list(tmp_path.rglob("README.md"))
    assert json.loads((tmp_path / "train" / "model" / "config.json").read_text())["use_cache"] is True


def test_a_model_that_learned_a_text_says_it_and_stops(train, tiny_model, tokenizer):
    train(pa.table({"prompt": ["The kettle"], "completion": [" sings."]}), max_steps=30, learning_rate=1e-2)
    (found,) = generate(tiny_model.eval(), tokenizer, encode_prompts(["The kettle"], tokenizer), max_new_tokens=20)
    assert (found.text, found.finished) == (" sings.", True)


def test_training_is_refused_without_examples(train):
    with pytest.raises(ModelError, match="there is no example to train on: prepare left none, or"):
        train(TABLE.slice(0, 0))


def test_rows_longer_than_the_models_positions_are_refused(train):
    with pytest.raises(ModelError, match=r"prepare.max_length is 257, but the model has 256 positions: lower it"):
        train(max_length=257)


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(train, tiny_model, tokenizer):
    tiny_model.resize_token_embeddings(len(tokenizer) - 1)
    with pytest.raises(
        ModelError, match=rf"has {len(tokenizer)} tokens, but the model's embedding only {len(tokenizer) - 1}"
    ):
        train()


@pytest.mark.parametrize("packing", [True, False])
def test_fewer_rows_than_a_batch_are_a_batch(train, packing):
    assert train(batch_size=8, epochs=2, max_steps=None, packing=packing).steps == 2


def test_the_last_batch_of_an_epoch_is_trained_though_it_is_not_full(train, tokenizer):
    result = train(batch_size=2, epochs=1, max_steps=None, packing=False)
    whole = sum(len(one.input_ids) for one in encode(TABLE.to_pylist(), tokenizer, 48))
    assert (result.steps, result.tokens) == (2, whole)


@pytest.mark.parametrize("packing", [True, False])
def test_the_same_seed_gives_the_same_run_and_another_one_a_different(train, tiny_model, tmp_path, packing):
    def losses(name, noise, seed):
        torch.manual_seed(noise)
        options = {"method": "lora", "lora": Lora(dropout=0.1), "learning_rate": 1e-2, "max_steps": 4, "max_length": 16}
        train(model=copy.deepcopy(tiny_model), name=name, seed=seed, packing=packing, **options)
        return [row["loss"] for row in rows(tmp_path / name)]

    first = losses("first", 1, 7)
    assert losses("second", 2, 7) == first
    assert losses("third", 1, 8) != first


def test_the_summary_says_what_was_done_and_equals_the_result(train, tiny_model, tmp_path):
    weights = tiny_model.num_parameters()
    result = train(method="lora", max_steps=3, lora=Lora(rank=2))
    last = rows(tmp_path / "train")[-1]
    assert json.loads((tmp_path / "train" / "summary.json").read_text()) == asdict(result)
    assert (result.method, result.objective, result.dtype) == ("lora", "sft", "float32")
    assert (result.device == "cpu") == (result.peak_memory_gib is None) == (tiny_model.device.type == "cpu")
    sizes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    assert result.trainable_parameters == 2 * 2 * sum(map(sum, sizes))
    assert result.parameters == weights + result.trainable_parameters
    assert (result.steps, result.tokens, result.final_loss) == (3, last["tokens"], last["loss"])
    assert result.tokens_per_second > 0


def test_a_row_of_metrics_is_written_at_every_step(train, tmp_path):
    train(max_steps=4, warmup_ratio=0.0, lr_scheduler_type="linear", learning_rate=1e-3)
    found = rows(tmp_path / "train")
    names = ["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "seconds"]
    assert [list(row) for row in found] == [names] * 4
    assert [row["learning_rate"] for row in found] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_the_learning_rate_rises_over_the_share_of_steps_that_the_recipe_says(train, tmp_path):
    train(max_steps=4, warmup_ratio=0.5, lr_scheduler_type="constant", learning_rate=1e-3)
    assert [row["learning_rate"] for row in rows(tmp_path / "train")] == pytest.approx([0.0, 5e-4, 1e-3, 1e-3])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_nothing_but_steep_speaks_while_a_model_is_trained(train, capfd, method):
    from datasets import are_progress_bars_disabled
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity(), are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(method=method, save_steps=1)
    out, err = capfd.readouterr()
    assert not out
    assert [line.split(":")[0] for line in err.splitlines()] == list(Plan.__dataclass_fields__)
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity(), are_progress_bars_disabled()) == before

"""A plan applied to a model: the same training, the same code in every step, and afterwards the model as it was."""

from __future__ import annotations

import copy
import functools
import json
import os
from itertools import pairwise

import pyarrow as pa
import pytest
import torch
from peft import LoraConfig, get_peft_model

from conftest import WORDS
from steep.recipe import Train
from steep.speed import attention
from steep.speed.apply import fast_layers, loss_and_attention
from steep.speed.filling import filled
from steep.speed.loss import _in_one_kernel
from steep.speed.plan import make_plan
from steep.train import More, train_model
from test_speed_filling import TOKENS, row

STEPS = [row(7, 12, 3), row(40), row(25, 5), row(3, 3, 3, 3, 3, 3)]
WAYS = [False, "selective", True, "offloaded"]


def planned(**options):
    return make_plan(Train.model_validate({"dtype": "float32", **options}), "none", cuda=False, operations=None)


def adapted(model):
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tuned


def state(model):
    """All that a plan may change, but for the weights."""
    return {
        "config": (model.config._attn_implementation, model.config.use_cache, model.is_gradient_checkpointing),
        "training": [module.training for module in model.modules()],
        "forward": [name for name, module in model.named_modules() if "forward" in vars(module)],
        "compiled": [name for name, module in model.named_modules() if module._compiled_call_impl is not None],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        "again": [getattr(layer, "gradient_checkpointing", None) for layer in model.get_decoder().layers],
    }


@pytest.fixture
def compiling(monkeypatch):
    """Layers are compiled as on a GPU, but to the operations that they consist of; returns how many graphs there are.

    A row's attention is one operation, as there.
    """
    from torch._dynamo import config, reset
    from torch._dynamo.utils import counters

    monkeypatch.setitem(os.environ, "TORCHDYNAMO_DISABLE", "0")
    plain = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(plain, backend="aot_eager", fullgraph=True))
    monkeypatch.setattr(attention, "_one_by_one", None)

    def packed(module, query, key, value, mask, **known):
        starts, longest = known["cu_seq_lens_q"], torch.as_tensor(known["max_length_q"])
        return attention._in_one_call(query, key, value, starts, longest, known["scaling"]), None

    monkeypatch.setattr(attention, "packed_attention", packed)
    monkeypatch.setattr("steep.speed.loss._compiled", lambda: _in_one_kernel)
    reset()
    counters.clear()
    with config.patch(error_on_recompile=True):
        yield lambda: counters["stats"]["unique_graphs"]
    reset()


@attention.causal_attention.register_kernel("cpu")
def _(query, key, value, starts, longest, scale):
    """By its twin."""
    assert longest == max(end - begin for begin, end in pairwise(starts.tolist()))
    parts = (part.transpose(0, 1)[None] for part in (query, key, value))
    found = attention.per_document(*parts, starts.tolist(), scale)[0].contiguous()
    return found, query.new_zeros(query.shape[0] * query.shape[1])


@attention._backward.register_kernel("cpu")
def _(grad, saved, starts, longest, scale):
    """By the formulas, since below an operation nothing is differentiated."""
    query, key, value = (part.transpose(0, 1) for part in saved[:3])
    groups = query.shape[0] // key.shape[0]
    key, value = (part.repeat_interleave(groups, 0) for part in (key, value))
    seen = torch.zeros(query.shape[1], query.shape[1], dtype=torch.bool)
    for begin, end in pairwise(starts.tolist()):
        seen[begin:end, begin:end] = True
    scores = (query @ key.mT * scale).masked_fill(~seen.tril(), float("-inf"))
    shares, grad = scores.softmax(-1), grad.transpose(0, 1)
    changes = grad @ value.mT
    changes = shares * (changes - (changes * shares).sum(-1, keepdim=True)) * scale
    dk, dv = (part.unflatten(0, (-1, groups)).sum(1) for part in (changes.mT @ query, shares.mT @ grad))
    return tuple(part.transpose(0, 1).contiguous() for part in (changes @ key, dk, dv))


def trained(model, tuned, plan, way=False):
    """Losses and gradients of a few steps."""
    losses = []
    with loss_and_attention(model, plan):
        assert not model.config.use_cache
        tuned.train()
        with fast_layers(model, plan, way):
            for batch in STEPS:
                loss = tuned(**filled(batch, TOKENS)).loss
                loss.backward()
                losses.append(loss.detach())
    return losses, {name: p.grad for name, p in tuned.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["full", "lora", "lora, not shared"])
def test_afterwards_the_model_is_as_it_was(tiny_model, method, way):
    tuned = tiny_model if method == "full" else adapted(tiny_model)
    before, weights = state(tiny_model), copy.deepcopy(tuned.state_dict())
    options = {"method": method.partition(",")[0], "lora": {"use_dora": "," in method}}
    trained(tiny_model, tuned, planned(**options), way)
    assert state(tiny_model) == before
    assert all(torch.equal(value, weights[name]) for name, value in tuned.state_dict().items())


def test_what_a_plan_leaves_out_is_left_as_it_is(tiny_model):
    plan = planned(objective="dpo", method="full")
    before = state(tiny_model)
    with loss_and_attention(tiny_model, plan), fast_layers(tiny_model, plan, checkpointing=False):
        assert not tiny_model.config.use_cache  # keys and values are for generation alone
        tiny_model.config.use_cache = True
        assert state(tiny_model) == before


@pytest.mark.parametrize(("way", "expected"), [(False, 0), ("selective", 2), (True, 4), ("offloaded", 4)])
def test_as_many_layers_are_computed_again_as_was_chosen(tokenizer, way, expected):
    from conftest import SHAPE
    from steep.models import new_model

    model = new_model(SHAPE.model_copy(update={"num_hidden_layers": 4}), tokenizer, seed=0)
    calls = []
    for number, layer in enumerate(model.get_decoder().layers):
        layer.mlp.register_forward_pre_hook(lambda *_, number=number: calls.append(number))
    trained(model, model, planned(method="full"), way)
    assert len(calls) == (4 + expected) * len(STEPS)
    if way == "selective":
        assert all(calls.count(number) == (2, 1)[number % 2] * len(STEPS) for number in range(4))


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_compiled_once_a_training_has_the_losses_and_gradients_it_had(tiny_model, compiling, method, way):
    twin = copy.deepcopy(tiny_model)
    expected = trained(twin, adapted(twin) if method == "lora" else twin, planned(method=method), way)
    assert compiling() == 0
    tuned = adapted(tiny_model) if method == "lora" else tiny_model
    losses, gradients = trained(tiny_model, tuned, planned(method=method, compile=True), way)
    assert 2 <= compiling() <= 4
    torch.testing.assert_close(losses, expected[0], rtol=1e-6, atol=0)
    assert gradients.keys() == expected[1].keys()
    for name, one in expected[1].items():
        assert one.norm() > 0, name
        assert (gradients[name] - one).norm() <= 3e-6 * one.norm(), name
    assert not state(tiny_model)["compiled"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_compiled_training_is_measured_and_writes_as_another_does(tiny_model, tokenizer, tmp_path, compiling, method):
    words, more = WORDS.split(), {"eval_steps": 2, "sample_steps": 2}
    table = pa.table({"text": [" ".join(words[begin % 15 : begin % 15 + 2 + begin % 9]) for begin in range(24)]})
    held = pa.table({"text": [" ".join(words[begin : begin + 3 + begin]) for begin in range(4)]})
    found = []
    for compiled in (False, True):
        model, folder = copy.deepcopy(tiny_model), tmp_path / str(compiled)
        options = Train(
            method=method, dtype="float32", max_steps=6, batch_size=2, learning_rate=1e-2, compile=compiled, **more
        )
        train_model(
            table, options, model=model, tokenizer=tokenizer, max_length=24, folder=folder, more=More(validation=held)
        )
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        found.append([row.get("loss", row.get("eval_loss")) for row in rows])
        assert [row["step"] for row in rows if "eval_loss" in row] == [2, 4, 6]
        assert not state(model)["compiled"]
        found.append([json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()])
    assert 2 <= compiling() <= 4
    assert found[2] == pytest.approx(found[0], rel=1e-4)
    assert len(found[1]) == len(found[3]) == 9
    assert found[3][0] == found[1][0]

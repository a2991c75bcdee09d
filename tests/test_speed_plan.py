"""What is chosen for a training, and why."""

from __future__ import annotations

from dataclasses import fields

import pytest

from steep.recipe import Train
from steep.speed.plan import SPEED, WORTHWHILE, Plan, make_plan, training_operations

LONG = 2 * WORTHWHILE * SPEED


def planned(quantization="none", *, cuda=True, operations=LONG, **train):
    return make_plan(
        Train.model_validate({"dtype": "bfloat16", **train}), quantization, cuda=cuda, operations=operations
    )


FULL, ADA, PROMPT = {"method": "full"}, {"method": "adalora"}, {"method": "adaption-prompt"}
SHARDED = {"devices": 2, "parallel": "fsdp"}
CHOICES = {
    "attention of packed rows": ({}, "attention", "packed", "one flash or cuDNN kernel"),
    "attention on a CPU": ({"cuda": False}, "attention", "packed", "a mask over the row would cost more on a CPU"),
    "attention of rows": ({"packing": False}, "attention", "own", "rows are not packed"),
    "attention of pairs": ({"objective": "dpo"}, "attention", "own", "rows are not packed"),
    "loss of sft": ({"packing": False}, "loss", "chunked", "logits never exist whole"),
    "loss of pretrain": ({"objective": "pretrain", **FULL}, "loss", "chunked", "only trained positions"),
    "loss of pairs": ({"objective": "dpo"}, "loss", "own", "dpo needs the logits of whole answers"),
    "lora": ({}, "adapters", "shared", "are one product each"),
    "lora for pairs": ({"objective": "dpo"}, "adapters", "shared", "are one product each"),
    "lora beside nf4": ({"quantization": "nf4"}, "adapters", "shared", "are one product each"),
    "lora beside fp8": ({"quantization": "fp8"}, "adapters", "shared", "are one product each"),
    "lora beside int8": ({"quantization": "int8"}, "adapters", "peft", "take each weight by itself"),
    "dora": ({"lora": {"use_dora": True}}, "adapters", "peft", "take each weight by itself"),
    "sharded lora": (SHARDED, "adapters", "peft", "take each weight by itself"),
    "adalora": (ADA, "adapters", "peft", "adalora has no plain LoRA layers"),
    "full": (FULL, "adapters", "peft", "full has no plain LoRA layers"),
    "no frozen weights": (FULL, "frozen", "none", "every weight is trained"),
    "frozen weights": ({}, "frozen", "bfloat16", "exact"),
    "frozen fp8": ({"quantization": "fp8"}, "frozen", "fp8", "rounded to three bits"),
    "frozen nf4": ({"quantization": "nf4"}, "frozen", "nf4", "made whole"),
    "frozen nf4 in fp8": ({"quantization": "nf4", "fp8": True}, "frozen", "nf4, fp8", "rounded to three bits"),
    "long training": ({}, "compiled", "yes", "about 120 s of training earn back compiling"),
    "long full training": (FULL, "compiled", "yes", "earn back compiling"),
    "short training": ({"operations": LONG / 4}, "compiled", "no", "about 30 s of training are too few"),
    "unknown training": ({"operations": None}, "compiled", "auto", "above 60 s, known after prepare"),
    "compiled on a CPU": ({"cuda": False}, "compiled", "no", "on a CPU compiling takes longer"),
    "compiled rows": ({"packing": False}, "compiled", "no", "rows of changing length"),
    "compiled pairs": ({"objective": "dpo"}, "compiled", "no", "rows of changing length"),
    "compiled shards": (SHARDED, "compiled", "no", "not with sharded weights"),
    "compiled adalora": (ADA, "compiled", "no", "AdaLoRA"),
    "compiled prompts": (PROMPT, "compiled", "no", "adaption prompts"),
    "compiled as asked": ({"compile": True, "operations": 0.0}, "compiled", "yes", "as the recipe says"),
    "compiled on a CPU as asked": ({"compile": True, "cuda": False}, "compiled", "yes", "as the recipe says"),
    "not compiled as asked": ({"compile": False}, "compiled", "no", "as the recipe says"),
}


@pytest.mark.parametrize(("options", "name", "what", "why"), CHOICES.values(), ids=CHOICES)
def test_a_choice_and_its_reason(options, name, what, why):
    plan = planned(**options)
    found = getattr(plan, name)
    assert found.what == what
    assert why in found.why
    assert dict(plan.rows())[name] == f"{found.what} ({found.why})"
    assert list(dict(plan.rows())) == [field.name for field in fields(Plan)]


def test_what_is_applied_follows_from_the_choices():
    for options in (
        {},
        FULL,
        {"objective": "dpo"},
        {"compile": False},
        {"packing": False},
        {"lora": {"use_dora": True}},
    ):
        plan = planned(**options)
        assert plan.packs == (plan.attention.what == "packed")
        assert plan.chunks == (plan.loss.what == "chunked")
        assert plan.shares == (plan.adapters.what == "shared")
        assert plan.compiles == (plan.compiled.what == "yes")
    assert planned().compiles
    assert not planned(operations=None).compiles


def test_frozen_weights_have_no_gradient_of_their_own_and_devices_share_the_tokens():
    assert training_operations(Train(method="full"), 10, 100) == 6 * 1000
    assert training_operations(Train(), 10, 100) == 4 * 1000
    assert training_operations(Train(devices=2, nodes=2), 10, 100) == 1000

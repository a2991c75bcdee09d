"""Every contradiction between values of a recipe is tripped, and says why and what to do."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steep.recipe import Recipe

RULES = importlib.import_module("steep.recipe.conflicts")  # whose name in the package is its function

LARGE = {"max_position_embeddings": 64}
TWO = {"devices": 2, "parallel": "fsdp"}
ANSWERS = {"objective": "grpo", "rollouts": {"rewards": ["module:function"]}}
PISSA = {"lora": {"init_lora_weights": "pissa"}}
LOFTQ = {"lora": {"init_lora_weights": "loftq"}}
TOKENS = {"model": {"added_tokens": ["<a>"]}}
PROMPTS = {"template": "alpaca"}
CHAT = {"template": "chat"}


def rollouts(**more: Any) -> dict[str, Any]:
    return {"rollouts": {**ANSWERS["rollouts"], **more}}


def case(message: str, parts: dict[str, Any] | None = None, /, **train: Any) -> Any:
    """A recipe's parts beside the training's options, and what they are told; both parts of a name for the id."""
    return pytest.param({**(parts or {}), "train": train}, message, id=message[:60])


CASES = [
    case(
        "cannot stand beside from_scratch, which starts from no model: remove one of them",
        {"model": {"base": "tiny", "from_scratch": LARGE}},
    ),
    case("a new model needs `train.objective: pretrain`", {"model": {"from_scratch": {}}}),
    case("a new model needs `train.method: full`", {"model": {"from_scratch": {}}}, objective="pretrain"),
    case(
        "a new model's tokenizer is learned from the text: leave out added_tokens",
        {"model": {"from_scratch": {}, "added_tokens": ["<a>"]}},
    ),
    case(
        "prepare.max_length (99) is above model.from_scratch.max_position_embeddings (64)",
        {"model": {"from_scratch": LARGE}, "prepare": {"max_length": 99}},
    ),
    case("muon trains whole matrices: it needs `train.method: full`", optim="muon"),
    case(
        "AdaLoRA takes ranks away: target_r must be below init_r (8)",
        method="adalora",
        adalora={"init_r": 8, "target_r": 8},
    ),
    case(
        "adalora trains no rows of the embedding: new tokens need `train.method` lora or full", TOKENS, method="adalora"
    ),
    case(
        "nf4 weights are rounded and cannot be trained: take `train.method: lora`",
        {"model": {"quantization": "nf4"}},
        method="full",
    ),
    case(
        "train.fp8 multiplies nf4 weights beside plain LoRA: it needs `model.quantization: nf4`, no DoRA or FSDP",
        fp8=True,
    ),
    case(
        "PEFT's DoRA measures the weights themselves, and knows none in fp8: take nf4",
        {"model": {"quantization": "fp8"}},
        lora={"use_dora": True},
    ),
    case(
        "pissa takes its part out of the base weights, and nf4 ones cannot be changed: take loftq",
        {"model": {"quantization": "nf4"}},
        **PISSA,
    ),
    case("pissa is saved as a plain LoRA of twice the rank, which has no place for this", TOKENS, **PISSA),
    case(
        "dpo compares with the base model, from which pissa takes a part: take default",
        {"prepare": PROMPTS},
        objective="dpo",
        **PISSA,
    ),
    case("loftq makes up for what nf4 rounds away: it needs `model.quantization: nf4`", **LOFTQ),
    case(
        "AdaLoRA's penalty is part of the supervised loss: dpo needs `train.method` lora or full",
        {"prepare": PROMPTS},
        method="adalora",
        objective="dpo",
    ),
    case(
        "PEFT's adaption prompt knows the supervised loss only: reward needs `train.method` lora or full",
        {"prepare": PROMPTS},
        method="adaption-prompt",
        objective="reward",
    ),
    case(
        "dpo needs a prompt with a chosen and a rejected answer: take a template with prompt and completion, such as "
        "alpaca",
        objective="dpo",
    ),
    case(
        "pretrain splits long texts over packed rows: leave packing on, or take sft with `overlength: split`",
        objective="pretrain",
        packing=False,
    ),
    case(
        "one for each loss_type: 1 are given for 2",
        {"prepare": PROMPTS},
        objective="dpo",
        dpo={"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]},
    ),
    case(
        "exo_pair needs `label_smoothing` above 0, such as 0.001",
        {"prepare": PROMPTS},
        objective="dpo",
        dpo={"loss_type": ["exo_pair"]},
    ),
    case(
        "a reward model writes nothing: leave out sample_steps",
        {"prepare": PROMPTS},
        objective="reward",
        sample_steps=5,
    ),
    case(
        "grpo needs train.rollouts.rewards: a function `module:name` or a reward model",
        {"prepare": PROMPTS},
        objective="grpo",
    ),
    case(
        "one for each reward: 2 are given for 1",
        {"prepare": PROMPTS},
        objective="rloo",
        **rollouts(reward_weights=[1.0, 2.0]),
    ),
    case("auto cannot foresee the answers of grpo: give a number", {"prepare": PROMPTS}, batch_size="auto", **ANSWERS),
    case("a step's 6 answers must be a multiple of num_generations (4)", {"prepare": PROMPTS}, batch_size=6, **ANSWERS),
    case(
        "must be a multiple of num_iterations (2), so that no answers are half used",
        {"prepare": PROMPTS},
        objective="grpo",
        save_steps=5,
        **rollouts(num_iterations=2),
    ),
    case(
        "the model that full is compared with is loaded without it: take lora, or set beta to 0",
        {"prepare": PROMPTS, "model": {"revision": "main"}},
        method="full",
        **ANSWERS,
    ),
    case(
        "the loss of grpo says nothing of its progress: leave out eval_steps",
        {"prepare": {**PROMPTS, "split": {"validation": 0.1}}},
        eval_steps=5,
        **ANSWERS,
    ),
    case(
        "dpo compares whole answers, which cannot be split: take truncate or drop",
        {"prepare": {**PROMPTS, "overlength": "split"}},
        objective="dpo",
    ),
    case(
        "dpo needs a prompt of its own: take a template with prompt and completion, such as llama-3",
        {"prepare": CHAT},
        objective="dpo",
    ),
    case(
        "a canary is a text or a completion: leave canaries out for pairs and conversations",
        {"prepare": {**CHAT, "canaries": {}}},
    ),
    case("only with `batch_size: auto`: otherwise it follows from batch_size", batch_size=8, global_batch_size=8),
    case(
        "`batch_size: auto` chooses it, so that global_batch_size is kept",
        batch_size="auto",
        gradient_accumulation_steps=2,
    ),
    case("8 rows cannot be shared evenly by 3 devices", batch_size="auto", devices=3),
    case("needs examples to measure: set prepare.split.validation, such as 0.05", eval_steps=5),
    case(
        "must be as eval_steps (5), so that the best weights are among those saved",
        {"prepare": {"split": {"validation": 0.1}}},
        eval_steps=5,
        save_steps=2,
        load_best_model_at_end=True,
    ),
    case("needs the validation loss: set train.eval_steps", early_stopping_patience=2),
    case(
        "FSDP2 computes all layers again or none, not selective: set true, or `parallel: ddp`",
        gradient_checkpointing="selective",
        **TWO,
    ),
    case(
        "FSDP2 computes all layers again or none, not offloaded: set true, or `parallel: ddp`",
        method="full",
        devices=2,
        gradient_checkpointing="offloaded",
    ),
    case(
        "offloaded is for sft and pretrain: set true for dpo",
        {"prepare": PROMPTS},
        objective="dpo",
        gradient_checkpointing="offloaded",
    ),
    case(
        "fsdp trains sft and pretrain; dpo needs `parallel: ddp`",
        {"prepare": PROMPTS},
        objective="dpo",
        **TWO,
    ),
    case("adalora cannot be taken apart: set `parallel: ddp`", method="adalora", **TWO),
    case(
        "int8 weights cannot be taken apart: take nf4, or `parallel: ddp`", {"model": {"quantization": "int8"}}, **TWO
    ),
    case("pissa starts from whole weights: set `parallel: ddp`", **TWO, **PISSA),
    case(
        "new tokens' rows are trained beside the whole embedding: set `parallel: ddp`, or take method full",
        TOKENS,
        **TWO,
    ),
    case("one process cannot write with a part of the model: leave it out", sample_steps=5, **TWO),
    case(
        "the best weights are taken up again by one process alone: leave it out, or set `parallel: ddp`",
        {"prepare": {"split": {"validation": 0.1}}},
        eval_steps=100,
        load_best_model_at_end=True,
        **TWO,
    ),
    *(
        case(
            f"{optim} needs whole weights: take adamw_torch_fused, or set `parallel: ddp`",
            method="full",
            optim=optim,
            devices=2,
        )
        for optim in ("muon", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion_8bit", "adafactor")
    ),
    case(
        "completion needs a template with prompt and completion, such as alpaca; plain has neither",
        {"evaluate": ["completion"]},
    ),
    case(
        "a conversation has no single completion: measure perplexity or continuation",
        {"prepare": CHAT, "evaluate": ["completion"]},
    ),
    case("preference needs pairs of answers: `train.objective` dpo or reward", {"evaluate": ["preference"]}),
    case(
        "reward needs what scores answers: `train.objective` rloo or grpo, with train.rollouts.rewards",
        {"evaluate": ["reward"]},
    ),
    case(
        "a reward model writes nothing: take preference instead of perplexity",
        {"prepare": PROMPTS, "evaluate": ["perplexity"]},
        objective="reward",
    ),
    case("perplexity is measured already, in evaluate.0", {"evaluate": ["perplexity", "perplexity"]}),
]


def found(parts: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"name": "a", "gather": [{"files": "notes.txt"}], **parts})
    errors = caught.value.errors()
    assert {error["type"] for error in errors} == {"conflict"}
    return [error["msg"] for error in errors]


@pytest.mark.parametrize(("parts", "message"), CASES)
def test_a_contradiction_is_told_with_its_reason(parts: dict[str, Any], message: str) -> None:
    assert message in found(parts)


def test_no_rule_is_left_out() -> None:
    """By the lines that made the contradictions above: each place that makes one has made at least one."""
    path = Path(str(RULES.__file__))
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    places = {
        (call.lineno, call.end_lineno or 0)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Conflict"
    }
    made: set[int] = set()
    original = RULES.Conflict

    def traced(*arguments: Any) -> Any:
        made.add(sys._getframe(1).f_lineno)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RULES, "Conflict", traced)
        for parameters in CASES:
            found(parameters.values[0])
    never = sorted(start for start, end in places if not any(start <= line <= end for line in made))
    assert places
    assert not never, f"{path.name}: lines {never} made no contradiction of this table"

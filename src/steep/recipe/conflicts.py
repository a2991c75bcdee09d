"""Values of a recipe that are right each by itself and contradict each other, with the reason.

Everything here is decided before any work, without a file or a library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import InitErrorDetails, PydanticCustomError

from steep.recipe.train import PREFERENCES, ROLLOUTS, SUPERVISED

if TYPE_CHECKING:
    from steep.recipe import Recipe

Keys = tuple[str | int, ...]

METHOD, OBJECTIVE = ("train", "method"), ("train", "objective")
QUANTIZATION, TEMPLATE = ("model", "quantization"), ("prepare", "template")
BATCH, ADDED = ("train", "batch_size"), ("model", "added_tokens")
IN_PARTS = ("adamw_torch_fused", "adamw_torch", "sgd")
"""Optimizers of PyTorch that step on a part of a weight (DTensor); bitsandbytes' and transformers' own do not."""


class Conflict(NamedTuple):
    """Two places that contradict each other; the first is where the reader is sent."""

    where: Keys
    other: Keys
    message: str


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """All of a recipe's."""
    for rule in (
        _new_model,
        _method,
        _quantization,
        _objective,
        _rollouts,
        _forms,
        _batch,
        _validation,
        _checkpointing,
        _devices,
        _evaluation,
        _measured_twice,
    ):
        yield from rule(recipe)


def line_error(conflict: Conflict) -> InitErrorDetails:
    error = PydanticCustomError("conflict", "{message}", {"message": conflict.message, "other": conflict.other})
    return InitErrorDetails(type=error, loc=conflict.where, input=None)


def _new_model(recipe: Recipe) -> Iterator[Conflict]:
    new, scratch = recipe.model.from_scratch, ("model", "from_scratch")
    if not new:
        return
    if "base" in recipe.model.model_fields_set:
        message = "cannot stand beside from_scratch, which starts from no model: remove one of them"
        yield Conflict(("model", "base"), scratch, message)
    if recipe.train.objective != "pretrain":
        yield Conflict(scratch, OBJECTIVE, "a new model needs `train.objective: pretrain`")
    elif recipe.train.method != "full":
        yield Conflict(scratch, METHOD, "a new model needs `train.method: full`")
    if recipe.model.added_tokens:
        message = "a new model's tokenizer is learned from the text: leave out added_tokens"
        yield Conflict(ADDED, scratch, message)
    if recipe.prepare.max_length > new.max_position_embeddings:
        longest = ("prepare", "max_length")
        limit = f"model.from_scratch.max_position_embeddings ({new.max_position_embeddings})"
        message = f"prepare.max_length ({recipe.prepare.max_length}) is above {limit}"
        given = "max_length" in recipe.prepare.model_fields_set
        yield Conflict(longest, scratch, message) if given else Conflict(scratch, longest, message)


def _method(recipe: Recipe) -> Iterator[Conflict]:
    train, method = recipe.train, recipe.train.method
    if train.optim == "muon" and method != "full":
        yield Conflict(("train", "optim"), METHOD, "muon trains whole matrices: it needs `train.method: full`")
    if train.adalora.target_r >= train.adalora.init_r:
        message = f"AdaLoRA takes ranks away: target_r must be below init_r ({train.adalora.init_r})"
        yield Conflict(("train", "adalora", "target_r"), ("train", "adalora", "init_r"), message)
    if recipe.model.added_tokens and method not in ("full", "lora"):
        message = f"{method} trains no rows of the embedding: new tokens need `train.method` lora or full"
        yield Conflict(ADDED, METHOD, message)


def _quantization(recipe: Recipe) -> Iterator[Conflict]:
    train, quantization = recipe.train, recipe.model.quantization
    if quantization != "none" and train.method == "full":
        message = f"{quantization} weights are rounded and cannot be trained: take `train.method: lora`"
        yield Conflict(QUANTIZATION, METHOD, message)
    if train.fp8 and not (quantization == "nf4" and train.shares_inputs(quantization)):
        message = (
            "train.fp8 multiplies nf4 weights beside plain LoRA: it needs `model.quantization: nf4`, no DoRA or FSDP"
        )
        yield Conflict(("train", "fp8"), QUANTIZATION, message)
    if train.method != "lora":
        return
    if train.lora.use_dora and quantization == "fp8":
        message = "PEFT's DoRA measures the weights themselves, and knows none in fp8: take nf4"
        yield Conflict(("train", "lora", "use_dora"), QUANTIZATION, message)
    start, init = train.lora.init_lora_weights, ("train", "lora", "init_lora_weights")
    if start == "pissa" and quantization != "none":
        message = f"pissa takes its part out of the base weights, and {quantization} ones cannot be changed: take loftq"
        yield Conflict(init, QUANTIZATION, message if quantization == "nf4" else message.replace(": take loftq", ""))
    for clash, key in ((train.lora.use_dora, ("train", "lora", "use_dora")), (recipe.model.added_tokens, ADDED)):
        if start == "pissa" and clash:
            yield Conflict(init, key, "pissa is saved as a plain LoRA of twice the rank, which has no place for this")
    if start == "pissa" and (train.objective == "dpo" or train.objective in ROLLOUTS):
        message = f"{train.objective} compares with the base model, from which pissa takes a part: take default"
        yield Conflict(init, OBJECTIVE, message)
    if start == "loftq" and quantization != "nf4":
        yield Conflict(
            init, QUANTIZATION, "loftq makes up for what nf4 rounds away: it needs `model.quantization: nf4`"
        )


def _objective(recipe: Recipe) -> Iterator[Conflict]:
    train, objective = recipe.train, recipe.train.objective
    learns_from_scores = objective in PREFERENCES or objective in ROLLOUTS
    if learns_from_scores and train.method in ("adalora", "adaption-prompt"):
        why = (
            "AdaLoRA's penalty is part of the supervised loss"
            if train.method == "adalora"
            else "PEFT's adaption prompt knows the supervised loss only"
        )
        yield Conflict(METHOD, OBJECTIVE, f"{why}: {objective} needs `train.method` lora or full")
    if learns_from_scores and recipe.prepare.template == "plain":
        needs = "a prompt" if objective in ROLLOUTS else "a prompt with a chosen and a rejected answer"
        message = f"{objective} needs {needs}: take a template with prompt and completion, such as alpaca"
        yield Conflict(OBJECTIVE, TEMPLATE, message)
    if objective == "pretrain" and not train.packing:
        message = "pretrain splits long texts over packed rows: leave packing on, or take sft with `overlength: split`"
        yield Conflict(("train", "packing"), OBJECTIVE, message)
    dpo = train.dpo
    if dpo.loss_weights and len(dpo.loss_weights) != len(dpo.loss_type):
        message = f"one for each loss_type: {len(dpo.loss_weights)} are given for {len(dpo.loss_type)}"
        yield Conflict(("train", "dpo", "loss_weights"), ("train", "dpo", "loss_type"), message)
    if "exo_pair" in dpo.loss_type and not dpo.label_smoothing:
        message = "exo_pair needs `label_smoothing` above 0, such as 0.001"
        yield Conflict(("train", "dpo", "loss_type"), ("train", "dpo", "label_smoothing"), message)
    if objective == "reward" and train.sample_steps:
        yield Conflict(("train", "sample_steps"), OBJECTIVE, "a reward model writes nothing: leave out sample_steps")


def _rollouts(recipe: Recipe) -> Iterator[Conflict]:
    train, options = recipe.train, recipe.train.rollouts
    if train.objective not in ROLLOUTS:
        return
    section, rewards = ("train", "rollouts"), ("train", "rollouts", "rewards")
    if not options.rewards:
        message = f"{train.objective} needs train.rollouts.rewards: a function `module:name` or a reward model"
        yield Conflict(OBJECTIVE, rewards, message)
    weights, count = len(options.reward_weights), len(options.rewards)
    if weights and weights != count:
        message = f"one for each reward: {weights} are given for {count}"
        yield Conflict((*section, "reward_weights"), rewards, message)
    yield from _answers_and_steps(recipe)


def _answers_and_steps(recipe: Recipe) -> Iterator[Conflict]:
    train, options, section = recipe.train, recipe.train.rollouts, ("train", "rollouts")
    if train.batch_size == "auto":
        yield Conflict(BATCH, OBJECTIVE, f"auto cannot foresee the answers of {train.objective}: give a number")
    elif train.rows_per_step % options.num_generations:
        message = f"a step's {train.rows_per_step} answers must be a multiple of num_generations"
        yield Conflict(BATCH, (*section, "num_generations"), f"{message} ({options.num_generations})")
    if train.save_steps % options.num_iterations:
        message = f"must be a multiple of num_iterations ({options.num_iterations}), so that no answers are half used"
        yield Conflict(("train", "save_steps"), (*section, "num_iterations"), message)
    if train.method == "full" and options.beta:
        for name in ("revision", "added_tokens"):
            if getattr(recipe.model, name):
                message = "the model that full is compared with is loaded without it: take lora, or set beta to 0"
                yield Conflict(("model", name), (*section, "beta"), message)
    if train.eval_steps:
        message = f"the loss of {train.objective} says nothing of its progress: leave out eval_steps"
        yield Conflict(("train", "eval_steps"), OBJECTIVE, message)


def _forms(recipe: Recipe) -> Iterator[Conflict]:
    """What goes with conversations, and with pairs of answers."""
    objective, prepare = recipe.train.objective, recipe.prepare
    pairs, chat = objective in PREFERENCES, prepare.template == "chat"
    if pairs and prepare.overlength == "split":
        message = f"{objective} compares whole answers, which cannot be split: take truncate or drop"
        yield Conflict(("prepare", "overlength"), OBJECTIVE, message)
    if chat and (pairs or objective in ROLLOUTS):
        message = f"{objective} needs a prompt of its own: take a template with prompt and completion, such as llama-3"
        yield Conflict(TEMPLATE, OBJECTIVE, message)
    if prepare.canaries and (pairs or chat):
        message = "a canary is a text or a completion: leave canaries out for pairs and conversations"
        yield Conflict(("prepare", "canaries"), OBJECTIVE if pairs else TEMPLATE, message)


def _batch(recipe: Recipe) -> Iterator[Conflict]:
    train, whole = recipe.train, ("train", "global_batch_size")
    if train.batch_size != "auto":
        if train.global_batch_size is not None:
            yield Conflict(whole, BATCH, "only with `batch_size: auto`: otherwise it follows from batch_size")
        return
    if train.gradient_accumulation_steps != 1:
        accumulation = ("train", "gradient_accumulation_steps")
        yield Conflict(accumulation, BATCH, "`batch_size: auto` chooses it, so that global_batch_size is kept")
    places = train.devices * train.nodes
    if train.rows_per_step % places:
        message = f"{train.rows_per_step} rows cannot be shared evenly by {places} devices"
        yield Conflict(whole, ("train", "devices"), message)


def _validation(recipe: Recipe) -> Iterator[Conflict]:
    train, steps = recipe.train, ("train", "eval_steps")
    if train.eval_steps:
        if not recipe.prepare.split.validation:
            message = "needs examples to measure: set prepare.split.validation, such as 0.05"
            yield Conflict(steps, ("prepare", "split", "validation"), message)
        if train.load_best_model_at_end and train.save_steps != train.eval_steps:
            message = f"must be as eval_steps ({train.eval_steps}), so that the best weights are among those saved"
            yield Conflict(("train", "save_steps"), steps, message)
        return
    for name in ("early_stopping_patience", "load_best_model_at_end"):
        if getattr(train, name):
            yield Conflict(("train", name), steps, "needs the validation loss: set train.eval_steps")


def _checkpointing(recipe: Recipe) -> Iterator[Conflict]:
    train, checkpointing = recipe.train, ("train", "gradient_checkpointing")
    policy = train.gradient_checkpointing
    if policy in ("selective", "offloaded") and train.sharded:
        message = f"FSDP2 computes all layers again or none, not {policy}: set true, or `parallel: ddp`"
        yield Conflict(checkpointing, ("train", "parallel"), message)
    if policy == "offloaded" and train.objective not in SUPERVISED:
        yield Conflict(checkpointing, OBJECTIVE, f"offloaded is for sft and pretrain: set true for {train.objective}")


def _devices(recipe: Recipe) -> Iterator[Conflict]:
    train, parallel = recipe.train, ("train", "parallel")
    if train.devices * train.nodes == 1 or not train.sharded:
        return
    if train.objective not in SUPERVISED:
        message = f"fsdp trains sft and pretrain; {train.objective} needs `parallel: ddp`"
        yield Conflict(parallel, OBJECTIVE, message)
    if train.method in ("adalora", "adaption-prompt"):
        yield Conflict(parallel, METHOD, f"{train.method} cannot be taken apart: set `parallel: ddp`")
    if recipe.model.quantization == "int8":
        yield Conflict(parallel, QUANTIZATION, "int8 weights cannot be taken apart: take nf4, or `parallel: ddp`")
    if train.method == "lora" and train.lora.init_lora_weights in ("pissa", "loftq"):
        message = f"{train.lora.init_lora_weights} starts from whole weights: set `parallel: ddp`"
        yield Conflict(parallel, ("train", "lora", "init_lora_weights"), message)
    if train.method == "lora" and recipe.model.added_tokens:
        message = "new tokens' rows are trained beside the whole embedding: set `parallel: ddp`, or take method full"
        yield Conflict(parallel, ADDED, message)
    if train.sample_steps:
        yield Conflict(
            parallel, ("train", "sample_steps"), "one process cannot write with a part of the model: leave it out"
        )
    if train.load_best_model_at_end:
        message = "the best weights are taken up again by one process alone: leave it out, or set `parallel: ddp`"
        yield Conflict(parallel, ("train", "load_best_model_at_end"), message)
    if train.optim not in IN_PARTS:
        message = f"{train.optim} needs whole weights: take {IN_PARTS[0]}, or set `parallel: ddp`"
        yield Conflict(parallel, ("train", "optim"), message)


def _evaluation(recipe: Recipe) -> Iterator[Conflict]:
    objective = recipe.train.objective
    for index, step in enumerate(recipe.evaluate):
        (name, _), place = step.chosen, ("evaluate", index)
        if name == "completion" and recipe.prepare.template == "plain":
            message = "completion needs a template with prompt and completion, such as alpaca; plain has neither"
            yield Conflict(place, TEMPLATE, message)
        if name == "completion" and recipe.prepare.template == "chat":
            message = "a conversation has no single completion: measure perplexity or continuation"
            yield Conflict(place, TEMPLATE, message)
        if name == "preference" and objective not in PREFERENCES:
            message = "preference needs pairs of answers: `train.objective` dpo or reward"
            yield Conflict(place, OBJECTIVE, message)
        if name == "reward" and objective not in ROLLOUTS and objective != "reward":
            message = "reward needs what scores answers: `train.objective` rloo or grpo, with train.rollouts.rewards"
            yield Conflict(place, OBJECTIVE, message)
        if name != "preference" and objective == "reward":
            yield Conflict(place, OBJECTIVE, f"a reward model writes nothing: take preference instead of {name}")


def _measured_twice(recipe: Recipe) -> Iterator[Conflict]:
    first: dict[str, int] = {}
    for index, (name, _) in enumerate(step.chosen for step in recipe.evaluate):
        if name in first:
            earlier = ("evaluate", first[name])
            yield Conflict(("evaluate", index), earlier, f"{name} is measured already, in evaluate.{first[name]}")
        first.setdefault(name, index)

"""What of a recipe fits a machine; what is proposed makes it fit, and costs as little as possible."""

from __future__ import annotations

from typing import Any

import pytest

from steep.machine import Machine
from steep.recipe import Recipe
from steep.room import fits, fitted, fitting_batch, proposal, with_batch
from steep.sizes import Shape, training_memory

GIB = 2**30
LLAMA_3_8B = Shape.of(
    {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
)


def gpu(gibibytes: float) -> Machine:
    return Machine("a GPU", int(gibibytes * GIB), cuda=True, host=256 * GIB)


def recipe(max_length: int = 2048, **train: Any) -> Recipe:
    train = {"gradient_checkpointing": False} | train
    values = {"name": "any", "gather": [{"files": "x.txt"}], "prepare": {"max_length": max_length}, "train": train}
    return Recipe.model_validate(values)


def changed(options: Recipe, words: list[str]) -> Recipe:
    values = options.model_dump(exclude_unset=True)
    for word in words:
        key, _, value = word.partition("=")
        section, name = key.split(".")
        values.setdefault(section, {})[name] = {"true": True}.get(value, value) if not value.isdigit() else int(value)
    return Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("memory", "options", "expected"),
    [
        (48, recipe(batch_size=8), ["train.gradient_checkpointing=true"]),
        (
            48,
            recipe(batch_size=8, gradient_checkpointing=True, max_length=16384),
            ["train.batch_size=2", "train.gradient_accumulation_steps=4"],
        ),
        (18, recipe(batch_size=1, gradient_checkpointing=True), ["model.quantization=nf4"]),
    ],
    ids=["long batch", "already checkpointed", "large model"],
)
def test_the_cheapest_change_that_suffices_is_proposed(memory, options, expected):
    assert proposal(options, LLAMA_3_8B, gpu(memory)) == expected


@pytest.mark.parametrize("memory", [12, 16, 24, 40, 80])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_proposed_fits_and_keeps_the_rows_of_a_step(memory, method):
    options = recipe(batch_size=16, method=method)
    words = proposal(options, LLAMA_3_8B, gpu(memory))
    assert words is not None
    again = changed(options, words)
    assert fits(training_memory(LLAMA_3_8B, again, cuda=True), gpu(memory).memory)
    assert again.train.rows_per_step == 16


def test_full_training_stays_full_where_cheaper_changes_suffice_together():
    words = proposal(recipe(method="full", batch_size=8), LLAMA_3_8B, gpu(139))
    assert words is not None
    assert len(words) > 1
    assert not any(word.startswith(("model.", "train.method")) for word in words)


def test_shorter_rows_are_the_last_resort():
    options = recipe(max_length=65536, batch_size=1)
    words = proposal(options, LLAMA_3_8B, gpu(12))
    assert words is not None
    assert "prepare.max_length" in " ".join(words)
    assert "train.gradient_checkpointing=true" in words


def test_nothing_is_proposed_where_nothing_suffices():
    assert proposal(recipe(), LLAMA_3_8B, gpu(4)) is None


def test_a_new_model_is_not_quantised():
    new = {"from_scratch": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 32}}
    values = recipe(method="full", objective="pretrain").model_dump(exclude_unset=True) | {"model": new}
    values["prepare"] = {"max_length": 1024}
    options = Recipe.model_validate(values)
    shape = Shape.of(options.model.from_scratch.model_dump())
    words = proposal(options, shape, gpu(24)) or []
    assert not any(word.startswith("model.") for word in words)


def test_the_batch_is_the_largest_divisor_of_the_step_that_fits():
    options = recipe(batch_size="auto", global_batch_size=12)
    rows = fitting_batch(options, LLAMA_3_8B, gpu(80))
    assert 12 % rows == 0
    room = gpu(80).memory
    assert fits(training_memory(LLAMA_3_8B, with_batch(options, rows), cuda=True), room)
    larger = next(number for number in range(rows + 1, 13) if 12 % number == 0)
    assert not fits(training_memory(LLAMA_3_8B, with_batch(options, larger), cuda=True), room)


def test_devices_share_the_rows_of_a_step():
    options = recipe(max_length=64, batch_size="auto", global_batch_size=16, devices=4)
    assert fitting_batch(options, LLAMA_3_8B, gpu(80)) == 4
    assert with_batch(options, 2).train.rows_per_step == 16


def test_a_single_row_is_taken_where_nothing_fits():
    assert fitting_batch(recipe(batch_size="auto"), LLAMA_3_8B, gpu(1)) == 1


@pytest.mark.parametrize(
    ("memory", "policy"), [(141, False), (80, "selective"), (36, True), (25, "offloaded")], ids=str
)
def test_auto_computes_again_as_little_as_fits(memory, policy):
    options = recipe(batch_size=8, gradient_checkpointing="auto")
    assert fitted(options, LLAMA_3_8B, gpu(memory)).train.gradient_checkpointing == policy


def test_what_the_recipe_says_of_checkpointing_stays():
    options = recipe(batch_size=8, gradient_checkpointing=True)
    assert fitted(options, LLAMA_3_8B, gpu(141)).train.gradient_checkpointing is True


def test_a_batch_that_is_found_keeps_the_gpu_busy_before_activations_are_kept():
    found = fitted(recipe(batch_size="auto", gradient_checkpointing="auto"), LLAMA_3_8B, gpu(40)).train
    assert (found.batch_size, found.gradient_checkpointing) == (8, True)

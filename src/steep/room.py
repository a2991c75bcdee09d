"""What of a recipe fits a machine, and which small change of it would."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from steep.machine import Machine
from steep.recipe import Recipe
from steep.recipe.train import SUPERVISED
from steep.sizes import Memory, Shape, training_memory

SHARE = 0.9
"""Of a machine's memory that an estimate may take: it may be wrong by a tenth."""
SHORTEST = 64
"""Tokens below which no `max_length` is proposed."""
BUSY = 8192
"""Tokens at a time from which on a larger batch is hardly faster."""
Changes = dict[str, Any]
CHECKPOINTING: Changes = {"train.gradient_checkpointing": True}
EIGHT_BITS: Changes = {"train.optim": "paged_adamw_8bit"}
NF4: Changes = {"model.quantization": "nf4"}
NF4_ADAPTER: Changes = {**NF4, "train.method": "lora"}


def fits(memory: Memory, available: float) -> bool:
    return memory.total <= SHARE * available


def fitting_batch(recipe: Recipe, shape: Shape, machine: Machine) -> int:
    """Rows on each device at a time: the largest divisor of a device's rows of a step whose training fits; else 1."""
    whole = _rows_of_a_device(recipe)
    divisors = (rows for rows in range(whole, 0, -1) if whole % rows == 0)
    return next((rows for rows in divisors if _trains(with_batch(recipe, rows), shape, machine)), 1)


def fitted(recipe: Recipe, shape: Shape | None, machine: Machine) -> Recipe:
    """The recipe with what `batch_size: auto` and `gradient_checkpointing: auto` stand for, where that can be computed.

    The least checkpointing that fits, with a batch that keeps a GPU busy where the batch is to be found too.
    """
    if shape is None:
        return recipe
    tried = recipe
    for policy in _policies(recipe, machine):
        tried = _with_policy(recipe, policy)
        if recipe.train.batch_size == "auto":
            tried = with_batch(tried, fitting_batch(tried, shape, machine))
        if _trains(tried, shape, machine) and _busy(recipe, tried):
            break
    return tried


def _policies(recipe: Recipe, machine: Machine) -> tuple[bool | str, ...]:
    """From the fastest to the most sparing."""
    train = recipe.train
    if train.gradient_checkpointing != "auto":
        return (train.gradient_checkpointing,)
    if train.sharded:
        return False, True
    if not machine.cuda or train.objective not in SUPERVISED:
        return False, "selective", True
    return False, "selective", True, "offloaded"


def _with_policy(recipe: Recipe, policy: bool | str) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"gradient_checkpointing": policy})})


def _busy(asked: Recipe, tried: Recipe) -> bool:
    """Whether a batch that was found is large enough, or a whole step."""
    rows = tried.train.rows_at_a_time
    return (
        asked.train.batch_size != "auto" or rows * tried.prepare.max_length >= BUSY or rows == _rows_of_a_device(asked)
    )


def with_batch(recipe: Recipe, rows: int) -> Recipe:
    """The recipe with so many rows at a time and the same number in a step; ``rows`` divides those of a device."""
    batches = _rows_of_a_device(recipe) // rows
    update = {"batch_size": rows, "gradient_accumulation_steps": batches, "global_batch_size": None}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=update)})


def proposal(recipe: Recipe, shape: Shape, machine: Machine) -> list[str] | None:
    """Overrides, `key=value`, with which the training fits; None where nothing of what is tried suffices.

    Tried in the order of what they cost: computing activations again, smaller batches of the same step, an optimizer of
    8 bits, quantised weights, shorter rows; each only where all before it together do not suffice.
    """
    for changes in (*_combinations(recipe), *_shorter(recipe)):
        changed = _changed(recipe, changes)
        if changed is None:
            continue
        changed = _with_smaller_batch(changed, shape, machine) if "train.batch_size" in changes else changed
        if _trains(changed, shape, machine):
            return _words(changes, changed)
    return None


def _combinations(recipe: Recipe) -> Iterator[Changes]:
    """What costs more only after everything that costs less; of those, one change before two."""
    single = _single(recipe)
    for costliest, last in enumerate(single):
        for count in range(costliest + 1):
            for others in combinations(single[:costliest], count):
                yield {key: value for changes in (*others, last) for key, value in changes.items()}


def _single(recipe: Recipe) -> list[Changes]:
    """What is not as sparing yet; the batch is computed when it is known what it is combined with."""
    train = recipe.train
    found = [] if train.gradient_checkpointing else [CHECKPOINTING]
    if train.batch_size not in (1, "auto"):
        found.append({"train.batch_size": None})
    if train.optim != "paged_adamw_8bit":
        found.append(EIGHT_BITS)
    if recipe.model.quantization != "nf4" and recipe.model.from_scratch is None:
        found.append(NF4_ADAPTER if train.method == "full" else NF4)
    return found


def _shorter(recipe: Recipe) -> Iterator[Changes]:
    everything = {key: value for changes in _single(recipe) for key, value in changes.items()}
    length = recipe.prepare.max_length // 2
    while length >= SHORTEST:
        yield {**everything, "prepare.max_length": length}
        length //= 2


def _changed(recipe: Recipe, changes: Changes) -> Recipe | None:
    """None where the recipe would contradict itself."""
    values = recipe.model_dump(exclude_unset=True)
    for key, value in changes.items():
        section, name = key.split(".")
        if value is not None:
            values.setdefault(section, {})[name] = value
    try:
        return Recipe.model_validate(values)
    except ValidationError:
        return None


def _with_smaller_batch(recipe: Recipe, shape: Shape, machine: Machine) -> Recipe:
    now = recipe.train.rows_at_a_time
    return with_batch(
        recipe, next(rows for rows in _below(recipe, now) if rows == 1 or _fits(recipe, rows, shape, machine))
    )


def _below(recipe: Recipe, rows: int) -> Iterator[int]:
    whole = _rows_of_a_device(recipe)
    yield from (fewer for fewer in range(rows - 1, 0, -1) if whole % fewer == 0)


def _fits(recipe: Recipe, rows: int, shape: Shape, machine: Machine) -> bool:
    return _trains(with_batch(recipe, rows), shape, machine)


def _trains(recipe: Recipe, shape: Shape, machine: Machine) -> bool:
    return fits(training_memory(shape, recipe, cuda=machine.cuda), machine.memory)


def _rows_of_a_device(recipe: Recipe) -> int:
    return recipe.train.rows_per_step // (recipe.train.devices * recipe.train.nodes)


def _words(changes: Changes, changed: Recipe) -> list[str]:
    words = [f"{key}={str(value).lower()}" for key, value in changes.items() if value is not None]
    if "train.batch_size" in changes:
        train = changed.train
        words.append(f"train.batch_size={train.batch_size}")
        words.append(f"train.gradient_accumulation_steps={train.gradient_accumulation_steps}")
    return words

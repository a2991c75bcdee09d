"""Words of the command line to a space, each key with the type that the recipe's schema gives.

`a..b` is a range, `a,b,c` a choice of YAML values, and one value an override for every trial. All of it is checked
against the recipe before any work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from steep.config import read_recipe
from steep.errors import RecipeError, UsageError
from steep.located import Place, parse, shown
from steep.problems import section_at
from steep.sweep.space import Choice, Dimension, Range, Space, as_overrides, written

SWEPT = re.compile(r"train\.|model\.(quantization|double_quantization)$")
"""Keys that leave the validation examples and their tokens as they are."""
OTHER_LOSS = ("train.objective", "train.eval_steps", "train.dpo.", "train.reward.")
"""Of those, the ones that change what the loss is, or how often it is measured."""


def read_space(path: Path, words: Sequence[str]) -> Space:
    """The space of ``KEY=VALUE`` words. Raises UsageError, or RecipeError where the recipe does not allow a value."""
    dimensions, overrides = [], []
    for word in words:
        if _is_swept(word):
            dimensions.append(_dimension(path, word))
        else:
            overrides.append(word)
    if not dimensions:
        raise UsageError(
            "there is nothing to try: give a key a range (train.learning_rate=1e-4..1e-3) or a choice "
            "(train.lora.rank=8,16,32); one set of values is trained with `steep run`"
        )
    space = Space(tuple(dimensions), tuple(overrides))
    _check(path, space)
    return space


def _check(path: Path, space: Space) -> None:
    """Every end of the ranges must make a valid recipe."""
    read_recipe(path, space.overrides)
    keys = [one.key for one in space.dimensions]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"{twice[0]} is given twice: give one range or one choice")
    for values in space.corners():
        read_recipe(path, [*space.overrides, *as_overrides(values)])


def _check_key(path: Path, key: str) -> None:
    """It must be in the schema, and leave alone what is measured."""
    if _annotation(key) is None and not re.search(r"\.\d", key):
        read_recipe(path, [f"{key}=null"])  # raises with the nearest word
    if not SWEPT.match(key):
        raise UsageError(
            f"{key} changes the texts or tokens on which the validation loss is measured, so that trials could not be "
            "compared: sweep keys of train, or model.quantization"
        )
    if key.startswith(OTHER_LOSS):
        raise UsageError(f"{key} changes what the loss is, so that trials could not be compared: leave it fixed")


# ------------------------------------------------------------------------------------------------------------- words


def _is_swept(word: str) -> bool:
    key, _, text = word.partition("=")
    return _is_range(key.strip(), text) or len(_listed(text)) > 1


def _is_range(key: str, text: str) -> bool:
    """Of a text with two dots, which may also be a path."""
    low, dots, high = text.partition("..")
    numbers = _number(low) is not None and _number(high) is not None
    return bool(dots and low.strip() and high.strip()) and (numbers or bool(number_kinds(key)))


def _dimension(path: Path, word: str) -> Dimension:
    key, _, text = word.partition("=")
    key = key.strip()
    _check_key(path, key)
    if _is_range(key, text):
        return _range(shown(word), key, text)
    values = _listed(text)
    if twice := [value for place, value in enumerate(values) if value in values[:place]]:
        raise UsageError(f"{shown(word)}: {written(twice[0])} is named twice")
    return Choice(key, tuple(values))


def _range(word: str, key: str, text: str) -> Range:
    kinds = number_kinds(key)
    if not kinds:
        raise UsageError(f"{word}: {key} is no number, so that it has no range: name its values, as a,b,c")
    whole = float not in kinds
    texts = text.split("..", 1)
    low, high = (_number(end, whole=whole) for end in texts)
    if low is None or high is None:
        wrong = texts[0 if low is None else 1]
        raise UsageError(f"{word}: {key} is a {'whole ' if whole else ''}number, and {shown(wrong)!r} is none")
    if low >= high:
        raise UsageError(f"{word}: a range goes from the smaller number to the larger one")
    return Range(key, low, high, whole)


def _number(text: str, *, whole: bool = False) -> float | None:
    try:
        found = int(text) if whole else float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _listed(text: str) -> list[Any]:
    """The values between commas; those within brackets or quotes belong to one value."""
    try:
        data = parse(f"[{text}]", lambda line: Place(line, "")).data
    except RecipeError:
        return []
    return data if isinstance(data, list) else []


# ------------------------------------------------------------------------------------------------------------ schema


def _annotation(key: str) -> Any:
    """The type that the schema gives a key; None for an unknown one."""
    *parents, name = key.split(".")
    section = section_at([int(part) if part.isdecimal() else part for part in parents])
    field = section.model_fields.get(name) if section else None
    return field.annotation if field else None


def number_kinds(key: str) -> set[type]:
    """Which of int and float a key takes."""

    def leaves(annotation: Any) -> Iterator[Any]:
        inner = get_args(annotation)
        if not inner:
            yield annotation
        for one in inner:
            yield from leaves(one)

    annotation = _annotation(key)
    return {leaf for leaf in leaves(annotation) if leaf in (int, float)} if annotation is not None else set()

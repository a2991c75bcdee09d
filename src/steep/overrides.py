"""`train.epochs=1` on the command line: a path into the recipe and a value in YAML, applied before validation.

A path names keys and indices of lists, counted from 0. A section that the recipe leaves out is made; an entry of a list
is not, because its neighbours would be guesswork.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from steep.errors import RecipeError
from steep.located import Keys, Located, Mistake, Place, dotted, parse, shown

_AFTER_THE_FILE = 10**9
"""Overrides are reported after the lines of the file."""


def apply_overrides(recipe: Located, overrides: Iterable[str]) -> None:
    """Later ones win. What is wrong with one is added to the recipe's mistakes."""
    for index, override in enumerate(overrides):
        place = Place(_AFTER_THE_FILE + index, f"override {shown(override)}")
        try:
            _apply(recipe, override, place)
        except ValueError as error:
            recipe.mistakes.append(Mistake(place, (), str(error)))
        except RecipeError as error:  # the value is not YAML
            recipe.mistakes += [Mistake(place, (), problem.message) for problem in error.problems]


def _apply(recipe: Located, override: str, place: Place) -> None:
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ValueError("expected key.path=value, such as train.epochs=1")
    value = parse(text, lambda line: place)
    changed = copy.deepcopy(recipe.data)
    keys = set_value(changed, names, value.data)
    recipe.data = changed
    for inside in [known for known in recipe.places if known[: len(keys)] == keys]:
        del recipe.places[inside]
    for end in range(1, len(keys)):  # sections that the override made
        recipe.places.setdefault(keys[:end], place)
    recipe.places[keys] = place
    recipe.mistakes += [Mistake(place, keys + mistake.keys, mistake.message) for mistake in value.mistakes]


def set_value(data: Any, names: list[str], value: Any) -> Keys:
    """Set a value in a recipe's data, in place; returns the path that was set, with numbers for indices."""
    keys: Keys = ()
    for name, after in zip(names, [*names[1:], None], strict=True):
        key = _key(data, name, keys)
        keys = (*keys, key)
        if after is None:
            data[key] = value
        else:
            data[key] = _opened(data.get(key) if isinstance(data, dict) else data[key], after)
            data = data[key]
    return keys


def _opened(value: Any, after: str) -> Any:
    """What the path goes on into: nothing becomes a section, a bare step such as `deduplicate` one with options."""
    if value is None:
        return {}
    return {value: {}} if value == after else value


def _key(data: Any, name: str, keys: Keys) -> str | int:
    where = f"`{dotted(keys)}`"
    if isinstance(data, dict) and not data and len(keys) == 1 and name.isdecimal():
        raise ValueError(f"{where} is not in the recipe, so that it has no entry {name}: give all of {where} as a list")
    if isinstance(data, dict):
        return name
    if not isinstance(data, list):
        raise ValueError(f"{where} is a value without keys")
    if not name.isdecimal() or int(name) >= len(data):
        raise ValueError(
            f"{where} is a list of {len(data)}: expected an index from 0 to {len(data) - 1}, got {shown(name)!r}"
        )
    return int(name)

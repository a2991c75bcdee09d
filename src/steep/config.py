"""A recipe file, overrides and the environment to a `Recipe`; every mistake at once, each with its file and line.

The order: read YAML, apply overrides, fill in `${NAME}`, validate. A recipe has two forms: filled in, for use, and as
it was written with the defaults added, for the run folder, where no value from the environment may be stored.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from steep import problems
from steep.errors import Problem, RecipeError
from steep.located import Keys, Located, Mistake, Place, parse, report, shown
from steep.overrides import apply_overrides
from steep.recipe import Recipe
from steep.section import Section


@dataclass(frozen=True)
class RecipeFile:
    recipe: Recipe
    """For use: `${NAME}` is filled in."""
    stored: dict[str, Any]
    """For the run folder: defaults included, `${NAME}` as written. `recipe_from_stored` reads it back."""
    path: Path

    @property
    def folder(self) -> Path:
        """Where relative paths of the recipe start."""
        return self.path.parent


def load_recipe(path: str | Path, overrides: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> Recipe:
    """The recipe in a file; see `read_recipe` for its stored form and its folder."""
    return read_recipe(path, overrides, environ).recipe


def read_recipe(path: str | Path, overrides: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> RecipeFile:
    """Overrides are such as ``train.epochs=1`` or ``gather.0.max_pages=50``. Mistakes raise one `RecipeError`."""
    path = Path(path)
    located = parse(_text(path), lambda line: Place(line, f"{path}:{line}"))
    if not isinstance(located.data, dict):
        raise report([Mistake(located.place(()), (), _not_a_recipe(located.data))])
    apply_overrides(located, overrides)
    recipe = _validate(located, environ)
    filled = recipe.model_dump(mode="json", exclude_none=True)
    # a link leads to the folder of the file that it stands for
    return RecipeFile(recipe, _as_written(recipe, filled, located.data), path.resolve())


def recipe_from_stored(stored: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Recipe:
    """The recipe of a run folder, with `${NAME}` filled in anew."""
    return _validate(Located(dict(stored), {(): Place(0, "run.json")}), environ)


# ------------------------------------------------------------------------------------------------------------- file


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        found = ", ".join(sorted(file.name for file in path.glob("*.y*ml"))) or "it holds none"
        raise _unreadable(path, f"is a folder; name a recipe in it: {found}") from None
    except FileNotFoundError:
        raise _unreadable(path, f"no such file{_nearest_file(path)}") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(f"{path}:{line}", "is not UTF-8: save the file as UTF-8") from None


def _unreadable(where: Path | str, message: str) -> RecipeError:
    return RecipeError([Problem(str(where), message)])


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    names = [file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    near = problems.nearest(path.name, names)
    return f": did you mean {path.with_name(near)}?" if near else ""


def _not_a_recipe(data: Any) -> str:
    keys = ", ".join(Recipe.model_fields)
    if data is None:
        return f"the file is empty: a recipe has the keys {keys}; name and gather are needed"
    kind = "a list" if isinstance(data, list) else "a single value"
    return f"the file is {kind}: a recipe has the keys {keys}, each at the start of a line"


# ------------------------------------------------------------------------------------------------------ environment

_VARIABLE = re.compile(r"\$(?P<plain>\$\{)|\$\{(?P<name>[^{}]*)\}")
"""`${NAME}`, and `$${` for a plain `${`."""


def _filled(value: Any, keys: Keys, environ: Mapping[str, str], missing: dict[Keys, str]) -> Any:
    """A copy with `${NAME}` filled in; what cannot be filled in is left and noted in `missing`."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, (*keys, key), environ, missing) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, (*keys, index), environ, missing) for index, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if match["plain"]:
            return "${"
        if not environ.get(name):
            missing[keys] = _unset(name, name in environ)
        return environ.get(name, "")

    return _VARIABLE.sub(fill, value)


def secrets_hidden(
    addresses: Iterable[str], secrets: Iterable[str] = (), environ: Mapping[str, str] = os.environ
) -> Callable[[str], str]:
    """A function that puts ``${NAME}`` back in place of its value: all of those in ``secrets``, and what stands in a
    query or before an ``@`` in ``addresses``.

    Both are as written. A variable that is the address itself is no secret, and hiding it would hide the site.
    """
    forms: dict[str, str] = {}

    def hidden(match: re.Match[str]) -> None:
        if value := environ.get(match["name"] or "", ""):
            forms.update(dict.fromkeys((value, quote(value), quote(value, safe="")), match[0]))

    for address in addresses:
        for match in _VARIABLE.finditer(address):
            if "?" in address[: match.start()] or "@" in address[match.end() :]:
                hidden(match)
    for secret in secrets:
        for match in _VARIABLE.finditer(secret):
            hidden(match)

    def hide(text: str) -> str:
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, forms[form])
        return text

    return hide


def _unset(name: str, empty: bool) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return f"${{{shown(name)}}} is no environment variable's name: write $${{ for a plain ${{"
    data = ", the folder of the data that lies outside of the repository" if name == "STEEP_DATA" else ""
    return f"${{{name}}} is {'empty' if empty else 'not set'}: export {name}=…{data}"


# ------------------------------------------------------------------------------------------------------- validation


def _validate(located: Located, environ: Mapping[str, str]) -> Recipe:
    missing: dict[Keys, str] = {}
    filled = _filled(located.data, (), environ, missing)
    found: list[tuple[Keys, str]] = list(missing.items())
    known = {*missing, *(mistake.keys for mistake in located.mistakes)}
    try:
        recipe = Recipe.model_validate(filled)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        found += [(keys, text) for keys, text in problems.mistakes(errors, located.data) if keys not in known]
        found += problems.mistakes(list(_further_conflicts(filled, errors)), located.data)
    mistakes = located.mistakes + [Mistake(located.place(keys), keys, text) for keys, text in found]
    if mistakes:
        raise report(mistakes)
    return recipe


def _further_conflicts(data: dict[str, Any], errors: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Contradictions between sections, which pydantic looks for only where all else is right: look without the rest."""
    data, broken = copy.deepcopy(data), set[Keys]()
    while any(error["type"] != "conflict" for error in errors):
        removed = {_removable(data, problems.path(error, data)) for error in errors}
        if () in removed:
            return
        for keys in sorted(removed, key=len, reverse=True):
            problems.value_at(data, keys[:-1]).pop(keys[-1])
        broken |= removed
        errors = _errors({"name": "any", "gather": [{"files": "any"}], **data})
    for error in errors if broken else ():
        if not any(_touch(keys, place) for keys in broken for place in (error["loc"], error["ctx"]["other"])):
            yield error


def _errors(data: dict[str, Any]) -> list[ErrorDetails]:
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _touch(one: Keys, other: Keys) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _removable(data: Any, keys: Keys) -> Keys:
    """What stands there, or the whole list that it stands in, or, for a missing key, its section."""
    keys = tuple(itertools.takewhile(lambda key: isinstance(key, str), keys))
    while keys and problems.value_at(data, keys) is None:
        keys = keys[:-1]
    return keys


# ------------------------------------------------------------------------------------------------------ stored form


def _as_written(value: Any, dumped: Any, written: Any) -> Any:
    """The filled recipe with each `${NAME}` as it was written."""
    if isinstance(value, Section):
        written = value.long_form(written)
        value = {key: getattr(value, key) for key in dumped}
    if isinstance(value, dict) and isinstance(written, Mapping):
        return {key: _as_written(value[key], dumped[key], written.get(key)) for key in dumped}
    if isinstance(value, list) and isinstance(written, list):
        return [_as_written(*items) for items in zip(value, dumped, written, strict=True)]
    return written if isinstance(written, str) and "${" in written else dumped

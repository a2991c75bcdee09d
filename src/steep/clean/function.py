"""A step of the user's own: a Python function that takes a document and returns its new text, or None to drop it.

Its module lies beside the recipe, where it may import its neighbours, or is an installed one. What goes wrong in it is
told with the document and the line of the user's file. Python knows a module by its name alone, so one beside the
recipe must not be called like another that is in use: that is an error and not the wrong module.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from steep.clean.rows import Batch, Drop, RowStep
from steep.errors import SteepError, UsageError, traced
from steep.paths import function_file
from steep.recipe.clean import Function

Called = Callable[[dict[str, Any]], Any]

FACTS = ("source", "url", "published", "owner", "licence")
"""What a function is given of a document beside its text, title and meta."""


def function_step(options: Function, folder: Path) -> RowStep:
    function, home = _function(options.call, folder.resolve())

    def step(batch: Batch) -> None:
        texts = [_called(function, options.call, home, document) for document in _documents(batch)]
        gone = f"{options.call} returned None"
        batch.drops = [Drop(gone, gone) if text is None else None for text in texts]
        batch.text = [before if text is None else text for before, text in zip(batch.text, texts, strict=True)]

    return step


def _documents(batch: Batch) -> list[tuple[str, dict[str, Any]]]:
    """Each with its id."""
    nothing = [None] * len(batch)
    facts = [batch.facts.get(name, nothing) for name in FACTS]
    rows = zip(batch.facts["id"], batch.text, batch.title, batch.meta, *facts, strict=True)
    return [
        (
            number,
            {"text": text, "title": title, **dict(zip(FACTS, known, strict=True)), "meta": json.loads(meta or "{}")},
        )
        for number, text, title, meta, *known in rows
    ]


def _called(function: Called, call: str, home: Path, document: tuple[str, dict[str, Any]]) -> str | None:
    number, fields = document
    try:
        text = function(fields)
    except Exception as error:
        raise SteepError(f"clean: function: {call} failed on document {number}: {traced(error, home)}") from error
    if text is None or isinstance(text, str):
        return text
    raise UsageError(
        f"clean: function: {call} returned a value of type {type(text).__name__} for document {number}: "
        "it must return the new text, or None to drop the document"
    )


def _function(call: str, folder: Path) -> tuple[Called, Path]:
    """The function, and the folder of its module."""
    module_name, _, name = call.partition(":")
    module = _module(call, module_name, folder)
    function = getattr(module, name, None)
    if not callable(function):
        there = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        has = f"it has {', '.join(there)}" if there else "it has none at all"
        raise UsageError(f"clean: function: {module.__file__ or module_name} has no function {name!r}: {has}")
    return function, Path(module.__file__ or folder).parent


def _module(call: str, name: str, folder: Path) -> ModuleType:
    file = function_file(call, folder)
    try:
        return importlib.import_module(name) if file is None else _beside(name, file, folder)
    except UsageError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            place = folder.joinpath(*name.split(".")).with_suffix(".py")
            raise UsageError(
                f"clean: function: there is no module {name!r}: write {place}, or install the package that holds it"
            ) from error
        raise UsageError(f"clean: function: {call} cannot be imported: {traced(error, folder)}") from error


def _beside(name: str, file: Path, folder: Path) -> ModuleType:
    """The module in the file as it is now; what its functions import later is looked for in the folder last."""
    top = name.partition(".")[0]
    known = importlib.util.find_spec(top)
    if known and not any(Path(place).resolve().is_relative_to(folder.resolve()) for place in _places(known)):
        raise UsageError(
            f"clean: function: {file} is called like another module ({known.origin or _places(known)[0]}): rename it"
        )
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        sys.modules.pop(name, None)  # it may have been edited since
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _places(spec: ModuleSpec) -> list[str]:
    return list(spec.submodule_search_locations or [spec.origin or ""])

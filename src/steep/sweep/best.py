"""The recipe with the best trial's values written in, its comments kept."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.util import load_yaml_guess_indent

from steep.config import RecipeFile, read_recipe
from steep.located import Place, parse
from steep.overrides import set_value
from steep.runs import write_atomically


def write_best(recipe: Path, overrides: Sequence[str]) -> Path:
    """Beside the recipe, as ``<stem>.best.yaml``, since its relative paths start there.

    Where the recipe is written so that a value cannot be put in alone (an alias), the filled recipe takes its place.
    """
    path = recipe.with_name(f"{recipe.stem}.best.yaml")
    meant = read_recipe(recipe, overrides)
    write_atomically(path, _edited(recipe.read_text("utf-8-sig"), overrides))
    if read_recipe(path).stored != meant.stored:
        write_atomically(path, _filled(meant))
    return path


def _edited(text: str, overrides: Sequence[str]) -> str:
    data, indent, offset = load_yaml_guess_indent(text, yaml=_yaml())
    for override in overrides:
        key, _, value = override.partition("=")
        set_value(data, key.strip().split("."), parse(value, lambda line: Place(line, "")).data)
    return _dumped(data, indent or 2, offset or 0)


def _filled(recipe: RecipeFile) -> str:
    return _dumped(recipe.stored, 4, 2)


def _dumped(data: object, indent: int, offset: int) -> str:
    yaml = _yaml()
    yaml.indent(mapping=2, sequence=indent, offset=offset)
    written = io.StringIO()
    yaml.dump(data, written)
    return written.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml

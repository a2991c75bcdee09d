"""What would stop a recipe on this machine, found before any work: missing files, and a model that cannot do as asked.

`steep run` asks here before its first stage, `steep check` before its plan. Only folders, config.json and the headers
of weights are read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from steep import sizes
from steep.base import Base, find_base
from steep.config import RecipeFile
from steep.errors import ModelError, RecipeError, SourceError
from steep.located import Keys, Mistake, Place, parse, report
from steep.paths import function_file, matching_files, on_this_machine
from steep.recipe import Recipe
from steep.recipe.clean import CleanStep
from steep.recipe.evaluate import EvaluateStep
from steep.recipe.gather import WebSource


@dataclass(frozen=True, slots=True)
class Examined:
    """What the recipe names and this machine has."""

    files: dict[int, list[Path]]
    """Of each source in `gather` that reads files, by its index."""
    base: Base


def examine(recipe: RecipeFile, *, training: bool = True) -> Examined:
    """Raises RecipeError with all that would stop the recipe. ``training``: whether it is to be trained here."""
    mistakes: list[tuple[Keys, str]] = []
    found = Examined(_files(recipe, mistakes), _base(recipe, mistakes))
    _clean_files(recipe, mistakes)
    _evaluate_files(recipe, mistakes)
    _harness_tasks(recipe, mistakes)
    if training:
        _gpus(recipe, mistakes)
        _rewards(recipe, mistakes)
        _trackers(recipe, mistakes)
    if mistakes:
        raise _located(recipe, mistakes)
    return found


def _located(recipe: RecipeFile, mistakes: Sequence[tuple[Keys, str]]) -> RecipeError:
    located = parse(recipe.path.read_text("utf-8-sig"), lambda line: Place(line, f"{recipe.path}:{line}"))
    return report(Mistake(located.place(keys), keys, message) for keys, message in mistakes)


def _files(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for index, source in enumerate(recipe.recipe.gather):
        if source.credential and not os.environ.get(variable := getattr(source, source.credential)):
            mistakes.append((("gather", index, source.credential), f"{variable} is not set: export {variable}=…"))
        if isinstance(source, WebSource) and source.render != "never":
            mistakes += [(("gather", index, "render"), said) for said in _no_browser()]
        if not source.on_disk:
            continue
        try:
            found[index] = matching_files(on_this_machine(source.places), recipe.folder)
        except SourceError as error:
            mistakes.append((("gather", index, source.kind), str(error)))
    return found


def _no_browser() -> Iterator[str]:
    from steep.gather.chromium import chromium

    try:
        chromium()
    except SourceError as error:
        yield str(error)


def clean_files(steps: Sequence[CleanStep], folder: Path) -> list[Path]:
    """The files that steps of cleaning read; SourceError where one is missing."""
    files: list[Path] = []
    for name, options in (step.chosen for step in steps):
        if name == "function":
            files += _module_file(options.call, folder)
        elif name == "decontaminate":
            files += matching_files(on_this_machine(options.against), folder)
    return files


def _module_file(call: str, folder: Path) -> list[Path]:
    if file := function_file(call, folder):
        return [file]
    module = call.partition(":")[0]
    if find_spec(module.partition(".")[0]) is None:
        raise SourceError(f"function: no module {module!r}, neither beside the recipe ({folder}) nor installed")
    return []


def _clean_files(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    for index, step in enumerate(recipe.recipe.clean):
        try:
            clean_files([step], recipe.folder)
        except SourceError as error:
            mistakes.append((("clean", index), str(error)))


def evaluate_files(steps: Sequence[EvaluateStep], folder: Path) -> list[Path]:
    """The files that steps of evaluation read; SourceError where one is missing."""
    named = [folder / step.forgetting.texts for step in steps if step.forgetting and step.forgetting.texts]
    for path in named:
        if not path.is_file():
            raise SourceError(f"there is no file {path}")
    return named


def _evaluate_files(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    for index, step in enumerate(recipe.recipe.evaluate):
        try:
            evaluate_files([step], recipe.folder)
        except SourceError as error:
            mistakes.append((("evaluate", index, "forgetting", "texts"), str(error)))


def _gpus(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    """Without any GPU, as many processes share the CPU; that of several machines each has as many is seen there."""
    train = recipe.recipe.train
    found = gpus() if train.devices > 1 and train.nodes == 1 else []
    if found and train.devices > len(found):
        message = f"this machine has {len(found)} GPU{'s' * (len(found) > 1)} ({found[0]}): lower it to that"
        mistakes.append((("train", "devices"), message))


def _rewards(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    for index, name in enumerate(recipe.recipe.train.rollouts.rewards):
        keys: Keys = ("train", "rollouts", "rewards", index)
        if ":" in name:
            try:
                _module_file(name, recipe.folder)
            except SourceError as error:
                mistakes.append((keys, str(error)))
        elif name.startswith((".", "/", "~", "runs/")) and not (recipe.folder / Path(name).expanduser()).is_dir():
            mistakes.append((keys, f"there is no folder {recipe.folder / Path(name).expanduser()}"))


def _trackers(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    for index, name in enumerate(recipe.recipe.train.report_to):
        if find_spec(name) is None:
            keys: Keys = ("train", "report_to", index)
            mistakes.append((keys, f"{name} is not installed: pip install {name}, or leave it out"))


def gpus() -> list[str]:
    """The names of those that nvidia-smi sees and CUDA_VISIBLE_DEVICES leaves."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    names = found.stdout.splitlines() if found.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names if visible is None else names[: len([one for one in visible.split(",") if one.strip()])]


def _harness_tasks(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> None:
    for index, step in enumerate(recipe.recipe.evaluate):
        if step.lm_eval:
            from steep.evaluate.harness_tasks import harness_mistakes

            found = harness_mistakes(step.lm_eval, recipe.folder)
            mistakes += [(("evaluate", index, "lm_eval", *keys), said) for keys, said in found]


def _base(recipe: RecipeFile, mistakes: list[tuple[Keys, str]]) -> Base:
    try:
        base = find_base(recipe.recipe.model, recipe.folder)
    except ModelError as error:
        mistakes.append((("model", "base"), str(error)))
        return Base(recipe.recipe.model.base, "", {}, None)
    mistakes += [*_too_long(recipe.recipe, base), *_no_targets(recipe.recipe, base), *_no_layers(recipe.recipe, base)]
    return base


def _too_long(recipe: Recipe, base: Base) -> Iterator[tuple[Keys, str]]:
    positions, length = base.config.get("max_position_embeddings"), recipe.prepare.max_length
    if positions is not None and length > positions:
        yield ("prepare", "max_length"), f"{length:,} is above the model's {positions:,} positions: lower it"


def _no_targets(recipe: Recipe, base: Base) -> Iterator[tuple[Keys, str]]:
    adapter, keys = recipe.train.adapter, ("train", recipe.train.method, "target_modules")
    if adapter is None or adapter.target_modules == "all-linear":
        return
    targets = adapter.target_modules
    for name in [targets] if isinstance(targets, str) else targets:
        if name == "lm_head":
            yield keys, "lm_head gets no adapter: the loss is computed from its weights without it; leave it out"
        elif base.shape is not None and not any(sizes.adapted(base.shape, [name])):
            known = ", ".join(linear.name.rpartition(".")[2] for linear in base.shape.linears)
            yield keys, f"the model has no linear layer {name!r}; it has {known}"


def _no_layers(recipe: Recipe, base: Base) -> Iterator[tuple[Keys, str]]:
    layers = recipe.train.adaption_prompt.adapter_layers
    if recipe.train.method == "adaption-prompt" and layers and base.shape and layers > base.shape.num_hidden_layers:
        said = f"{layers} is more than the model's {base.shape.num_hidden_layers} layers: lower it"
        yield ("train", "adaption_prompt", "adapter_layers"), said

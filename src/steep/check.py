"""`steep check`: what a recipe would do, without doing it: stages, sources, model, steps, memory, time.

Nothing is loaded, locked or written, and no heavy library imported, so the answer comes in 0.3 s. Only input files are
read in full, since their content decides which stages are unchanged: 1 s per GB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from steep import sizes
from steep.base import Base
from steep.config import RecipeFile
from steep.pipeline import fingerprints
from steep.preflight import examine
from steep.recipe import Recipe
from steep.recipe.gather import SourceSection, WebSource
from steep.runs import STAGES, Run
from steep.sizes import Memory, Shape, Work, trainable_parameters

UNCHANGED = "unchanged"
UNKNOWN = "known after prepare"
DONE = "none: trained already"
KINDS = {
    "news": "articles of a news API",
    "feed": "entries of a feed",
    "apify": "posts of each page, fetched by Apify",
    "hub": "rows of a data set",
    "sql": "rows of a data base",
}


@dataclass(frozen=True, slots=True)
class Row:
    section: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where training would run, and the bytes of memory there."""

    name: str
    memory: int
    cuda: bool


def print_plan(recipe: RecipeFile, runs: Path) -> None:
    """Print what the recipe would do. Raises RecipeError with all that would stop it on this machine."""
    rows = plan(recipe, Run(runs / recipe.recipe.name), this_machine())
    for section, members in groupby(rows, key=lambda row: row.section):
        shown = list(members)
        width = max(len(row.name) for row in shown)
        print(section)  # noqa: T201
        for row in shown:
            print(f"  {row.name:<{width}}  {row.text}")  # noqa: T201


def plan(recipe: RecipeFile, run: Run, machine: Machine) -> list[Row]:
    """The rows of `print_plan`: pure but for reading files."""
    examined = examine(recipe)
    base = examined.base
    states = stage_states(recipe, run)
    prepared = run.summary("prepare") if states["prepare"] == UNCHANGED else None
    time = _time(recipe.recipe, base.shape, run, prepared)
    return [
        *(Row("stages", name, state) for name, state in states.items()),
        *_sources(recipe, examined.files),
        *_model(recipe.recipe, base),
        *_training(recipe.recipe, prepared),
        Row("training", "time", DONE if states["train"] == UNCHANGED else time),
        *_memory(recipe.recipe, base.shape, machine),
    ]


# ----------------------------------------------------------------------------------------------------------- stages


def stage_states(recipe: RecipeFile, run: Run) -> dict[str, str]:
    """Of each stage, whether it would run."""
    prints, finished = fingerprints(recipe), run.read()["stages"]
    unchanged = run.unchanged(prints)
    states: dict[str, str] = {}
    for name in STAGES:
        if name in unchanged:
            states[name] = UNCHANGED
        elif run.interrupted(name, prints[name]):
            states[name] = "goes on where it was interrupted"
        else:
            states[name] = "runs again: it or its input changed" if name in finished else "runs"
    return states


# ---------------------------------------------------------------------------------------------------------- sources


def _sources(recipe: RecipeFile, files: Mapping[int, Sequence[Path]]) -> Iterator[Row]:
    """Shown as written in the recipe, since a value from the environment may be a secret."""
    for index, (source, written) in enumerate(zip(recipe.recipe.gather, recipe.stored["gather"], strict=True)):
        where = _joined(written[source.kind])
        if source.on_disk:
            yield Row("sources", where, _found(files[index], source.kind))
        else:
            yield Row("sources", where, _limits(source))


def _limits(source: SourceSection) -> str:
    if isinstance(source, WebSource):
        limits = f"at most {source.max_pages:,} pages of {source.max_bytes / 1e6:,.0f} MB, {source.timeout:g} s each"
        return f"website: {limits}; robots.txt obeyed"
    limit = getattr(source, "limit", None)
    return KINDS[source.kind] + (f": at most {limit:,}" if limit else "")


def _found(files: Sequence[Path], kind: str) -> str:
    sizes = [path.stat().st_size for path in files]
    empty = f", {sizes.count(0)} of them empty" if 0 in sizes else ""
    what = ("export" if kind == "social" else "file") + ("" if len(files) == 1 else "s")
    return f"{len(files):,} {what}, {sum(sizes) / 1e6:,.2f} MB{empty}"


def _joined(written: Any) -> str:
    return ", ".join(written) if isinstance(written, list) else str(written)


# ------------------------------------------------------------------------------------------------------------ model


def _model(recipe: Recipe, base: Base) -> Iterator[Row]:
    yield Row("model", base.name, base.place)
    if not base.config:
        return
    yield Row("model", "architecture", ", ".join(base.config.get("architectures") or [base.config["model_type"]]))
    shape = base.shape
    if shape is None:
        yield Row("model", "parameters", f"not known: computed for {' and '.join(sizes.KNOWN)} only")
        return
    tied = ", tied" if shape.tie_word_embeddings else ""
    size = f"{shape.num_hidden_layers} layers of {shape.hidden_size:,}; vocabulary {shape.vocab_size:,}{tied}"
    yield Row("model", "shape", f"{size}; {shape.max_position_embeddings:,} positions")
    trained = trainable_parameters(shape, recipe.train)
    share = f"{100 * trained / shape.parameters:.3g} %"
    yield Row("model", "parameters", f"{shape.parameters:,}; {recipe.train.method} trains {trained:,} ({share})")


# --------------------------------------------------------------------------------------------------- steps and time


def _training(recipe: Recipe, prepared: Mapping[str, Any] | None) -> Iterator[Row]:
    if prepared is None:
        yield Row("training", "examples", UNKNOWN)
        yield Row("training", "steps", f"{recipe.train.max_steps:,}" if recipe.train.max_steps else UNKNOWN)
        return
    train, test = prepared["train"], prepared["test"]
    held_out = f"{test['examples']:,} held out"
    yield Row("training", "examples", f"{train['examples']:,} of {train['tokens']:,} tokens; {held_out}")
    work = _work(recipe, prepared)
    about = "about " if recipe.train.packing else ""
    rows = f"{about}{work.rows:,} rows of up to {recipe.prepare.max_length:,} tokens"
    batch = f"{recipe.train.batch_size} x {recipe.train.gradient_accumulation_steps} rows a step"
    yield Row("training", "steps", f"{about}{work.steps:,}: {work.epochs:.3g} epochs, {rows}, {batch}")


def _work(recipe: Recipe, prepared: Mapping[str, Any]) -> Work:
    train = prepared["train"]
    return sizes.training_work(train["examples"], train["tokens"], recipe.train, recipe.prepare.max_length)


def _time(recipe: Recipe, shape: Shape | None, run: Run, prepared: Mapping[str, Any] | None) -> str:
    """From the speed of this run's last training, where that was of the same model and method."""
    if not (run.stage("train") / "summary.json").exists():
        return "not known: this run has not been trained yet"
    last = run.summary("train")
    trained = trainable_parameters(shape, recipe.train) if shape else 0
    whole = shape.parameters + (trained if recipe.train.method == "lora" else 0) if shape else 0
    if (last["parameters"], last["trainable_parameters"]) != (whole, trained):
        return "not known: the last training was of another model or another method"
    rate = min(last["tokens_per_second"], last["tokens"] / last["seconds"])  # with checkpoints; resumed or not
    speed = f"{rate:,.0f} tokens/s, as the last time ({last['device']})"
    if prepared is None:
        return f"{UNKNOWN}; {speed}"
    return f"about {_work(recipe, prepared).tokens / rate / 60:,.1f} min at {speed}"


# ----------------------------------------------------------------------------------------------------------- memory


def this_machine() -> Machine:
    """The first GPU that nvidia-smi names, or the CPU."""
    if program := shutil.which("nvidia-smi"):
        command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        name, _, mebibytes = found.stdout.partition("\n")[0].rpartition(", ")
        if found.returncode == 0 and mebibytes.isdigit():
            return Machine(name, int(mebibytes) * 2**20, cuda=True)
    return Machine("this machine", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), cuda=False)


def _memory(recipe: Recipe, shape: Shape | None, machine: Machine) -> Iterator[Row]:
    if shape is None:
        yield Row("memory", "train", "not known: it is computed from the model's config.json")
        return
    length, cuda = recipe.prepare.max_length, machine.cuda
    yield Row("memory", "train", _fits(sizes.training_memory(shape, recipe, cuda=cuda), machine))
    evaluation = sizes.evaluation_memory(shape, recipe.train, recipe.evaluate, length, cuda=cuda, memory=machine.memory)
    yield Row("memory", "evaluate", _fits(evaluation, machine))


def _fits(memory: Memory, machine: Machine) -> str:
    verdict = "fits" if memory.total <= machine.memory else "does NOT fit: lower train.batch_size or prepare.max_length"
    parts = zip(fields(memory), astuple(memory), strict=True)
    named = ", ".join(f"{field.name} {part / 2**30:.2f}" for field, part in parts if part)
    have = f"{machine.name} has {machine.memory / 2**30:.1f} GiB"
    return f"about {memory.total / 2**30:.1f} GiB ({named}); {have}: {verdict}"

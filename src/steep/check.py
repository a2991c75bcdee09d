"""`steep check`: what a recipe would do, without doing it: stages, sources, model, steps, memory, time.

Nothing is loaded, locked or written, and no heavy library imported, so the answer comes in 0.3 s. Only input files are
read in full, since their content decides which stages are unchanged: 1 s per GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from steep import sizes
from steep.base import Base
from steep.config import RecipeFile
from steep.machine import Machine, this_machine, with_dtype
from steep.pipeline import fingerprints
from steep.preflight import examine
from steep.recipe import Recipe, Train
from steep.recipe.gather import SourceSection, WebSource
from steep.room import fits, fitted, proposal
from steep.runs import STAGES, Run
from steep.sizes import PAGED, Memory, Shape, Work, trainable_parameters
from steep.speed.plan import make_plan, training_operations

LESS = {
    "train": "no change of the recipe makes it fit: take a smaller model or a larger GPU",
    "evaluate": "lower prepare.max_length or the batch_size of the step that generates",
    "merge": "merge on a machine with more memory",
}
"""What to do where it does not fit."""
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
    train = with_dtype(recipe.recipe.train, cuda=machine.cuda)
    filled = fitted(recipe.recipe.model_copy(update={"train": train}), base.shape, machine)
    time = _time(filled, base.shape, run, prepared)
    return [
        *(Row("stages", name, state) for name, state in states.items()),
        *_sources(recipe, examined.files),
        *_model(recipe.recipe, base),
        *_training(recipe.recipe, filled, prepared),
        Row("training", "time", DONE if states["train"] == UNCHANGED else time),
        *_speed(recipe.recipe, filled, base.shape, machine, prepared),
        *_memory(filled, base.shape, machine),
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
    trained = trainable_parameters(shape, recipe.train, len(recipe.model.added_tokens))
    share = f"{100 * trained / shape.parameters:.3g} %"
    yield Row("model", "parameters", f"{shape.parameters:,}; {recipe.train.method} trains {trained:,} ({share})")


# --------------------------------------------------------------------------------------------------- steps and time


def _training(asked: Recipe, recipe: Recipe, prepared: Mapping[str, Any] | None) -> Iterator[Row]:
    if asked.train.batch_size == "auto":
        yield Row("training", "batch", _batch(recipe))
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
    yield Row("training", "steps", f"{about}{work.steps:,}: {work.epochs:.3g} epochs, {rows}, {_step(recipe.train)}")


def _batch(recipe: Recipe) -> str:
    """What `batch_size: auto` comes to."""
    if recipe.train.batch_size == "auto":
        return "chosen when the model's size is known"
    return f"{recipe.train.batch_size} rows at a time is the largest that fits: {_step(recipe.train)}"


def _step(train: Train) -> str:
    places = train.devices * train.nodes
    batch = f"{train.rows_at_a_time} x {train.gradient_accumulation_steps} rows a step"
    return batch if places == 1 else f"{batch} on each of {places} devices"


def _work(recipe: Recipe, prepared: Mapping[str, Any]) -> Work:
    train = prepared["train"]
    return sizes.training_work(train["examples"], train["tokens"], recipe.train, recipe.prepare.max_length)


def _time(recipe: Recipe, shape: Shape | None, run: Run, prepared: Mapping[str, Any] | None) -> str:
    """From the speed of this run's last training, where that was of the same model and method."""
    if not (run.stage("train") / "summary.json").exists():
        return "not known: this run has not been trained yet"
    last = run.summary("train")
    trained = trainable_parameters(shape, recipe.train, len(recipe.model.added_tokens)) if shape else 0
    whole = shape.parameters + (trained if recipe.train.method != "full" else 0) if shape else 0
    if (last["parameters"], last["trainable_parameters"]) != (whole, trained):
        return "not known: the last training was of another model or another method"
    rate = min(last["tokens_per_second"], last["tokens"] / last["seconds"])  # with checkpoints; resumed or not
    speed = f"{rate:,.0f} tokens/s, as the last time ({last['device']})"
    if prepared is None:
        return f"{UNKNOWN}; {speed}"
    return f"about {_work(recipe, prepared).tokens / rate / 60:,.1f} min at {speed}"


# ------------------------------------------------------------------------------------------------------------ speed


def _speed(
    asked: Recipe, recipe: Recipe, shape: Shape | None, machine: Machine, prepared: Mapping[str, Any] | None
) -> Iterator[Row]:
    """What the plan of `steep.speed` chooses, with its reasons."""
    operations = None
    if shape is not None and prepared is not None:
        operations = training_operations(recipe.train, shape.parameters, _work(recipe, prepared).tokens)
    made = make_plan(recipe.train, recipe.model.quantization, cuda=machine.cuda, operations=operations)
    yield from (Row("speed", *row) for row in made.rows())
    if asked.train.gradient_checkpointing == "auto":
        chosen = str(recipe.train.gradient_checkpointing).lower()
        yield Row("speed", "checkpointing", f"{chosen} (the least that fits by the estimate below)")


# ----------------------------------------------------------------------------------------------------------- memory


def _memory(recipe: Recipe, shape: Shape | None, machine: Machine) -> Iterator[Row]:
    if shape is None:
        yield Row("memory", "train", "not known: it is computed from the model's config.json")
        return
    memory = sizes.training_memory(shape, recipe, cuda=machine.cuda)
    paged = "; the optimizer's part may move to the host" if recipe.train.optim in PAGED else ""
    yield Row("memory", "train", f"{_said(memory)}{paged}; {_verdict(memory, machine, recipe, shape)}")
    memory = sizes.evaluation_memory(shape, recipe, cuda=machine.cuda, memory=machine.memory)
    yield Row(
        "memory", "evaluate", f"{_said(memory)}; {_there(memory, machine.name, machine.memory, LESS['evaluate'])}"
    )
    merged = sizes.merge_memory(shape, recipe)
    if merged is not None:
        host = "the host" if machine.cuda else machine.name
        yield Row("memory", "merge", f"{_said(merged)}; {_there(merged, host, machine.ram, LESS['merge'])}")


def _said(memory: Memory) -> str:
    parts = zip(fields(memory), astuple(memory), strict=True)
    named = ", ".join(f"{field.name} {part / 2**30:.2f}" for field, part in parts if part >= 0.005 * 2**30)
    return f"about {memory.total / 2**30:.1f} GiB ({named})"


def _there(memory: Memory, name: str, available: int, otherwise: str) -> str:
    have = f"{name} has {available / 2**30:.1f} GiB"
    return f"{have}: fits" if fits(memory, available) else f"{have}: does NOT fit: {otherwise}"


def _verdict(memory: Memory, machine: Machine, recipe: Recipe, shape: Shape) -> str:
    """With the words to append to the command where the training does not fit."""
    there = _there(memory, machine.name, machine.memory, "").removesuffix(": ")
    if fits(memory, machine.memory):
        return there
    words = proposal(recipe, shape, machine)
    return f"{there}; " + (f"it would with {' '.join(words)}" if words else LESS["train"])

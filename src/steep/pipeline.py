"""From a recipe to a report: walks the stages, skips what is unchanged, starts each of the others as a process."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from steep.advice import LESS_MEMORY
from steep.config import RecipeFile, read_recipe
from steep.errors import INTERRUPTED, GateError, SteepError, UsageError
from steep.models import resolve
from steep.paths import function_file
from steep.preflight import clean_files, evaluate_files, examine
from steep.recipe import Train
from steep.runs import STAGES, Run, file_hash, fingerprint, hold
from steep.scores import read_scores
from steep.terminal import QUIET
from steep.verdict import gate_sentence

PACKAGES = ("steep", "torch", "transformers", "trl", "peft", "accelerate", "daft", "scrapy", "trafilatura", "sacrebleu")
MODEL_FILES = (".json", ".safetensors", ".bin", ".model", ".jinja", ".txt")
"""What makes a model, and a model card beside it does not."""
WHOLE_HASH = 64 * 2**20
"""Larger weight files count by size and time instead of by content."""

WEIGHTS = ("quantization", "double_quantization")
"""Keys of `model` that say how its weights are held, which examples have nothing to do with."""
LAYOUT = {"devices", "nodes", "parallel", "batch_size", "gradient_accumulation_steps", "global_batch_size"}
"""Keys of `train` that say where its rows are computed ..."""
TOLD = {"report_to", "sample_steps", "save_steps", "save_total_limit", "streaming", "gradient_checkpointing"}
"""... what is told of it and kept on the way, and how memory is spared: none changes what is learned."""

Note = Callable[[Path, str, str, float | None], None]
"""Told of each stage: the run's folder, its name, ``running``, ``done`` or ``unchanged``, and the seconds it took."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which stages run: those that are missing or changed, and all after them, but none after ``until``.

    ``start``: that stage and those after it, finished or not. ``force``: every stage, and nothing that was
    interrupted is gone on with.
    """

    start: str | None = None
    until: str = STAGES[-1]
    force: bool = False

    def __post_init__(self) -> None:
        if self.start and self.force:
            raise UsageError("--force runs every stage again: leave out --from, or leave out --force")
        if self.start and STAGES.index(self.start) > STAGES.index(self.until):
            raise UsageError(f"--from {self.start} comes after --until {self.until}: no stage would run")


def run_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    options: Options = Options(),
    note: Note = lambda folder, stage, event, seconds: None,
    command: str | None = None,
) -> Path:
    """Run a recipe's stages in order and return the run's folder; unchanged stages are skipped.

    ``command``: what the report names to repeat the run, where it is not `steep run`.
    Raises RecipeError for a wrong recipe, RunError where another process holds the folder, SteepError where a stage
    failed, and GateError where the finished run misses a limit of its recipe; what was finished stays, and the same
    call goes on from there. KeyboardInterrupt likewise.
    """
    recipe = read_recipe(path, overrides)
    examine(recipe, training=STAGES.index(options.until) >= STAGES.index("train"))
    run = Run(Path(runs) / recipe.recipe.name)
    command = command or _command(recipe, overrides, Path(runs))
    with hold(run) as lock:
        todo = _todo(run, recipe, options)
        if "train" in todo and recipe.recipe.train.nodes > 1:
            raise UsageError(
                f"train.nodes is {recipe.recipe.train.nodes}, and `steep run` trains on this machine alone: "
                f"`steep launch {recipe.path.name}` starts the others, or shows how to"
            )
        if recipe.recipe.limit and "gather" in todo:
            _keep_whole(run)
        if todo:
            _open(run, recipe, todo, options)
            run.write(run.read() | {"overrides": list(overrides), "command": command})
        for name in STAGES[: STAGES.index(options.until) + 1]:
            if name in todo:
                note(run.folder, name, "running", None)
                note(run.folder, name, "done", _do(run, name, todo[name], lock))
            else:
                note(run.folder, name, "unchanged", None)
        if not (run.folder / "report.html").exists():
            from steep.report import build_report

            build_report(run.folder)
    if options.until == STAGES[-1]:
        _check_gates(run)
    return run.folder


def _check_gates(run: Run) -> None:
    failed = [gate for gate in read_scores(run.stage("evaluate") / "scores.json").gates if not gate.passed]
    if failed:
        names = " and ".join(f"evaluate.{gate.name}" for gate in failed)
        said = " ".join(map(gate_sentence, failed))
        page = run.folder / "report.html"
        raise GateError(run.folder, f"the run is finished, and misses {names}. {said} All of it is kept: see {page}")


def _keep_whole(run: Run) -> None:
    """A first look must not cost what was gathered in full, finished or not. Raises UsageError."""
    record = run.read()
    begun = "gather" in record["stages"] or (run.partial("gather") / "state").is_dir()
    if begun and "limit" not in record["recipe"]:
        name = f"{record['name']}-look"
        raise UsageError(
            f"{run.folder} holds all that was gathered, and a limit would replace it: give the look a run of its own, "
            f"name={name}"
        )


def _todo(run: Run, recipe: RecipeFile, options: Options) -> dict[str, str]:
    """The stages to run, with their fingerprints."""
    prints = fingerprints(recipe)
    stale = len(run.unchanged(prints))
    if options.start:
        check_before(options.start, run, recipe, prints, options.start)
    first = 0 if options.force else STAGES.index(options.start) if options.start else stale
    return {name: prints[name] for name in STAGES[first : STAGES.index(options.until) + 1]}


def check_before(stage: str, run: Run, recipe: RecipeFile, prints: Mapping[str, str], asked: str) -> None:
    """Raises UsageError where one of the stages before this one is not finished as the recipe says."""
    stale = len(run.unchanged(prints))
    if stale < STAGES.index(stage):
        missing = STAGES[stale]
        raise UsageError(
            f"{asked} needs the stage {missing}, which is not finished or was made from something else than "
            f"this recipe now says: `steep run {recipe.path.name}` does what is needed, `steep {missing} "
            f"{recipe.path.name}` that stage alone{_hint_of_limit(run, recipe)}"
        )


def _hint_of_limit(run: Run, recipe: RecipeFile) -> str:
    """A first look is gone on with under its limit."""
    limit = run.read().get("recipe", {}).get("limit")
    return f". It was gathered with --limit {limit}: give it here too" if limit and limit != recipe.recipe.limit else ""


def _open(run: Run, recipe: RecipeFile, todo: Mapping[str, str], options: Options) -> None:
    """Forget what is out of date: what is to be done, and all after it. Interrupted work goes on where it can."""
    first = next(iter(todo))
    goes_on = not options.force and run.interrupted(first, todo[first])
    run.discard(STAGES[STAGES.index(first) :], keep=first if goes_on else None)
    record = run.read()
    record.update(
        name=recipe.recipe.name,
        recipe=recipe.stored,
        recipe_file=str(recipe.path),
        folder=str(recipe.folder),
        versions=dict(_versions()),
        hardware=_hardware(),
    )
    run.write(record)


def begin_training(run: Run, recipe: RecipeFile) -> bool:
    """Note that the train stage is begun by processes that `steep launch` starts; False where it is done already.

    Raises UsageError where a stage before it is missing, RunError where another process holds the folder.
    """
    prints = fingerprints(recipe)
    with hold(run):
        check_before("train", run, recipe, prints, "steep launch")
        if "train" in run.unchanged(prints):
            return False
        _open(run, recipe, {"train": prints["train"]}, Options())
        run.begin("train", prints["train"])
    return True


def _command(recipe: RecipeFile, overrides: Sequence[str], runs: Path) -> str:
    elsewhere = ["--runs", str(runs)] if runs != Path("runs") else []
    return shlex.join(["steep", "run", str(recipe.path), *overrides, *elsewhere])


def fingerprints(recipe: RecipeFile) -> dict[str, str]:
    """What each stage's result depends on: its part of the recipe, its input files, and the stages before it.

    Values from the environment count as they are now; of input files the names and the content, not the folder.
    """
    from steep.gather import input_files

    loaded = recipe.recipe
    filled = loaded.model_dump(mode="json", exclude_none=True)
    files = _hashes(input_files(loaded.gather, folder=recipe.folder))
    for source, entry, written in zip(loaded.gather, filled["gather"], recipe.stored["gather"], strict=True):
        if source.on_disk:
            entry[source.kind] = written[source.kind]
    template = recipe.folder / loaded.prepare.template
    base = [] if loaded.model.from_scratch else _identity(Path(resolve(loaded.model.base, recipe.folder)))
    model = filled["model"]
    held = {key: model.pop(key) for key in WEIGHTS}
    depends: dict[str, Any] = {
        "gather": [filled["gather"], files, loaded.limit],
        "clean": [filled["clean"], _hashes(clean_files(loaded.clean, recipe.folder))],
        "prepare": [
            filled["prepare"],
            file_hash(template) if template.is_file() else None,
            [model, base, loaded.train.objective],
        ],
        "train": [
            held,
            _training(loaded.train),
            [_reward(name, recipe.folder) for name in loaded.train.rollouts.rewards],
        ],
        "evaluate": [filled["evaluate"], _hashes(evaluate_files(loaded.evaluate, recipe.folder))],
    }
    prints: dict[str, str] = {}
    before = ""
    for name in STAGES:
        before = prints[name] = fingerprint(depends[name], before)
    return prints


def _training(train: Train) -> dict[str, Any]:
    """How a step's rows are shared out over devices and time changes its speed, and nothing that is learned."""
    learned = train.model_dump(mode="json", exclude_none=True, exclude=LAYOUT | TOLD)
    return {**learned, "rows_per_step": train.rows_per_step}


def _reward(name: str, folder: Path) -> Any:
    """A function's file, a run's training, or what a model's folder holds."""
    if ":" in name:
        file = function_file(name, folder)
        return _hashes([file] if file else [])
    place = Path(resolve(name, folder))
    return Run(place).read()["stages"].get("train") or _identity(place)


def _hashes(paths: Iterable[Path]) -> list[list[str]]:
    return [[path.name, file_hash(path)] for path in paths]


def _identity(folder: Path) -> list[Any]:
    """What a model's folder holds; empty for a hub name, whose revision is in the recipe."""
    files = sorted(path for path in folder.glob("*") if path.suffix in MODEL_FILES) if folder.is_dir() else []
    return [[path.name, _content(path)] for path in files]


def _content(path: Path) -> Any:
    facts = path.stat()
    return file_hash(path) if facts.st_size < WHOLE_HASH else [facts.st_size, facts.st_mtime_ns]


def _do(run: Run, name: str, print_: str, lock: int) -> float:
    """Run a stage as a child that shares the lock; what it prints is why it failed.

    It has a process group of its own, so that a terminal's Ctrl-C reaches it through `_words` alone, and once.
    """
    run.begin(name, print_)
    begin = time.perf_counter()
    # -P: no file of the current folder stands in for a library
    command = [sys.executable, "-P", "-m", "steep.stages", str(run.folder), name, str(os.getpid())]
    with _held_back(signal.SIGINT):  # until the child can answer it
        child = subprocess.Popen(
            command,
            env={**QUIET, **os.environ},
            pass_fds=(lock,),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            process_group=0,
        )
    words = _words(child)
    if child.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if child.returncode:
        raise SteepError(f"the stage {name} {_failure(name, child.returncode, words.strip())}")
    return time.perf_counter() - begin


def _words(child: subprocess.Popen[str]) -> str:
    """What it printed. Each interrupt is handed on: by the first it saves what it has, by a second it ends at once."""
    interrupted = False
    while True:
        try:
            words, _ = child.communicate()
            break
        except KeyboardInterrupt:
            interrupted = True
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    return words


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """A signal waits; a process started meanwhile inherits that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _failure(name: str, code: int, words: str) -> str:
    if code == -signal.SIGKILL:
        return (
            "was killed from outside (SIGKILL). Most often the system does so when memory is used up: "
            f"{LESS_MEMORY[name]}. The same command goes on from here"
        )
    if code < 0:
        return f"ended by {signal.Signals(-code).name}. The same command goes on from here"
    return f"failed: {words or 'see the traceback above'}"


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _hardware() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory": f"{memory:.1f} GiB",
    }

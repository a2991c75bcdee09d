"""From a recipe to a report: walks the stages, skips what is unchanged, starts each of the others as a process."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from steep.config import RecipeFile, read_recipe
from steep.errors import SteepError, UsageError
from steep.models import resolve
from steep.recipe import WebSource
from steep.runs import STAGES, Run, file_hash, fingerprint, hold
from steep.stages import INTERRUPTED

PACKAGES = ("steep", "torch", "transformers", "trl", "peft", "accelerate", "daft", "scrapy", "trafilatura", "sacrebleu")
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "OMP_WAIT_POLICY": "passive",
}
"""Libraries phone nothing home, steep's own progress and messages are the only ones, and threads that wait for each other
leave the cores to others: on two busy cores spinning made a training step five times as slow."""
WHOLE_HASH = 64 * 2**20
"""Larger weight files count by size and time instead of by content."""

Note = Callable[[Path, str, str, float | None], None]
"""Told of each stage: the run's folder, its name, ``running``, ``done`` or ``unchanged``, and the seconds it took."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which stages run: all from ``start`` on whatever their fingerprints say, none after ``until``."""

    start: str | None = None
    until: str = STAGES[-1]


def run_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    options: Options = Options(),
    note: Note = lambda folder, stage, event, seconds: None,
) -> Path:
    """Run a recipe's stages in order and return the run's folder; unchanged stages are skipped.

    Raises RecipeError for a wrong recipe, RunError where another process holds the folder, and SteepError where a stage
    failed; what was finished stays, and the same call goes on from there. KeyboardInterrupt likewise.
    """
    recipe = read_recipe(path, overrides)
    run = Run(Path(runs) / recipe.recipe.name)
    with hold(run) as lock:
        _open(run, recipe)
        todo = _todo(run, recipe, options)
        for name in STAGES[: STAGES.index(options.until) + 1]:
            if name in todo:
                note(run.folder, name, "running", None)
                seconds = _do(run, name, todo[name], lock)
                note(run.folder, name, "done", seconds)
            else:
                note(run.folder, name, "unchanged", None)
        if todo or not (run.folder / "report.html").exists():
            _report(run)
    return run.folder


def _open(run: Run, recipe: RecipeFile) -> None:
    record = run.read()
    record.update(
        name=recipe.recipe.name,
        recipe=recipe.stored,
        recipe_file=str(recipe.path),
        folder=str(recipe.folder),
        versions=dict(_versions()),
        hardware=_hardware(),
    )
    record.setdefault("stages", {})
    run.write(record)


def _todo(run: Run, recipe: RecipeFile, options: Options) -> dict[str, str]:
    """The stages to run with their fingerprints; what was finished of them, and of all after them, is discarded."""
    first = STAGES.index(options.start) if options.start else len(STAGES)
    last = STAGES.index(options.until)
    prints, finished = fingerprints(recipe), run.read()["stages"]
    stale = next(
        (
            index
            for index, name in enumerate(STAGES)
            if index >= first
            or not run.stage(name).is_dir()
            or finished.get(name, {}).get("fingerprint") != prints[name]
        ),
        len(STAGES),
    )
    if options.start and stale < first:
        raise UsageError(
            f"--from {options.start}: the stage {STAGES[stale]} before it is missing or changed; leave --from out"
        )
    _discard(run, STAGES[stale:], prints)
    return {name: prints[name] for name in STAGES[stale : last + 1]}


def _discard(run: Run, names: Sequence[str], prints: Mapping[str, str]) -> None:
    """Forget stale results. Of the first of them an interrupted attempt is kept if it was begun from the same inputs."""
    begun = run.read().get("begun", {})
    for name in names:
        interrupted = run.partial(name).is_dir() and not run.stage(name).is_dir()
        if not (name == names[0] and interrupted and begun.get(name) == prints[name]):
            run.discard(name)


def fingerprints(recipe: RecipeFile) -> dict[str, str]:
    """What each stage's result depends on: its part of the recipe, its input files, and the stages before it."""
    from steep.gather import input_files

    stored, loaded = recipe.stored, recipe.recipe
    files = [file_hash(path) for path in input_files(loaded.gather, folder=recipe.folder)]
    sites = [[source.web, source.sitemap] for source in loaded.gather if isinstance(source, WebSource)]
    template = recipe.folder / loaded.prepare.template
    base = [] if loaded.model.from_scratch else _identity(Path(resolve(loaded.model.base, recipe.folder)))
    depends: dict[str, Any] = {
        "gather": [stored["gather"], files, sites],
        "clean": stored["clean"],
        "prepare": [
            stored["prepare"],
            file_hash(template) if template.is_file() else None,
            [stored["model"], base, loaded.train.objective],
        ],
        "train": stored["train"],
        "evaluate": stored["evaluate"],
    }
    prints: dict[str, str] = {}
    before = ""
    for name in STAGES:
        before = prints[name] = fingerprint(depends[name], before)
    return prints


def _identity(folder: Path) -> list[Any]:
    """What a model's folder holds; empty for a hub name, whose revision is in the recipe."""
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    return [[path.name, _content(path)] for path in files]


def _content(path: Path) -> Any:
    facts = path.stat()
    return file_hash(path) if facts.st_size < WHOLE_HASH else [facts.st_size, facts.st_mtime_ns]


def _do(run: Run, name: str, print_: str, lock: int) -> float:
    record = run.read()
    record.setdefault("begun", {})[name] = print_
    run.write(record)
    begin = time.perf_counter()
    _process(run, name, lock)
    seconds = round(time.perf_counter() - begin, 2)
    record = run.read()
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    record["stages"][name] = {"fingerprint": print_, "seconds": seconds, "finished": finished}
    run.write(record)
    return seconds


def _process(run: Run, name: str, lock: int) -> None:
    """Run a stage as a child that shares the lock; its standard output is what it has to say where it fails."""
    command = [sys.executable, "-m", "steep.stages", str(run.folder), name]
    child = subprocess.Popen(command, env={**QUIET, **os.environ}, pass_fds=(lock,), stdout=subprocess.PIPE, text=True)
    try:
        words, _ = child.communicate()
    except KeyboardInterrupt:
        child.communicate()  # it got the same signal and saves what it has; a second one ends this wait
        raise
    if child.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if child.returncode < 0:
        raise SteepError(
            f"the stage {name} was killed by {signal.Signals(-child.returncode).name}. Most often that is lack of "
            "memory: lower train.batch_size or prepare.max_length. The same command goes on from here"
        )
    if child.returncode:
        raise SteepError(f"the stage {name} failed: {words.strip() or 'see the traceback above'}")


def _report(run: Run) -> None:
    from steep.report import build_report

    build_report(run.folder)


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

"""Runs of one recipe with other values: each is a run of its own that shares what the recipe's run has finished.

Stages whose inputs are the same are hard links to the files of the recipe's run: no text is fetched or cleaned twice,
they take no room on the disk, and they stay whole when the recipe's run is done again. What differs runs as usual.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from steep.config import RecipeFile, read_recipe
from steep.pipeline import Note, Options, fingerprints, run_recipe
from steep.runs import STAGES, Run
from steep.terminal import QUIET

SHARED = STAGES[: STAGES.index("train")]
LOG = "log.txt"


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe with other values: ``overrides`` hold its name too, and its run lies in ``runs``."""

    path: Path
    overrides: Sequence[str]
    runs: Path

    def read(self) -> RecipeFile:
        return read_recipe(self.path, self.overrides)


def prepared(path: Path, overrides: Sequence[str], runs: Path, note: Note) -> Run:
    """The recipe's own run, with gather, clean and prepare finished: run where they were not."""
    return Run(run_recipe(path, overrides, runs=runs, options=Options(until=SHARED[-1]), note=note))


def share(base: Run, variant: Variant) -> Run:
    """The variant's run, with the stages before training that the base has finished from the same inputs."""
    recipe = variant.read()
    run, prints = Run(variant.runs / recipe.recipe.name), fingerprints(recipe)
    run.folder.mkdir(parents=True, exist_ok=True)
    have = run.unchanged(prints)
    for name in base.unchanged(prints):
        if name in SHARED and name not in have:
            _link_stage(base, run, name)
    return run


def _link_stage(base: Run, run: Run, name: str) -> None:
    for folder in (run.stage(name), run.partial(name)):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base.stage(name), run.partial(name), copy_function=_link)
    run.partial(name).rename(run.stage(name))
    run.update("stages", name, base.read()["stages"][name])


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


# ------------------------------------------------------------------------------------------- as a process of its own


@dataclass(frozen=True, slots=True)
class Child:
    """A variant's run at work; what it prints is in its folder."""

    process: subprocess.Popen[bytes]
    run: Run

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def log(self) -> Path:
        return self.run.folder / LOG

    @property
    def words(self) -> str:
        """All that it printed; why it failed stands at the end."""
        return self.log.read_text("utf-8", "replace").strip()

    def interrupt(self) -> None:
        """As Ctrl-C does: it saves what it has. A second interrupt of this process ends it at once."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait()
        except KeyboardInterrupt:
            self.kill()

    def kill(self) -> None:
        """At once; its stage notices within a tenth of a second."""
        self.process.kill()
        self.process.wait()


def start(variant: Variant, run: Run, *, until: str, environ: Mapping[str, str] | None = None) -> Child:
    """Start a variant's stages, in a process group of its own, so that Ctrl-C reaches it through this process alone."""
    words = json.dumps([os.getpid(), str(variant.path), str(variant.runs), until, list(variant.overrides)])
    with (run.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "steep.variants", words],
            env={**QUIET, **os.environ, **(environ or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    return Child(process, run)

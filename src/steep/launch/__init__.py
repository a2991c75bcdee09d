"""`steep launch`: the train stage on several machines, by hand, through Slurm or through Ray.

What comes before it is done here, what comes after on one device. The run's folder has to be on storage that all
machines share under the same path: they read what was prepared from it, and the main process writes there.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steep.config import read_recipe
from steep.pipeline import begin_training
from steep.recipe import Train
from steep.runs import Run

PORT = 29500
"""Where the machines meet on the first of them; torchrun's own choice."""


@dataclass(frozen=True, slots=True)
class Training:
    """A train stage that is ready to be started in the folder of its run."""

    run: Run
    train: Train
    after: str
    """The command that finishes the run."""

    def processes(self, machines: Sequence[str]) -> str:
        """The command for one machine; ``machines``: torchrun's arguments on how it meets the others."""
        start = [sys.executable, "-P", "-m", "steep.stages.processes", f"--nnodes={self.train.nodes}"]
        place = [str(self.train.devices), str(self.run.folder.resolve())]
        return " ".join([*map(shlex.quote, start), *machines, *map(shlex.quote, place)])


def begin(recipe: Path, overrides: Sequence[str], runs: Path) -> Training | None:
    """Note that the recipe is trained now; None where it is trained already. The stages before must be finished."""
    read = read_recipe(recipe, overrides)
    run = Run(runs / read.recipe.name)
    if not begin_training(run, read):
        return None
    python = str(Path(sys.executable).with_name("steep"))
    after = shlex.join([python, "run", str(recipe.resolve()), *overrides, "--runs", str(runs.resolve())])
    return Training(run, read.recipe.train, after)


def by_hand(training: Training) -> str:
    """What to type on each machine."""
    lines = [f"Start this on each of {training.train.nodes} machines that see {training.run.folder.resolve()}; the"]
    lines += ["first is the one whose name or address stands for FIRST:", ""]
    for node in range(training.train.nodes):
        machines = [f"--node-rank={node}", "--master-addr=FIRST", f"--master-port={PORT}"]
        lines.append(f"  {training.processes(machines)}")
    return "\n".join([*lines, "", "Afterwards, on one machine:", "", f"  {training.after}"])

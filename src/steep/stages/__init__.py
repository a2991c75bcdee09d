"""What each stage does with its folder: the one package that puts the results of stages into files.

A stage runs as a process of its own (``python -m steep.stages FOLDER STAGE PARENT``): its memory is free when it ends,
and a kill for lack of memory ends the stage, not the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from steep.config import recipe_from_stored
from steep.runs import Run, is_main
from steep.stages.data import clean, gather, prepare
from steep.stages.evaluation import evaluate
from steep.stages.stage import Stage, tokenizer_of
from steep.stages.training import train

__all__ = ["Stage", "run_stage", "show_examples"]

ON_CLUSTER = ("clean", "prepare")
"""Stages whose dataframes a Ray cluster can work on."""
BODIES: dict[str, Callable[[Stage], None]] = {
    "gather": gather,
    "clean": clean,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
}


def show_examples(folder: Path, count: int, html: Path) -> None:
    """Print and write a run's first training examples token by token."""
    import pyarrow.parquet as pq

    from steep import handover
    from steep.prepare.preview import preview
    from steep.tokens import Fit

    run = Run(folder)
    stage = Stage(run, recipe_from_stored(run.read()["recipe"]), Path(run.read()["folder"]), run.partial("prepare"))
    examples = pq.read_table(run.need("prepare") / "train.parquet")
    tokenizer = tokenizer_of(stage, stage.recipe.model.revision)
    handover.check(run.need("prepare"), tokenizer, "steep show")
    fit = Fit.of(stage.recipe.prepare, stage.recipe.train.objective)
    preview(examples, tokenizer, fit=fit, count=count, html=html)


def devices_of(run: Run) -> int:
    """How many processes of this machine train."""
    return recipe_from_stored(run.read()["recipe"]).train.devices


def run_stage(run: Run, name: str) -> None:
    """Do one stage of a run whose ``run.json`` holds the recipe, and give the result its name.

    Of several processes that train, each does it, and the main one gives the name.
    """
    begin = time.perf_counter()
    record = run.read()
    stage = Stage(run, recipe_from_stored(record["recipe"]), Path(record["folder"]), run.partial(name))
    if stage.recipe.cluster and name in ON_CLUSTER:
        from steep.cluster import join

        join(stage.recipe.cluster)
    BODIES[name](stage)
    if is_main():
        run.finish(name, time.perf_counter() - begin)

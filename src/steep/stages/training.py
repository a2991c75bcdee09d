"""train: the base model, or a new one, on what was prepared."""

from __future__ import annotations

import gc
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from steep.base import find_base, loaded_commit
from steep.machine import this_machine, with_dtype
from steep.room import fitted
from steep.runs import is_main
from steep.stages.stage import Stage, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe import Recipe, Train
    from steep.train import More
    from steep.train.rows import Examples


def train(stage: Stage) -> None:
    from steep import handover
    from steep.models import load_tokenizer

    gc.disable()  # what libraries make when they load stays: to look for garbage meanwhile took 1.2 of 10.5 s
    from steep.train import train_model
    from steep.train.parallel import join

    gc.enable()

    recipe = stage.recipe
    join(recipe.train)
    tokenizer = tokenizer_of(stage, stage.recipe.model.revision)
    handover.check(stage.run.need("prepare"), tokenizer, "train")
    model = _base_model(stage, tokenizer)
    decided = _decided(recipe, stage.folder)
    commit = loaded_commit(recipe.model, stage.folder)  # now: meanwhile another run may fetch a newer one
    result = train_model(
        _examples(stage, "train"),
        recipe.train.model_copy(update={"gradient_checkpointing": decided.gradient_checkpointing}),
        model=model,
        tokenizer=tokenizer,
        max_length=recipe.prepare.max_length,
        folder=stage.work,
        more=_more(stage, tokenizer, decided),
    )
    if is_main():
        handover.check(stage.run.need("prepare"), load_tokenizer(str(_saved(stage.work))), "what train saved")
        stage.summarise(**asdict(result), base_revision=commit)


def _saved(work: Path) -> Path:
    return work / "model" if (work / "model").is_dir() else work / "adapter"


def _examples(stage: Stage, side: str) -> Examples:
    import pyarrow.parquet as pq

    path: Path = stage.run.need("prepare") / f"{side}.parquet"
    return path if stage.recipe.train.streaming else pq.read_table(path)


def _more(stage: Stage, tokenizer: PreTrainedTokenizerBase, decided: Train) -> More:
    from steep.models import resolve
    from steep.tokens import Fit
    from steep.train import More

    recipe = stage.recipe
    return More(
        validation=_examples(stage, "validation") if recipe.train.eval_steps else None,
        fit=Fit.of(recipe.prepare, recipe.train.objective),
        home=stage.folder,
        base=resolve(recipe.model.base, stage.folder),
        new_tokens=tuple(tokenizer.convert_tokens_to_ids(recipe.model.added_tokens)),
        rows=stage.run.need("prepare") / "rows",
        rows_at_first=decided.rows_at_a_time if recipe.train.batch_size == "auto" else None,
    )


def _decided(recipe: Recipe, folder: Path) -> Train:
    """The options with what `auto` stands for on this machine, by the estimate of `steep check`."""
    machine = this_machine()
    train = with_dtype(recipe.train, cuda=machine.cuda)
    return fitted(recipe.model_copy(update={"train": train}), find_base(recipe.model, folder).shape, machine).train


def _base_model(stage: Stage, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """What training starts from. All weights trained: in float32, since small steps vanish in bfloat16's 8 bits."""
    import torch

    from steep.models import fit_vocabulary, load_model, new_model, resolve

    model, options = stage.recipe.model, with_dtype(stage.recipe.train, cuda=torch.cuda.is_available())
    if model.from_scratch is not None:
        return new_model(model.from_scratch, tokenizer, options.seed)
    loaded = load_model(
        resolve(model.base, stage.folder),
        dtype=torch.float32 if options.method == "full" else getattr(torch, options.dtype),
        revision=model.revision,
        quantization=model.quantization,
        double_quantization=model.double_quantization,
        reward=options.objective == "reward",
        on_host=options.sharded,
    )
    if model.added_tokens:
        fit_vocabulary(loaded, tokenizer)
    return loaded

"""train: the base model, or a new one, on what was prepared."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from steep.base import loaded_commit
from steep.stages.stage import Stage, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def train(stage: Stage) -> None:
    import pyarrow.parquet as pq

    from steep.train import train_model

    tokenizer = tokenizer_of(stage, stage.recipe.model.revision)
    model = _base_model(stage, tokenizer)
    commit = loaded_commit(stage.recipe.model, stage.folder)  # now: meanwhile another run may fetch a newer one
    result = train_model(
        pq.read_table(stage.run.need("prepare") / "train.parquet"),
        stage.recipe.train,
        model=model,
        tokenizer=tokenizer,
        max_length=stage.recipe.prepare.max_length,
        folder=stage.work,
    )
    stage.summarise(**asdict(result), base_revision=commit)


def _base_model(stage: Stage, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """What training starts from. All weights trained: in float32, since small steps vanish in bfloat16's 8 bits."""
    import torch

    from steep.models import load_model, new_model, resolve

    model, options = stage.recipe.model, stage.recipe.train
    if model.from_scratch is not None:
        return new_model(model.from_scratch, tokenizer, options.seed)
    dtype = torch.float32 if options.method == "full" else getattr(torch, options.dtype)
    return load_model(resolve(model.base, stage.folder), dtype=dtype, revision=model.revision)

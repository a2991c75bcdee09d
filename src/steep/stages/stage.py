"""A stage at work: what it is given, and what several of them need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.recipe import Recipe
from steep.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage at work: ``work`` is renamed to the stage's name when it is done."""

    run: Run
    recipe: Recipe
    folder: Path
    """Where relative paths of the recipe start."""
    work: Path

    def summarise(self, **facts: Any) -> None:
        (self.work / "summary.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), "utf-8")


def tokenizer_of(stage: Stage, revision: str | None) -> PreTrainedTokenizerBase:
    """That of the base model with the recipe's added tokens, or the one that prepare learned for a new model."""
    from steep.models import load_tokenizer, resolve

    model = stage.recipe.model
    if model.from_scratch is None:
        return load_tokenizer(resolve(model.base, stage.folder), revision, model.added_tokens)
    return load_tokenizer(str(stage.run.need("prepare") / "tokenizer"))


def write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")

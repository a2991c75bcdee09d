"""A model and what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.evaluate.few_shot import Shots
from steep.evaluate.heldout import HeldOut
from steep.evaluate.ledger import Ledger
from steep.evaluate.results import Measured, Rows
from steep.rewards import Rewards

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Subject:
    """``window``: tokens that the model sees at a time, behind the ``shots``, if there are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Sequence[Mapping[str, Any]]
    """The examples as they were prepared ..."""
    examples: list[HeldOut]
    """... and encoded."""
    window: int
    cut_by: PreTrainedTokenizerBase
    """The tokenizer that cuts the texts into prompts and references, the same for all models ..."""
    cut: list[HeldOut]
    """... the examples as it encodes them, of a conversation the last turn scored alone ..."""
    task_window: int
    """... and the tokens of it that a prompt and its answer may have."""
    truncation_side: str
    """Where pairs that have more are cut."""
    training: pa.Table | None
    shots: Shots | None
    rewards: Rewards | None
    folder: Path
    """Where relative paths of the recipe start."""
    ledger: Ledger

    @property
    def prefix(self) -> list[int]:
        return self.shots.input_ids if self.shots else []

    @property
    def own_tokens(self) -> bool:
        return self.tokenizer is not self.cut_by

    def measured(self, places: Sequence[int], rows: Rows) -> Measured:
        """Statistics of the examples at some places, a row each."""
        chosen = [self.rows[place] for place in places]
        documents = [str(row["document_id"]) for row in chosen]
        return Measured(documents, [str(row.get("group") or row["document_id"]) for row in chosen], rows)

"""TRL's trainer with steep's loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Trainer
from trl import SFTTrainer


class LinearLossTrainer(SFTTrainer):  # type: ignore[misc]
    """The model computes its own loss (see `steep.speed.loss`); tokens are counted from the start of the run."""

    tokens = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        padded = inputs.get("attention_mask")
        self.tokens += inputs["input_ids"].numel() if padded is None else int(padded.sum())
        loss: Tensor = Trainer.compute_loss(self, model, inputs, *args, **kwargs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        Trainer.log(self, {**logs, "num_tokens": self.tokens}, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL's knows neither the data nor the scores of a run."""

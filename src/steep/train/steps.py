"""What every trainer does the same way, whatever its objective: order, counts, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer import SCHEDULER_NAME

from steep.runs import is_main
from steep.train import adalora, sharding
from steep.train.order import Shuffled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Sampler


class Steps:
    """To be inherited before one of TRL's trainers. ``filling``: rows at the end of the data that are not trained."""

    filling = 0
    order: Any
    order_seed = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.latest: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)

    def begin_at(self, tokens: int) -> None:
        """Go on counting where an earlier part of the run ended."""
        self._total_train_tokens = tokens

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        self.order = Shuffled(len(self.train_dataset) - self.filling, self.filling, self.order_seed)  # type: ignore[attr-defined]
        order: Shuffled = self.order
        return order

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Keeps the batches of the step at work: where its loss is no number they are saved."""
        if len(self.latest) >= self.args.gradient_accumulation_steps:  # type: ignore[attr-defined]
            self.latest = []
        self.latest.append(inputs)
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if (Path(resume_from_checkpoint) / adalora.STATE).exists():
            adalora.load(self.model, Path(resume_from_checkpoint))  # type: ignore[attr-defined]
        elif self.args.fsdp:  # type: ignore[attr-defined]
            sharding.load_trained(self.model, Path(resume_from_checkpoint))  # type: ignore[attr-defined]
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if self.args.fsdp:  # type: ignore[attr-defined]
            weights = sharding.trained_weights(self.model)  # type: ignore[attr-defined]
            if is_main():
                with sharding.unwrapped(self.model):  # type: ignore[attr-defined]
                    self._save(output_dir, state_dict=weights)  # type: ignore[attr-defined]
        else:
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.args.fsdp:  # type: ignore[attr-defined]
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        sharding.save_optimizer(self.optimizer, Path(output_dir))  # type: ignore[attr-defined]
        if is_main():
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)  # type: ignore[attr-defined]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        if self.args.fsdp:  # type: ignore[attr-defined]
            sharding.load_optimizer(self.optimizer, Path(checkpoint))  # type: ignore[attr-defined]
        else:  # by way of the host: PyTorch 2.11 does not know the place `cpu:0` that transformers names
            state = torch.load(Path(checkpoint) / sharding.OPTIMIZER, map_location="cpu", weights_only=True)
            self.optimizer.load_state_dict(state)  # type: ignore[attr-defined]
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))  # type: ignore[attr-defined]

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)  # type: ignore[attr-defined]
        if (best / adalora.STATE).exists():
            adalora.load(self.model, best)  # type: ignore[attr-defined]
        else:
            super()._load_best_model()  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL's knows neither the data nor the scores of a run."""

"""Supervised fine-tuning and pre-training through TRL's SFTTrainer, with steep's loss.

TRL packs, batches and steps; the model computes its own loss without ever holding all logits (see `steep.speed.loss`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from steep.recipe import Train
from steep.records import IGNORE
from steep.runs import is_main
from steep.speed.filling import filled
from steep.train.adalora import without_penalty
from steep.train.steps import Steps


class LinearLossTrainer(Steps, SFTTrainer):  # type: ignore[misc]
    """Tokens are counted over all processes, and from the start of the run."""

    tokens = 0
    full_rows: int | None = None
    """Where the code is compiled: tokens to which each row of a batch is filled."""
    control: Any

    def begin_at(self, tokens: int) -> None:
        self.tokens = tokens if is_main() else 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        if self.model.training:
            padded = inputs.get("attention_mask")
            self.tokens += inputs["input_ids"].numel() if padded is None else int(padded.sum())
        if self.full_rows:
            inputs = filled(inputs, self.full_rows * self.args.per_device_train_batch_size)
        loss: Tensor = Trainer.compute_loss(self, model, inputs, *args, **kwargs)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean loss of the validation examples' trained tokens; transformers' is that of batches."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        self.model.eval()
        plain = torch.compiler.set_stance("force_eager")  # batches of other sizes would be compiled each by itself
        with torch.no_grad(), plain, self.compute_loss_context_manager(), without_penalty(self.model):
            for inputs in self.get_eval_dataloader():
                batch = self._prepare_inputs(inputs)
                count = (batch["labels"][:, 1:] != IGNORE).sum()
                totals += torch.stack([self.model_wrapped(**batch)["loss"].double() * count, count.double()])
        summed, count = self.accelerator.reduce(totals).tolist()
        metrics = {"eval_loss": summed / max(1.0, count)}
        Trainer.log(self, metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        counted = torch.tensor(self.tokens, device=self.accelerator.device)
        Trainer.log(self, {**logs, "num_tokens": int(self.accelerator.reduce(counted))}, start_time)


def sft_config(shared: dict[str, Any], options: Train, max_length: int) -> SFTConfig:
    return SFTConfig(
        **shared,
        max_length=max_length,
        packing=options.packing,
        packing_strategy="bfd_split" if options.objective == "pretrain" else "bfd",
        eval_packing=options.packing,
        shuffle_dataset=True,
        activation_offloading=options.gradient_checkpointing == "offloaded" and torch.cuda.is_available(),
    )

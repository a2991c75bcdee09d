"""Two steps at the longest batch before the real run, so that memory runs out now and not after hours.

Gradients are computed and thrown away; the room that the optimizer will take is held meanwhile. Weights and random
numbers are as they were, so the run is the same with a probe as without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from steep.advice import OUT_OF_MEMORY
from steep.errors import ModelError
from steep.recipe import Train
from steep.recipe.train import ROLLOUTS
from steep.train.parallel import anywhere

if TYPE_CHECKING:
    from transformers import Trainer

STEPS = 2
MOMENTS = {"sgd": 0, "adafactor": 0.02, "lion_8bit": 1, "adamw_8bit": 2, "paged_adamw_8bit": 0, "paged_adamw_32bit": 0}
"""Bytes of an optimizer's state for each trained number, where it is not AdamW's 8."""


def probe(trainer: Trainer, options: Train) -> None:
    """Find a batch size that fits, where it is `auto`; raises ModelError where the one given does not.

    Answers that a model has yet to write cannot be foreseen, and a model that devices share is not whole yet: under
    those there is no probe.
    """
    if options.objective in ROLLOUTS or options.sharded:
        return
    while True:
        if not anywhere(not _fits(trainer, options)):
            return
        rows = trainer.args.per_device_train_batch_size
        smaller = next((size for size in range(rows - 1, 0, -1) if rows % size == 0), None)
        if options.batch_size != "auto" or smaller is None:
            raise ModelError(
                f"out of memory at the longest batch of {rows} rows, before the first step: lower train.batch_size and "
                "raise train.gradient_accumulation_steps as much, set train.gradient_checkpointing to true, or lower "
                "prepare.max_length; `steep check` says what fits"
            )
        take_batch_size(trainer, options, smaller)


def take_batch_size(trainer: Trainer, options: Train, rows: int) -> None:
    """Rows per device at a time; batches are accumulated so that a step has as many as before."""
    places = options.devices * options.nodes
    trainer.args.per_device_train_batch_size = trainer.args.per_device_eval_batch_size = rows
    trainer.args.gradient_accumulation_steps = options.rows_per_step // (rows * places)
    trainer._train_batch_size = rows


def _fits(trainer: Trainer, options: Train) -> bool:
    batch = trainer.data_collator(_longest(trainer))
    with _as_it_was(trainer):
        held = _room_of_optimizer(trainer, options)
        try:
            for _ in range(STEPS):
                _forward_and_back(trainer, batch)
        except RuntimeError as error:
            if not any(sign in f"{type(error).__name__} {error}" for sign in OUT_OF_MEMORY):
                raise
            return False
        finally:
            del held
    return True


def _longest(trainer: Trainer) -> list[dict[str, Any]]:
    """The longest rows, as many as a batch has."""
    rows = trainer.train_dataset
    column = next(name for name in ("input_ids", "chosen_ids") if name in rows.column_names)
    lengths = torch.tensor([len(row) for row in rows[column]])
    size = min(trainer.args.per_device_train_batch_size, len(rows))
    kept = [name for name in rows.column_names if name in _columns(trainer)]
    return [dict(row) for row in rows.select(lengths.topk(size).indices.tolist()).select_columns(kept)]


def _columns(trainer: Trainer) -> list[str]:
    trainer._set_signature_columns_if_needed()
    columns: list[str] = trainer._signature_columns
    return columns


def _forward_and_back(trainer: Trainer, batch: dict[str, Any]) -> None:
    trainer.model.train()
    inputs = trainer._prepare_inputs(batch)
    with trainer.compute_loss_context_manager(), trainer.accelerator.autocast():
        loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()


def _room_of_optimizer(trainer: Trainer, options: Train) -> torch.Tensor:
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    size = MOMENTS.get(options.optim, 8) * sum(p.numel() for p in trained)
    return torch.empty(int(size), dtype=torch.uint8, device=trained[0].device)


@contextmanager
def _as_it_was(trainer: Trainer) -> Iterator[None]:
    """Afterwards no gradient, no count and no random number tells of the probe."""
    tokens, metrics = getattr(trainer, "tokens", 0), getattr(trainer, "_total_train_tokens", 0)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
    trainer.model.zero_grad(set_to_none=True)
    trainer.tokens, trainer._total_train_tokens = tokens, metrics
    if hasattr(trainer, "_metrics"):
        trainer._metrics["train"].clear()
    if devices:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

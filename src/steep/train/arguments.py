"""A recipe's `train` section as the arguments of TRL's trainers; what all objectives share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from steep.recipe import Train
from steep.recipe.train import SUPERVISED
from steep.train.parallel import parallel_arguments

SCHEDULES = {"constant": "constant_with_warmup"}
"""Names of the recipe that transformers has for something else: its ``constant`` does not warm up."""


def shared_arguments(options: Train, folder: Path) -> dict[str, Any]:
    """Of transformers' TrainingArguments; ``folder`` takes checkpoints."""
    return {
        "output_dir": str(folder),
        **_steps(options),
        **_optimizer(options),
        **_measuring(options),
        **_machine(options),
        **parallel_arguments(options),
        "seed": options.seed,
        "report_to": options.report_to or "none",
        "project": "steep",
        "run_name": folder.resolve().parent.name,
        "disable_tqdm": True,
    }


def _steps(options: Train) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": options.rows_at_a_time,
        "per_device_eval_batch_size": options.rows_at_a_time,
        "gradient_accumulation_steps": 1 if options.batch_size == "auto" else options.gradient_accumulation_steps,
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps or -1,
        "neftune_noise_alpha": options.neftune_noise_alpha,
        "gradient_checkpointing": False,  # `steep.speed.apply` does it, layer by layer
    }


def _optimizer(options: Train) -> dict[str, Any]:
    schedule = SCHEDULES.get(options.lr_scheduler_type, options.lr_scheduler_type)
    lowest = {"min_lr_rate": options.min_lr_ratio} if schedule == "cosine_with_min_lr" else {}
    return {
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": lowest,
        "warmup_steps": options.warmup_ratio,  # a float below 1 is a share of the steps
        "optim": "adamw_torch_fused" if options.optim == "muon" else options.optim,
        "weight_decay": options.weight_decay,
        "adam_beta2": options.adam_beta2,
        "max_grad_norm": options.max_grad_norm,
    }


def _measuring(options: Train) -> dict[str, Any]:
    return {
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": options.save_steps,
        "save_total_limit": max(2, options.save_total_limit),  # the one before goes before the new one is proven
        "eval_strategy": "steps" if options.eval_steps else "no",
        "eval_steps": options.eval_steps,
        "load_best_model_at_end": options.load_best_model_at_end,
        "metric_for_best_model": "eval_loss" if options.eval_steps else None,
        "greater_is_better": False if options.eval_steps else None,
        "prediction_loss_only": True,
    }


def _machine(options: Train) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    # on a CPU, adapters beside bfloat16 weights need no autocast, which would cost more than it saves
    return {
        "bf16": options.dtype == "bfloat16" and (cuda or options.mixed),
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "dataloader_num_workers": 1 if cuda and options.objective in SUPERVISED else 0,  # the next batch is there
    }

"""From `train.objective` to the trainer that pursues it: one row of a table each.

Each objective imports its own of TRL's trainers: those that roll out load whatever trackers are installed, which took
1.8 of 15 s until a supervised training began (2 cores, `python -X importtime`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.recipe import Train
from steep.recipe.train import ROLLOUTS, SUPERVISED
from steep.rewards import load_reward
from steep.train.adapters import peft_config
from steep.train.arguments import shared_arguments
from steep.train.optimizers import MuonAdamW
from steep.train.order import filled
from steep.train.parallel import for_one_device
from steep.train.sharding import use_sharding

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


@dataclass(frozen=True, slots=True)
class Setting:
    """What a training has to go by beside its options and its rows."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    folder: Path
    """Of checkpoints and results."""
    home: Path
    """Where the paths of the recipe start."""
    new_tokens: list[int]


@dataclass(frozen=True, slots=True)
class Objective:
    trainer: type[Any]
    config: Callable[[dict[str, Any], Train, int], Any]
    further: Callable[[Setting, Train], dict[str, Any]] = lambda setting, options: {}
    """More arguments of the trainer."""


def _supervised() -> Objective:
    from steep.train.supervised import LinearLossTrainer, sft_config

    return Objective(LinearLossTrainer, sft_config)


def _dpo() -> Objective:
    from steep.train.preference import PreferenceTrainer, dpo_config, reference

    def further(setting: Setting, options: Train) -> dict[str, Any]:
        return {"ref_model": reference(setting.model, options)}

    return Objective(PreferenceTrainer, dpo_config, further)


def _reward() -> Objective:
    from steep.train.preference import RewardModelTrainer, reward_config

    return Objective(RewardModelTrainer, reward_config)


def _rloo() -> Objective:
    from steep.train.rollouts import RlooTrainer, rloo_config

    return Objective(RlooTrainer, rloo_config, _rewards)


def _grpo() -> Objective:
    from steep.train.rollouts import GrpoTrainer, grpo_config

    return Objective(GrpoTrainer, grpo_config, _rewards)


def _rewards(setting: Setting, options: Train) -> dict[str, Any]:
    return {"reward_funcs": [load_reward(name, setting.home) for name in options.rollouts.rewards]}


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "pretrain": _supervised,
    "sft": _supervised,
    "dpo": _dpo,
    "reward": _reward,
    "rloo": _rloo,
    "grpo": _grpo,
}


def make_trainer(rows: Dataset, validation: Dataset | None, options: Train, setting: Setting) -> Trainer:
    """The trainer of an objective, its adapter in place, ready to train."""
    from transformers import PrinterCallback

    objective, model = OBJECTIVES[options.objective](), setting.model
    trainer = objective.trainer(
        model=model,
        args=for_one_device(objective.config(shared_arguments(options, setting.folder), options, setting.max_length)),
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=setting.tokenizer,
        peft_config=peft_config(options, model, setting.new_tokens),
        **objective.further(setting, options),
    )
    trainer.remove_callback(PrinterCallback)
    if options.sharded:
        use_sharding(trainer)
    trainer.order_seed = options.seed
    if options.optim == "muon":
        trainer.optimizer = MuonAdamW(model, options.learning_rate, options.weight_decay, options.adam_beta2)
    if options.objective not in ROLLOUTS:
        _fill(trainer, options, setting.tokenizer)
    return trainer


def _fill(trainer: Any, options: Train, tokenizer: PreTrainedTokenizerBase) -> None:
    """Round the packed rows up, so that each process has as many; of pairs, accelerate repeats some."""
    rows, places = len(trainer.train_dataset), trainer.args.world_size
    if places > 1 and options.objective in SUPERVISED:
        multiple = places * trainer.args.per_device_train_batch_size
        trainer.train_dataset = filled(trainer.train_dataset, multiple, tokenizer.pad_token_id)
        trainer.filling = len(trainer.train_dataset) - rows
        if trainer.eval_dataset is not None:
            trainer.eval_dataset = filled(trainer.eval_dataset, multiple, tokenizer.pad_token_id)

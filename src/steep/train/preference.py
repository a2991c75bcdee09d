"""Training on pairs of answers: direct preference optimization and reward models, through TRL."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from steep.recipe import Train
from steep.train.steps import Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Encoded(Steps):
    """Rows come as token ids of `steep.tokens`; TRL's own tokenization would join prompt and answer differently."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


class PreferenceTrainer(_Encoded, DPOTrainer):  # type: ignore[misc]
    pass


class RewardModelTrainer(_Encoded, RewardTrainer):  # type: ignore[misc]
    pass


def dpo_config(shared: dict[str, Any], options: Train, max_length: int) -> DPOConfig:
    dpo = options.dpo
    return DPOConfig(
        **shared,
        max_length=max_length,
        beta=dpo.beta,
        loss_type=list(dpo.loss_type),
        loss_weights=list(dpo.loss_weights) or None,
        label_smoothing=dpo.label_smoothing,
    )


def reward_config(shared: dict[str, Any], options: Train, max_length: int) -> RewardConfig:
    center = options.reward.center_rewards_coefficient
    return RewardConfig(**shared, max_length=max_length, center_rewards_coefficient=center)


def reference(model: PreTrainedModel, options: Train) -> PreTrainedModel | None:
    """What the trained model is held against. With an adapter that is the model without it, which needs no copy."""
    return copy.deepcopy(model).requires_grad_(False) if options.method == "full" else None

"""Reinforcement learning from rewards: RLOO and GRPO, through TRL."""

from __future__ import annotations

from typing import Any

from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from steep.recipe import Train
from steep.tokens import encode_prompts
from steep.train.steps import Steps


class _Prompted(Steps):
    """Prompts are encoded as everywhere in steep; the order is TRL's, since answers to one prompt stay together."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return encode_prompts(prompts, self.processing_class), None, {}  # type: ignore[attr-defined]

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(self.train_dataset.column_names)  # type: ignore[attr-defined]


class RlooTrainer(_Prompted, RLOOTrainer):  # type: ignore[misc]
    _get_train_sampler = RLOOTrainer._get_train_sampler


class GrpoTrainer(_Prompted, GRPOTrainer):  # type: ignore[misc]
    _get_train_sampler = GRPOTrainer._get_train_sampler


def rloo_config(shared: dict[str, Any], options: Train, max_length: int) -> RLOOConfig:
    return RLOOConfig(**shared, **_sampling(options))


def grpo_config(shared: dict[str, Any], options: Train, max_length: int) -> GRPOConfig:
    return GRPOConfig(**shared, **_sampling(options))


def _sampling(options: Train) -> dict[str, Any]:
    section = options.rollouts
    return {
        "num_generations": section.num_generations,
        "max_completion_length": section.max_completion_length,
        "temperature": section.temperature,
        "beta": section.beta,
        "num_iterations": section.num_iterations,
        "epsilon": section.epsilon,
        "reward_weights": list(section.reward_weights) or None,
        "remove_unused_columns": False,
    }

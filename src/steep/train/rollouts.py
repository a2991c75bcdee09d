"""Reinforcement learning from rewards: RLOO and GRPO, through TRL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from steep.recipe import Train
from steep.tokens import encode_prompts
from steep.train.order import seed_of
from steep.train.steps import Steps


class Repeated(Sampler[int]):
    """TRL's order, in which a prompt stands as often as it is answered; each epoch has its own, also after a resume."""

    def __init__(self, order: Any, seed: int) -> None:
        self.order, self.seed = order, seed

    def set_epoch(self, epoch: int) -> None:
        self.order.generator.manual_seed(seed_of(self.seed, epoch))

    def __iter__(self) -> Iterator[int]:
        yield from self.order

    def __len__(self) -> int:
        return len(self.order)


class _Prompted(Steps):
    """Prompts are encoded as everywhere in steep; the order is TRL's, since answers to one prompt stay together."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return encode_prompts(prompts, self.processing_class), None, {}  # type: ignore[attr-defined]

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(self.train_dataset.column_names)  # type: ignore[attr-defined]


class RlooTrainer(_Prompted, RLOOTrainer):  # type: ignore[misc]
    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        order = self.order = Repeated(RLOOTrainer._get_train_sampler(self, dataset), self.order_seed)
        return order


class GrpoTrainer(_Prompted, GRPOTrainer):  # type: ignore[misc]
    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        order = self.order = Repeated(GRPOTrainer._get_train_sampler(self, dataset), self.order_seed)
        return order


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

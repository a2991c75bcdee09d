"""What scores the answers of a model that is trained on its own: functions of the user's, and reward models."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from steep.errors import ModelError, SteepError, UsageError, traced
from steep.paths import function_file
from steep.recipe import Model, Rollouts
from steep.runs import Run
from steep.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Reward = Callable[..., list[float | None]]
"""Takes lists of `prompts`, `completions` and columns of their examples; gives a number to each completion, or None."""
REFERENCE = "reference"
"""What a reward finds an example's own completion under: TRL's `completions` are those that the model wrote."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """What scores answers, each with the name that the recipe gives it and its weight in the sum."""

    names: Sequence[str]
    functions: Sequence[Reward]
    weights: Sequence[float]
    max_completion_length: int
    """Tokens of an answer, at most."""


def load_rewards(options: Rollouts, folder: Path) -> Rewards:
    """Those of a recipe in ``folder``. Raises UsageError where one cannot be loaded."""
    functions = [load_reward(name, folder) for name in options.rewards]
    weights = options.reward_weights or [1.0] * len(functions)
    return Rewards(options.rewards, functions, weights, options.max_completion_length)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What rewards are given of examples beside prompts and completions."""
    names = [name for name in rows[0] if name != "prompt"]
    return {REFERENCE if name == "completion" else name: [row[name] for row in rows] for name in names}


def load_reward(name: str, folder: Path) -> Reward:
    """A function `module:name` beside the recipe or installed, or a reward model: a run's folder, a folder, a hub name.

    Raises UsageError where it is none of these.
    """
    if ":" in name:
        return _checked(_function(name, folder), name, folder)
    return RewardModel.load(name, folder)


def _function(name: str, folder: Path) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    if function_file(name, folder) and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"train.rollouts.rewards: cannot load {name}: {error}") from error
    except Exception as error:
        raise UsageError(f"train.rollouts.rewards: cannot load {name}: {traced(error, folder)}") from error
    if not callable(found):
        raise UsageError(f"train.rollouts.rewards: {name} is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def _checked(function: Callable[..., Any], name: str, folder: Path) -> Reward:
    """With its mistakes explained: they come late, in the middle of a run."""
    named = f"train.rollouts.rewards: {name}"
    accepted = inspect.signature(function).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in accepted.values())

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
        given = {"prompts": prompts, "completions": completions, **columns}
        try:
            scores = function(**(given if anything else {key: given[key] for key in given.keys() & accepted.keys()}))
        except Exception as error:
            raise SteepError(f"{named} failed: {traced(error, folder.resolve())}") from error
        if not isinstance(scores, list) or len(scores) != len(completions):
            got = f"{len(scores)}" if isinstance(scores, list) else type(scores).__name__
            raise UsageError(
                f"{named} must return a list of {len(completions)} numbers, one for each answer; got {got}"
            )
        for score in scores:
            if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
                raise UsageError(f"{named} must return a number for each answer, or None for no reward; got {score!r}")
        return scores

    reward.__name__ = name.rpartition(":")[2]
    return reward


class RewardModel:
    """Scores prompt and answer together, encoded as they were when it was trained."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.__name__ = model.eval(), tokenizer, name
        model.config.pad_token_id = tokenizer.pad_token_id  # the score is that of the last token before padding

    @classmethod
    def load(cls, name: str, folder: Path) -> RewardModel:
        from steep.models import load_model, load_tokenizer, load_tuned, loading_of, own_dtype, resolve

        place = Path(resolve(name, folder))
        if not (place / "run.json").exists():
            return cls(load_model(str(place), dtype=own_dtype(), reward=True), load_tokenizer(str(place)), place.name)
        run, trained = Run(place), place / "train"
        record = run.read()
        if record["recipe"]["train"]["objective"] != "reward" or "train" not in record["stages"]:
            raise UsageError(f"train.rollouts.rewards: {place} is no finished run with `train.objective: reward`")
        base = Model.model_validate(record["recipe"]["model"])
        tokenizer = load_tokenizer(str(trained / ("model" if (trained / "model").is_dir() else "adapter")))
        loading = loading_of(base, run.summary("train")["base_revision"])
        loading["reward"] = True
        model = load_tuned(trained, resolve(base.base, Path(record["folder"])), tokenizer, **loading)
        return cls(model, tokenizer, place.name)

    def __call__(self, prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
        rows = [{"prompt": prompt, "completion": said} for prompt, said in zip(prompts, completions, strict=True)]
        encoded = encode(rows, self.tokenizer, self.model.config.max_position_embeddings)
        ids = [torch.tensor(one.input_ids) for one in encoded]
        padded = pad_sequence(ids, batch_first=True, padding_value=self.model.config.pad_token_id)
        seen = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True)
        with torch.no_grad():
            device = self.model.device
            scores = self.model(input_ids=padded.to(device), attention_mask=seen.to(device)).logits[:, 0].float()
        if not scores.isfinite().all():
            raise ModelError(f"the reward model {self.__name__} gives scores that are no numbers")
        return list(scores.tolist())

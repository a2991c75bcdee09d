"""The rewards of recipes/grpo.yaml, and that training gives them the examples' own answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from steep.recipe import Train
from steep.train import More, train_model

RECIPES = Path(__file__).parents[1] / "recipes"
EXAMPLES = pa.table({"prompt": ["Say what sings:", "Say what fell:"], "completion": ["The kettle", "Rain on the roof"]})
KEEPS = (
    "def keep(completions, reference, **others):\n    open(FILE, 'a').write(f'{reference}\\n')\n    return [0.0, 1.0]\n"
)


@pytest.fixture(scope="module")
def rewards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rewards", RECIPES / "rewards.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("objective", ["grpo", "rloo"])
def test_a_reward_function_is_given_the_examples_own_answers(
    tiny_model: Any, tokenizer: Any, tmp_path: Path, objective: str
) -> None:
    kept = tmp_path / "references.txt"
    (tmp_path / f"keeping_{objective}.py").write_text(KEEPS.replace("FILE", repr(str(kept))))
    rollouts = {"rewards": [f"keeping_{objective}:keep"], "num_generations": 2, "max_completion_length": 4}
    options = {"objective": objective, "method": "lora", "max_steps": 1, "batch_size": 2, "rollouts": rollouts}
    train_model(
        EXAMPLES,
        Train.model_validate({**options, "dtype": "float32", "warmup_ratio": 0.0}),
        model=tiny_model,
        tokenizer=tokenizer,
        max_length=48,
        folder=tmp_path / "trained",
        more=More(home=tmp_path),
    )
    assert set(kept.read_text().splitlines()) <= {
        "['The kettle', 'The kettle']",
        "['Rain on the roof', 'Rain on the roof']",
    }


def test_shared_words_are_rewarded_as_often_as_both_say_them(rewards: ModuleType) -> None:
    assert rewards.words(["The kettle the", "rain", ""], ["the kettle sings", "the kettle", "rain"]) == [2 / 3, 0, 0]


def test_a_length_like_the_references_is_rewarded(rewards: ModuleType) -> None:
    assert rewards.length(["one two", "one two three four", ""], ["one two", "one", "one"]) == [1, 0.25, 0]

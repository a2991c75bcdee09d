"""The mean reward of the answers to held-out prompts, and what is said of a reward that gives no numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.config import load_recipe
from steep.errors import RecipeError, SteepError
from steep.evaluate import compare_models, evaluate_model
from steep.evaluate.results import Results
from steep.figures import rows_of
from steep.metrics import metric
from steep.recipe.evaluate import EvaluateStep
from steep.recipe.train import Rollouts
from steep.rewards import load_reward, load_rewards

STEPS = [EvaluateStep.model_validate("reward")]
ROWS = [
    {"document_id": name, "prompt": f"Say what {verb}:", "completion": f" The {name}."}
    for name, verb in (("kettle", "sings"), ("rain", "fell"), ("fox", "jumps"), ("dog", "sleeps"))
]
GIVEN = """
import json

def length(completions):
    return [float(len(text)) for text in completions]

def place(document_id, **others):
    return [["kettle", "rain", "fox", "dog"].index(name) for name in document_id]

def some(document_id, **others):
    return [None if name == "rain" else 2 for name in document_id]

def none(completions, **others):
    return [None for _ in completions]

def written(prompts, completions, reference, **others):
    with open(FILE, "a") as file:
        file.write(json.dumps([prompts, completions, reference, sorted(others)]) + "\\n")
    return [0 for _ in completions]
"""
LIST = r"bad:{0} must return a list of 2 numbers, one for each answer; got "
NUMBER = r"bad:{0} must return a number for each answer, or None for no reward; got "
BAD = {
    "short": ("return [1.0]", LIST + "1$"),
    "one": ("return 1.0", LIST + "float$"),
    "words": ("return ['good'] * len(completions)", NUMBER + "'good'$"),
    "nan": ("return [float('nan')] * len(completions)", NUMBER + "nan$"),
    "endless": ("return [1.0, float('inf')]", NUMBER + "inf$"),
    "broken": (
        "return [1 / 0]",
        r"bad:broken failed: ZeroDivisionError: division by zero \(.*bad\.py:.*`return \[1 / 0\]`\)$",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "given.py").write_text(GIVEN.replace("FILE", repr(str(tmp_path / "seen.jsonl"))))
    functions = [f"def {name}(completions):\n    {body}\n" for name, (body, _) in BAD.items()]
    (tmp_path / "bad.py").write_text("\n".join(functions))
    (tmp_path / "unreadable.py").write_text("this is no Python\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("given", "bad", "unreadable"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    return tmp_path


def measured(
    model: Any, tokenizer: Any, folder: Path, *names: str, weights: tuple[float, ...] = (), **more: Any
) -> Results:
    options = Rollouts(
        rewards=[f"given:{name}" for name in names], reward_weights=list(weights), max_completion_length=4
    )
    return evaluate_model(model, tokenizer, ROWS, STEPS, rewards=load_rewards(options, folder), **more)


def test_the_reward_of_each_answer_counts_by_document(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    found = measured(tiny_model, tokenizer, folder, "length")
    texts = {answer.document_id: len(answer.text) for answer in found.answers}
    rewards = found.measured["reward.reward"]
    assert dict(zip(rewards.documents, rewards.rows.tolist(), strict=True)) == {
        name: [length, 1] for name, length in texts.items()
    }
    assert [answer.measures["reward"] for answer in found.answers] == list(texts.values())
    assert any(texts.values())


def test_answers_are_as_long_as_in_training(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    found = measured(tiny_model, tokenizer, folder, "length")
    assert max(len(answer.token_ids) for answer in found.answers) == 4
    assert found.settings["reward"]["max_new_tokens"] == 4
    assert found.longest_task > 4, "examples in the prompt must leave room for it"


def test_several_rewards_are_added_by_their_weights_and_told_one_by_one(
    tiny_model: Any, tokenizer: Any, folder: Path
) -> None:
    found = measured(tiny_model, tokenizer, folder, "place", "some", weights=(10, 0.5))
    assert found.measured["reward.reward"].rows.tolist() == [[1, 1], [10, 1], [21, 1], [31, 1]]
    assert found.measured["reward.by:given:place"].rows.tolist() == [[0, 1], [1, 1], [2, 1], [3, 1]]
    assert found.measured["reward.by:given:some"].rows.tolist() == [[2, 1], [0, 0], [2, 1], [2, 1]]
    assert found.settings["reward"]["weights"] == [10, 0.5]


def test_of_one_reward_nothing_is_told_twice(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    assert not [name for name in measured(tiny_model, tokenizer, folder, "length").measured if "by:" in name]


def test_an_answer_that_no_reward_scores_is_left_out_of_the_mean(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    found = measured(tiny_model, tokenizer, folder, "none", "some")
    assert found.measured["reward.reward"].rows.tolist() == [[2, 1], [0, 0], [2, 1], [2, 1]]


def test_rewards_are_given_what_training_gives_them(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    found = measured(tiny_model, tokenizer, folder, "written")
    seen = [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]
    assert seen == [
        [
            [row["prompt"] for row in ROWS],
            [answer.text for answer in found.answers],
            [row["completion"] for row in ROWS],
            ["document_id"],
        ]
    ]


def test_rewards_are_compared_by_document_and_make_the_verdict(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    rows = [{**row, "document_id": f"{row['document_id']}{number}"} for number in range(5) for row in ROWS]
    options = Rollouts(rewards=["given:length", "given:length"], reward_weights=[1, -2], max_completion_length=4)

    def of(weights: list[float]) -> Results:
        rewards = load_rewards(options.model_copy(update={"reward_weights": weights}), folder)
        found = evaluate_model(tiny_model, tokenizer, rows, STEPS, rewards=rewards)
        found.settings.clear()
        return found

    scores = compare_models({"base": of([-1, 0]), "tuned": of([1, 0])}).scores
    assert scores.verdict == {"base": "better"}
    assert scores.metrics["reward.reward"].differences["base"].verdict == "better"
    assert scores.metrics["reward.by:given:length"].differences["base"].verdict is None, "it would enter twice"
    labels = {row.label: row.told for row in rows_of(scores)}
    assert labels["Reward"]
    assert not labels["Reward by given:length"]


def test_a_reward_named_by_a_path_has_a_name_of_its_own() -> None:
    assert metric("reward.by:runs/taste_v2").label == "Reward by runs/taste_v2"


def test_a_model_is_not_asked_again_for_what_the_ledger_holds(tiny_model: Any, tokenizer: Any, folder: Path) -> None:
    first = measured(tiny_model, tokenizer, folder, "length", ledger=folder / "tuned.jsonl")
    tiny_model.forward = None  # whoever asked again would fail
    again = measured(tiny_model, tokenizer, folder, "length", ledger=folder / "tuned.jsonl")
    np.testing.assert_array_equal(again.measured["reward.reward"].rows, first.measured["reward.reward"].rows)
    assert math.isfinite(first.measured["reward.reward"].rows.sum())


@pytest.mark.parametrize("name", BAD)
def test_a_reward_that_gives_no_numbers_is_named(folder: Path, name: str) -> None:
    reward = load_reward(f"bad:{name}", folder)
    with pytest.raises(SteepError, match="^train.rollouts.rewards: " + BAD[name][1].format(name)):
        reward(prompts=["a", "b"], completions=["c", "d"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("given:missing", r"cannot load given:missing: module 'given' has no attribute 'missing'"),
        ("absent:reward", r"cannot load absent:reward: No module named 'absent'"),
        ("unreadable:reward", r"cannot load unreadable:reward: invalid syntax \(.*unreadable\.py:1\)"),
        ("given:json", r"given:json is a module, not a function"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_named(folder: Path, name: str, message: str) -> None:
    with pytest.raises(SteepError, match=f"^train.rollouts.rewards: {message}"):
        load_reward(name, folder)


RECIPE = """
name: a
gather: [files: a.txt]
prepare: {{template: alpaca}}
train: {{objective: {}, rollouts: {{rewards: [given:length]}}}}
"""


@pytest.mark.parametrize("objective", ["grpo", "rloo"])
def test_it_is_measured_by_default_where_rewards_are_learned_from(tmp_path: Path, objective: str) -> None:
    (tmp_path / "a.yaml").write_text(RECIPE.format(objective))
    steps = [step.chosen[0] for step in load_recipe(tmp_path / "a.yaml").evaluate]
    assert "reward" in steps
    assert "perplexity" in steps


def test_without_rewards_the_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RECIPE.format("sft") + "evaluate: [reward]\n")
    with pytest.raises(RecipeError, match=r"reward needs what scores answers: `train\.objective` rloo or grpo"):
        load_recipe(tmp_path / "a.yaml")

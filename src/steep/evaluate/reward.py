"""What the recipe's rewards give the answers to held-out prompts: the number that `rloo` and `grpo` train for.

Rewards are added up by their weights, as TRL does it: one that gives an answer nothing (None) adds nothing. The sum is
part of the verdict; where there are several rewards, the mean of each is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from steep.evaluate import completion
from steep.evaluate.answering import answer_tasks
from steep.evaluate.measuring import measure_answers
from steep.evaluate.results import Answer, Results, Rows
from steep.evaluate.subject import Subject
from steep.metrics import REWARD_BY
from steep.rewards import Rewards, columns_of
from steep.terminal import progress

if TYPE_CHECKING:
    from steep.recipe.evaluate import MeanReward

STEP = "reward"
AT_ONCE = 16
"""Answers that a reward is given together."""


def measure_reward(subject: Subject, options: MeanReward, results: Results) -> None:
    """``reward.reward``, and of several rewards the mean of each.

    Raises SteepError where no prompt fits, or a reward gives no numbers.
    """
    rewards = subject.rewards
    assert rewards, "evaluate_model is given the recipe's rewards where the step `reward` is asked for"
    asked = completion.tasks(subject.rows, subject.cut_by, rewards.max_completion_length, subject.task_window, STEP)
    results.longest_task = max(results.longest_task, *(len(task.prompt_ids) + task.limit for task in asked))
    answers = answer_tasks(subject, STEP, asked, options)
    measure_answers(subject, STEP, answers, _rows(_scores(subject, answers, rewards), rewards), results)
    results.settings[STEP] = options.model_dump(exclude={"batch_size"}) | {
        "max_new_tokens": rewards.max_completion_length,
        "rewards": list(rewards.names),
        "weights": list(rewards.weights),
        "texts": len(answers),
        "too_long": len(subject.examples) - len(answers),
    }


def _scores(subject: Subject, answers: Sequence[Answer], rewards: Rewards) -> Rows:
    """[answers, rewards]; NaN where a reward gives none."""
    found: list[list[float | None]] = [[] for _ in rewards.functions]
    with progress("rewards", total=len(answers)) as update:
        for start in range(0, len(answers), AT_ONCE):
            some = answers[start : start + AT_ONCE]
            said = {"prompts": [one.prompt for one in some], "completions": [one.text for one in some]}
            columns = columns_of([subject.rows[one.document] for one in some])
            for scores, reward in zip(found, rewards.functions, strict=True):
                scores += reward(**said, **columns)
            update(len(some))
    return np.array(found, dtype=np.float64).T


def _rows(scores: Rows, rewards: Rewards) -> dict[str, Rows]:
    """Of the sum and of each reward a value and 1; zeros where there is none."""
    given = np.isfinite(scores)
    known = np.where(given, scores, 0.0)
    rows = {STEP: np.stack([known @ np.asarray(rewards.weights), given.any(axis=1)], axis=1)}
    if len(rewards.names) > 1:
        for place, name in enumerate(rewards.names):
            rows[REWARD_BY + shown(name)] = np.stack([known[:, place], given[:, place]], axis=1)
    return rows


def shown(name: str) -> str:
    """Without dots, which part a metric from its step."""
    return name.lstrip("./~").replace(".", "_")

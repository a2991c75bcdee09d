"""One model on the held-out examples: the steps of the recipe that look at each model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.evaluate.canaries import exposure
from steep.evaluate.few_shot import Shots
from steep.evaluate.heldout import hash_of, hold_out, last_turn, without_template
from steep.evaluate.ledger import Ledger
from steep.evaluate.measuring import (
    measure_completion,
    measure_continuation,
    measure_forgetting,
    measure_perplexity,
    measure_tasks,
)
from steep.evaluate.preference import measure_preference
from steep.evaluate.results import Results
from steep.evaluate.reward import measure_reward
from steep.evaluate.subject import Subject
from steep.generation import decode, positions
from steep.rewards import Rewards

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe.evaluate import EvaluateStep

_MEASURES: dict[str, Callable[[Subject, Any, Results], None]] = {
    "perplexity": measure_perplexity,
    "continuation": measure_continuation,
    "completion": measure_completion,
    "forgetting": measure_forgetting,
    "preference": measure_preference,
    "reward": measure_reward,
    "lm_eval": measure_tasks,
}
"""The other steps look at the results of all models together."""


def evaluate_model(  # noqa: PLR0913
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Mapping[str, Any]],
    steps: Sequence[EvaluateStep],
    *,
    max_length: int | None = None,
    training: pa.Table | None = None,
    shots: Shots | None = None,
    canaries: Sequence[Mapping[str, str]] = (),
    cut_by: PreTrainedTokenizerBase | None = None,
    truncation_side: str = "right",
    rewards: Rewards | None = None,
    folder: Path = Path(),
    ledger: Path | None = None,
) -> Results:
    """Measure one model on held-out examples: rows with ``document_id`` and the columns of one of `records.FORMS`.

    ``model`` is a causal language model, or, where `preference` is the only step, one that gives a score. It sees at
    most ``max_length`` tokens at a time, as in training, and never more than its positions.
    ``training``: the training examples, whose completions are labels. ``shots``: examples before every prompt.
    ``canaries``: rows of ``canaries.json``. ``cut_by``: another model's tokenizer, which cuts texts into prompts and
    references to ``max_length`` in place of this one's; of the same vocabulary, it takes this one's place altogether.
    ``truncation_side``: where pairs of answers are cut that are longer, as `prepare.truncation_side`.
    ``rewards``: what scores answers, for the step `reward`.
    ``folder``: where relative paths start. ``ledger``: a file that keeps what is done, so that the same call goes on.
    """
    if cut_by is not None and cut_by.get_vocab() == tokenizer.get_vocab():
        tokenizer = cut_by
    held_out = hold_out(examples, cut_by or tokenizer)
    longest = max_length or positions(model) or max(len(example.input_ids) for example in held_out)
    subject = Subject(
        model=model,
        tokenizer=tokenizer,
        rows=examples,
        examples=held_out if cut_by in (None, tokenizer) else hold_out(without_template(examples, cut_by), tokenizer),
        window=_window(model, longest, shots),
        cut_by=cut_by or tokenizer,
        cut=[last_turn(one) if "messages" in row else one for row, one in zip(examples, held_out, strict=True)],
        task_window=_window(model, longest) if cut_by is None else longest,
        truncation_side=truncation_side,
        training=training,
        shots=shots,
        rewards=rewards,
        folder=folder,
        ledger=Ledger(ledger),
    )
    return _measured(subject, steps, canaries)


def _window(model: PreTrainedModel, longest: int, shots: Shots | None = None) -> int:
    """At most ``longest`` tokens, as far as the model has positions, behind the shots where there are some."""
    seen = positions(model)
    return min(longest, seen - (len(shots.input_ids) if shots else 0)) if seen else longest


def _measured(subject: Subject, steps: Sequence[EvaluateStep], canaries: Sequence[Mapping[str, str]]) -> Results:
    documents = [str(row["document_id"]) for row in subject.rows]
    results = Results(hash_of(subject.rows), documents, decode(subject.tokenizer, subject.prefix))
    for name, options in (step.chosen for step in steps):
        if name in _MEASURES:
            _MEASURES[name](subject, options, results)
    if canaries and any(step.memorization for step in steps) and not subject.shots:
        found = exposure(subject.model, subject.tokenizer, canaries, ledger=subject.ledger)
        results.checks["canaries"] = asdict(found)
    return results

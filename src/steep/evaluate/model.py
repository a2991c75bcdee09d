"""One model on the held-out examples: the steps of the recipe that look at each model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.evaluate.canaries import exposure
from steep.evaluate.few_shot import Shots
from steep.evaluate.heldout import hash_of, hold_out, without_template
from steep.evaluate.ledger import Ledger
from steep.evaluate.measuring import (
    measure_completion,
    measure_continuation,
    measure_forgetting,
    measure_perplexity,
    measure_tasks,
)
from steep.evaluate.results import Results
from steep.evaluate.subject import Subject
from steep.generation import decode, positions

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe.evaluate import EvaluateStep

_MEASURES: dict[str, Callable[[Subject, Any, Results], None]] = {
    "perplexity": measure_perplexity,
    "continuation": measure_continuation,
    "completion": measure_completion,
    "forgetting": measure_forgetting,
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
    folder: Path = Path(),
    ledger: Path | None = None,
) -> Results:
    """Measure one model on held-out examples: rows with ``document_id`` and ``text``, or ``prompt`` and ``completion``.

    The model sees at most ``max_length`` tokens at a time, as in training, and never more than its positions.
    ``training``: the training examples, whose completions are labels. ``shots``: examples before every prompt.
    ``canaries``: rows of ``canaries.json``. ``cut_by``: the tokenizer of another model, that cuts texts into prompts
    and references in place of this one's, as ``max_length`` says, so that both models have the same; one of the same
    vocabulary takes this one's place altogether. ``folder``: where relative paths of the steps start. ``ledger``: a
    file that keeps what is done, so that the same call goes on from there.
    """
    if cut_by is not None and cut_by.get_vocab() == tokenizer.get_vocab():
        tokenizer = cut_by
    cut = hold_out(examples, cut_by or tokenizer)
    seen = positions(model)
    longest = max_length or seen or max(len(example.input_ids) for example in cut)
    window = min(longest, seen or longest)
    subject = Subject(
        model=model,
        tokenizer=tokenizer,
        rows=examples,
        examples=cut if cut_by in (None, tokenizer) else hold_out(without_template(examples, cut_by), tokenizer),
        window=min(window, seen - len(shots.input_ids)) if shots and seen else window,
        cut_by=cut_by or tokenizer,
        cut=cut,
        task_window=window if cut_by is None else longest,
        training=training,
        shots=shots,
        folder=folder,
        ledger=Ledger(ledger),
    )
    documents = [str(example["document_id"]) for example in examples]
    results = Results(hash_of(examples), documents, decode(tokenizer, subject.prefix))
    for name, options in (step.chosen for step in steps):
        if name in _MEASURES:
            _MEASURES[name](subject, options, results)
    if canaries and any(step.memorization for step in steps) and not shots:
        results.checks["canaries"] = asdict(exposure(model, tokenizer, canaries, ledger=subject.ledger))
    return results

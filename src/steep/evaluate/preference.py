"""Which of two answers a model prefers: the share of held-out pairs whose chosen answer it puts above the rejected one.

A language model prefers the answer to which it gives the greater likelihood behind the prompt: by the mean
log-likelihood per token, for the sum falls with every token and so prefers the shorter answer (Meng et al. 2024, arXiv
2405.14734, section 2.1); the sum, by which DPO trains, is told beside it. A reward model prefers the answer with the
higher score. A pair is judged as training reads it: with EOS, and cut to `prepare.max_length`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from steep.errors import ModelError, SteepError
from steep.evaluate.heldout import HeldOut, without_template
from steep.evaluate.measuring import STRIDE, likelihoods_of
from steep.evaluate.perplexity import batches
from steep.evaluate.results import Results, Rows
from steep.evaluate.subject import Subject
from steep.generation import positions
from steep.records import IGNORE
from steep.terminal import progress
from steep.tokens import Fit, Fitted, fit_examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from steep.recipe.evaluate import Preference

STEP = "preference"


def measure_preference(subject: Subject, options: Preference, results: Results) -> None:
    """``preference`` and, of a language model, ``preference_sum``, of every pair that leaves room for its answers.

    Raises SteepError where there is none.
    """
    fitted = _fit(subject)
    places = [place for place, one in enumerate(fitted) if one.sequences]
    if not places:
        raise SteepError(
            "preference: no held-out pair leaves room for its answers behind the prompt; raise prepare.max_length, or "
            "shorten the prompts"
        )
    answers = [one for place in places for one in _answers(subject, place, fitted[place])]
    scored = is_reward_model(subject.model)
    liking = {STEP: _scores(subject, answers)} if scored else _likelihoods(subject, answers)
    for name, values in liking.items():
        results.measured[name] = subject.measured(places, credit(values, answers))
    results.settings[STEP] = {"max_length": subject.task_window, "truncation_side": subject.truncation_side}
    results.details[STEP] = {
        "judgement": {
            "judged_by": "score" if scored else "log-likelihood per token",
            "pairs": len(places),
            "cut": sum(any(one.dropped for one in fitted[place].sequences) for place in places),
            "no_room": len(fitted) - len(places),
        }
    }


def is_reward_model(model: PreTrainedModel) -> bool:
    """Whether it has a score in place of the output layer, also beneath an adapter."""
    return getattr(model, "score", None) is not None


def _fit(subject: Subject) -> list[Fitted]:
    seen = positions(subject.model) or subject.task_window
    rows = without_template(subject.rows, subject.cut_by) if subject.own_tokens else subject.rows
    return fit_examples(
        rows, subject.tokenizer, Fit(min(seen, subject.task_window), "truncate", subject.truncation_side)
    )


def _answers(subject: Subject, place: int, pair: Fitted) -> Iterator[HeldOut]:
    """The chosen and the rejected one, each behind the prompt."""
    for one in pair.sequences:
        scored = [at for at, label in enumerate(one.labels) if label != IGNORE and at > 0]
        yield HeldOut(str(subject.rows[place]["document_id"]), one.input_ids, scored)


def _likelihoods(subject: Subject, answers: Sequence[HeldOut]) -> dict[str, list[float]]:
    """Log-likelihoods in nats, per token and as a sum."""
    found = likelihoods_of(subject, answers, STRIDE, STEP)
    return {STEP: [-one.nll / one.tokens for one in found], f"{STEP}_sum": [-one.nll for one in found]}


def _scores(subject: Subject, answers: Sequence[HeldOut]) -> list[float]:
    """Of a reward model. What the ledger knows is not computed again."""
    model, ledger = subject.model.eval(), subject.ledger
    model.config.pad_token_id = subject.tokenizer.pad_token_id  # the score is that of the last token before padding
    known = ledger.known(STEP)
    todo = [number for number in range(len(answers)) if number not in known]
    with torch.no_grad(), progress(STEP, total=len(answers)) as update:
        update(len(known))
        for batch in batches(answers, todo):
            ledger.write(STEP, dict(zip(batch, _score(model, [answers[number] for number in batch]), strict=True)))
            update(len(batch))
    known = ledger.known(STEP)
    return [known[number] for number in range(len(answers))]


def _score(model: PreTrainedModel, batch: Sequence[HeldOut]) -> list[float]:
    """Padding on the right needs no attention mask: no token sees what comes after it."""
    width, pad = max(len(one.input_ids) for one in batch), model.config.pad_token_id
    ids = [one.input_ids + [pad] * (width - len(one.input_ids)) for one in batch]
    scores = model(input_ids=torch.tensor(ids, device=model.device)).logits[:, 0].float()
    if not scores.isfinite().all():
        raise ModelError(
            "preference: the reward model gives scores that are no numbers, so its weights are broken; lower "
            "train.learning_rate"
        )
    return list(scores.tolist())


def credit(liking: Sequence[float], answers: Sequence[HeldOut]) -> Rows:
    """1 for a chosen answer that is liked better than the rejected one behind it, a half for a tie, and 1; [pairs, 2].

    The same answer twice is a tie, whatever rounding makes of it.
    """
    chosen, rejected = np.asarray(liking, dtype=np.float64).reshape(-1, 2).T
    same = [one.input_ids == two.input_ids for one, two in zip(answers[::2], answers[1::2], strict=True)]
    won = np.where(same | (chosen == rejected), 0.5, chosen > rejected)
    return np.stack([won, np.ones(len(won))], axis=1)

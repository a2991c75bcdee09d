"""Each held-out prompt is a task, and the completion that belongs to it is the reference.

Of a pair that is the chosen answer. Of a conversation it is the assistant's last turn, and all before it the prompt.

A prompt is given whole or not at all. Cut on its left, as a continuation's is, it would lose the instruction at its
head, and a model that was tuned on that instruction would be judged on prompts that it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steep.errors import SteepError
from steep.evaluate.continuation import Task
from steep.generation import decode
from steep.records import IGNORE
from steep.tokens import Encoded, encode, text_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tasks(
    examples: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    most: int,
    window: int,
    step: str = "completion",
) -> list[Task]:
    """A task for each example whose prompt fits into ``window`` tokens together with its completion.

    Of the completion, and EOS, count as many tokens as an answer may have. Where the window is nearly full, an answer
    may have fewer than ``most``, but never fewer than the reference. ``examples`` are rows as prepared.
    Raises SteepError where there is no prompt, or none that fits.
    """
    asked = [(place, example) for place, example in enumerate(examples) if "text" not in example]
    if not asked:
        raise SteepError(
            f"{step}: the held-out examples have no prompt. Choose a prepare.template with prompt and completion, "
            "such as alpaca, or measure `continuation` in its place"
        )
    encoded = encode([example for _, example in asked], tokenizer, max_length=None)
    found = []
    for (place, example), one in zip(asked, encoded, strict=True):
        ids, reference = _last_answer(one, tokenizer.eos_token_id)
        if limit := _limit(len(ids), len(reference), most, window):
            prompt = example.get("prompt", decode(tokenizer, ids))
            found.append(Task(place, ids, prompt, as_answer(tokenizer, reference), limit))
    if not found:
        raise SteepError(
            f"{step}: none of the {len(asked)} held-out prompts fits into {window} tokens together with its "
            "completion. Raise prepare.max_length as far as the model has positions, or shorten the prompts"
        )
    return found


def _last_answer(encoded: Encoded, eos: int | None) -> tuple[list[int], list[int]]:
    """What stands before the last stretch that is trained, and that stretch without EOS."""
    labels = encoded.labels
    end = next(place for place in range(len(labels), 0, -1) if labels[place - 1] != IGNORE)
    begin = next((place for place in range(end, 0, -1) if labels[place - 1] == IGNORE), 0)
    answer = labels[begin:end]
    return encoded.input_ids[:begin], answer[:-1] if answer[-1] == eos else answer


def _limit(prompt: int, reference: int, most: int, window: int) -> int | None:
    """How many tokens the answer may have; None where there is no room for the reference and EOS."""
    limit = min(most, window - prompt)
    return limit if limit >= min(most, reference + 1) else None


def as_answers(completions: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Completions as they would look if a model had said them: without special tokens, such as those of a chat."""
    return [as_answer(tokenizer, ids) for ids in text_ids(completions, tokenizer)]


def as_answer(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    return decode(tokenizer, token_ids)

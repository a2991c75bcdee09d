"""Each held-out text is cut, the model continues its first part, and the second part is the reference.

The cut is made in token ids, so the model continues exactly the tokens it would have seen in training; the reference
is cut to as many tokens as the model may say. A text too short to be cut is left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import regex

from steep.evaluate.heldout import HeldOut
from steep.generation import decode, fit_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steep.recipe.evaluate import Continuation

SHORTEST = 2
"""Tokens that each side of the cut must have."""
BROKEN = "\ufffd"
"""What a decoder shows for a character of which some bytes are missing."""
NEAR = 16
"""Tokens on each side of a place that tell whether it is a border between words."""
_WORD_BORDER = regex.compile(r"\b", regex.WORD)
"""Unicode's, UAX #29: `don't` and `3.14` are one word, each Chinese character is one."""


@dataclass(frozen=True, slots=True)
class Task:
    """``example`` is a place in the list of examples; ``limit`` is how many tokens the answer may have."""

    example: int
    prompt_ids: list[int]
    prompt: str
    reference: str
    limit: int


def tasks(
    examples: Sequence[HeldOut], tokenizer: PreTrainedTokenizerBase, options: Continuation, window: int
) -> list[Task]:
    """Cut every example that is long enough.

    Prompt and answer fit together into ``window`` tokens, of which the answer takes at most half.
    """
    cut = (_cut(number, example, tokenizer, options, window) for number, example in enumerate(examples))
    return [task for task in cut if task is not None]


def _cut(
    number: int, example: HeldOut, tokenizer: PreTrainedTokenizerBase, options: Continuation, window: int
) -> Task | None:
    if len(example.scored) < 2 * SHORTEST:
        return None
    text = [example.input_ids[place] for place in example.scored]
    border = _whole_character(text, round(len(text) * options.split), tokenizer)
    if options.whole_words:
        border = _between_words(text, border, tokenizer)
    rest = text[border:][: min(options.max_new_tokens, window // 2)]
    prompt = fit_prompt(example.input_ids[: example.scored[border]], window - len(rest), tokenizer.bos_token_id)
    return Task(number, prompt, decode(tokenizer, prompt), shown(tokenizer, rest), len(rest))


def _whole_character(text: Sequence[int], border: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Move the border right until no character stands across it, as long as both sides stay long enough."""
    last = len(text) - SHORTEST
    border = min(max(border, SHORTEST), last)
    while border < last and decode(tokenizer, text[max(0, border - 4) : border]).endswith(BROKEN):
        border += 1
    return border


def _between_words(text: Sequence[int], border: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Move the border right to the next place between words; where none leaves enough behind it, it stays."""
    for place in range(border, len(text) - SHORTEST + 1):
        start = max(0, place - NEAR)
        before, around = (decode(tokenizer, text[start:end]) for end in (place, place + NEAR))
        if around.startswith(before) and _WORD_BORDER.match(around, len(before)):
            return place
    return border


def shown(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Their text; a last character that the limit cut in two is left away, in reference and answer alike."""
    return decode(tokenizer, token_ids).rstrip(BROKEN)


def subsets(documents: int, subsets: int, share: float, seed: int) -> list[list[int]]:
    """Draw some subsets of so many documents, without replacement, in ascending order; none is empty.

    Fewer subsets of the same seed are the first of more.
    """
    draw = Random(seed)
    size = min(documents, max(1, round(documents * share)))
    return [sorted(draw.sample(range(documents), size)) for _ in range(subsets)]

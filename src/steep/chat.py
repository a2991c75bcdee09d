"""Conversations: what counts as one, and which parts of its rendering the model is to learn.

The tokenizer's own chat template renders a conversation, and says itself where an assistant's turn begins and ends: by
``{% generation %}`` where it has that tag, else by what it adds for each turn. Marker strings are never searched for: a
user may write them too. The price is one rendering for each turn, some 50 µs, and an error where a template goes back
and changes earlier turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steep.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("system", "user", "assistant")
Messages = list[dict[str, str]]

FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Takes the place of today's date, which some templates ask for: ids would be others every day. Meta's own default."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Segment(NamedTuple):
    """A part of a rendered conversation: trained where the assistant speaks."""

    text: str
    trained: bool


class BadConversation(Exception):
    """The message says what is wrong with it, in words that many conversations share, so that it can be counted."""


def conversation(value: Any) -> Messages:
    """The turns up to the assistant's last one, with ``role`` and ``content`` alone. Raises `BadConversation`."""
    if not isinstance(value, list):
        raise BadConversation("messages is no list")
    turns = [_turn(turn) for turn in value]
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not answers:
        raise BadConversation("messages has no turn of the assistant")
    return turns[: answers[-1] + 1]


def _turn(turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        raise BadConversation("messages holds what is no {role, content}")
    if turn["role"] not in ROLES:
        raise BadConversation(f"messages has the unknown role {turn['role']!r}")
    if not isinstance(turn.get("content"), str) or not turn["content"].strip():
        raise BadConversation(f"messages has a turn of the {turn['role']} without content")
    return {"role": turn["role"], "content": turn["content"]}


def spoken(value: Any) -> str | None:
    """What is said in a conversation, turn by turn with blank lines between; None where it is none."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return None
    said = [turn["content"].strip() for turn in value if isinstance(turn.get("content"), str)]
    return "\n\n".join(filter(None, said)) or None


def segments(messages: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
    """The rendered conversation in parts; joined, their texts are the rendering.

    Raises ModelError where the tokenizer has no chat template, or one that tells no turn from another;
    `BadConversation` where the template refuses the conversation.
    """
    template = chat_template(tokenizer)
    cut = _by_tag if _GENERATION.search(template) else _by_turn
    return [segment for segment in cut(list(messages), template, tokenizer) if segment.text]


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} has no chat template, which prepare.template chat "
            "needs: take an instruct model as model.base, or another template"
        )
    return str(tokenizer.get_chat_template())


def _by_tag(messages: Messages, template: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[Segment]:
    """Raises ModelError where the tag stands around no turn: nothing would be trained."""
    text, spans = _render(messages, template, tokenizer, mask=True)
    if not any(begin < end for begin, end in spans):
        raise ModelError(f"{_name(tokenizer)} has {{% generation %}} tags, but around no turn of the assistant")
    done = 0
    for begin, end in spans:
        yield Segment(text[done:begin], trained=False)
        yield Segment(text[begin:end], trained=True)
        done = end
    yield Segment(text[done:], trained=False)


def _by_turn(messages: Messages, template: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[Segment]:
    """Growing beginnings of the conversation, each of which must begin with the one before it."""
    done = ""
    for number, turn in enumerate(messages, 1):
        if turn["role"] != "assistant":
            continue
        asked, _ = _render(messages[: number - 1], template, tokenizer, add_generation_prompt=True)
        answered, _ = _render(messages[:number], template, tokenizer)
        for before, after in ((done, asked), (asked, answered)):
            if not after.startswith(before):
                raise ModelError(_changed(before, after, number, tokenizer))
        yield Segment(asked[len(done) :], trained=False)
        yield Segment(answered[len(asked) :], trained=True)
        done = answered
    yield Segment(_rest(done, messages, template, tokenizer), trained=False)


def _rest(done: str, messages: Messages, template: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What follows the assistant's last turn."""
    whole, _ = _render(messages, template, tokenizer)
    if not whole.startswith(done):
        raise ModelError(_changed(done, whole, len(messages), tokenizer))
    return whole[len(done) :]


def _changed(before: str, after: str, number: int, tokenizer: PreTrainedTokenizerBase) -> str:
    place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
    start = max(0, place - 10)
    return (
        f"{_name(tokenizer)} does not render turn {number} after what stands before it, but changes that: "
        f"{before[start : place + 20]!r} became {after[start : place + 20]!r}. So no mask of the assistant's turns can "
        "be made; give the model's folder a template with {% generation %} tags around them"
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"the chat template of {tokenizer.name_or_path!r}"


def _render(
    messages: Messages,
    template: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    add_generation_prompt: bool = False,
    mask: bool = False,
) -> tuple[str, list[tuple[int, int]]]:
    """What `apply_chat_template` renders, with the places of the ``{% generation %}`` tags where they are asked for.

    That method maps them to tokens of the whole text; here each part is tokenized by itself, as when generating.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        rendered, spans = render_jinja_template(
            [messages],
            chat_template=FIXED_DATE + template,
            return_assistant_tokens_mask=mask,
            add_generation_prompt=add_generation_prompt,
            **tokenizer.special_tokens_map,
        )
    except TemplateError as error:
        raise BadConversation(f"the chat template refuses messages: {error}") from error
    return str(rendered[0]), spans[0] if mask else []

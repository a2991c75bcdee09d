"""The held-out examples as token ids, and which of them are the text that a model is judged by.

A prompt, BOS, EOS and other special tokens come from the template: they are given to the model and never scored. Of a
pair the chosen answer is the text, of a conversation all that the assistant says; asked is for its last turn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steep.chat import spoken
from steep.errors import SteepError
from steep.records import IGNORE
from steep.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SCORED = ("completion", "chosen", "rejected", "text")
"""Columns whose text a model may be judged by; a conversation has a column of its own."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One example; ``scored`` are the places in ``input_ids``, in order, that hold its text."""

    document_id: str
    input_ids: list[int]
    scored: list[int]


def hash_of(examples: Sequence[Mapping[str, Any]]) -> str:
    """Of the examples as they were prepared, whatever model and tokenizer reads them."""
    digest = hashlib.sha256()
    for example in examples:
        parts = [example.get(name) for name in ("document_id", "prompt", "completion", "text")]
        parts += [example[name] for name in ("chosen", "rejected", "messages") if name in example]
        digest.update(json.dumps(parts).encode())
    return digest.hexdigest()[:16]


def hold_out(examples: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> list[HeldOut]:
    """Encode every example whole, however long it is."""
    template = _template_ids(tokenizer)
    found = []
    for example, encoded in zip(examples, encode(examples, tokenizer, max_length=None), strict=True):
        places = [
            place
            for place, label in enumerate(encoded.labels)
            if label != IGNORE and label not in template and place > 0  # nothing stands before the first token
        ]
        found.append(HeldOut(str(example["document_id"]), encoded.input_ids, places))
    if not any(example.scored for example in found):
        raise SteepError("there is no held-out text to evaluate on; raise prepare.split.test or gather more documents")
    return found


def without_template(
    examples: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> list[Mapping[str, Any]]:
    """The examples without the special tokens of their tokenizer in the text that is scored: to that of another model
    they would be text."""
    special = [re.escape(str(token)) for token in tokenizer.convert_ids_to_tokens(sorted(_template_ids(tokenizer)))]
    pattern = re.compile("|".join(special) or r"(?!)")
    return [
        {**example, **{name: pattern.sub("", example[name]) for name in SCORED if name in example}}
        for example in examples
    ]


def last_turn(example: HeldOut) -> HeldOut:
    """A conversation of which only the assistant's last turn is scored: template tokens stand between two turns."""
    begin = len(example.scored) - 1
    while begin > 0 and example.scored[begin - 1] == example.scored[begin] - 1:
        begin -= 1
    return replace(example, scored=example.scored[max(begin, 0) :])


def answer_of(example: Mapping[str, Any]) -> str:
    """The text that a model should say: completion, chosen answer, last turn, or all of a text."""
    if "messages" in example:
        return str(example["messages"][-1]["content"])
    return str(next((example[name] for name in ("completion", "chosen", "text") if example.get(name)), ""))


def asked_in(example: Mapping[str, Any]) -> str:
    """What a model is asked: the prompt, or the turns before the last one; empty for a text."""
    if "messages" in example:
        return spoken(example["messages"][:-1]) or ""
    return str(example.get("prompt") or "")


def _template_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """All special tokens but the unknown one, which stands for text."""
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id} | ends) - {None}

"""The held-out examples as token ids, and which of them are the text that a model is judged by.

A prompt, BOS, EOS and other special tokens come from the template: they are given to the model and never scored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.errors import SteepError
from steep.records import IGNORE
from steep.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    scored = ["completion" if "completion" in example else "text" for example in examples]
    return [{**example, name: pattern.sub("", example[name])} for example, name in zip(examples, scored, strict=True)]


def _template_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """All special tokens but the unknown one, which stands for text."""
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id} | ends) - {None}

"""From an example to token ids and labels: the one place where this happens.

Training, evaluation, generation and the preview all call `encode` or `encode_prompt`, so what is trained on is, token
for token, what is measured and served. Prompt and completion are encoded apart and joined, because a tokenizer may
otherwise merge across the border and the prompt's ids would differ between training and generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label of a token that is not trained (the ignore_index of torch's cross-entropy)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """``labels`` equal ``input_ids`` where a token is trained and `IGNORE` elsewhere; both have the same length.

    ``dropped`` counts the tokens that ``max_length`` cut off. A cut example does not end with EOS: its text did not end.
    """

    input_ids: list[int]
    labels: list[int]
    dropped: int

    @property
    def trained(self) -> int:
        """How many tokens are trained. The first token has no predecessor and never is."""
        return sum(label != IGNORE for label in self.labels[1:])


def encode(example: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Encoded:
    """Encode one example: ``[bos] text [eos]``, or ``[bos] prompt completion [eos]`` with loss on the completion only.

    ``example`` has ``text``, or ``prompt`` and ``completion``.
    """
    if "completion" in example:
        prompt, trained = encode_prompt(example["prompt"], tokenizer), text_ids(example["completion"], tokenizer)
    else:
        prompt, trained = bos_ids(tokenizer), text_ids(example["text"], tokenizer)
    if not trained or trained[-1] != tokenizer.eos_token_id:
        trained = [*trained, tokenizer.eos_token_id]
    input_ids, labels = prompt + trained, [IGNORE] * len(prompt) + trained
    dropped = 0 if max_length is None else max(0, len(input_ids) - max_length)
    return Encoded(input_ids[:max_length], labels[:max_length], dropped)


def encode_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """``[bos] prompt``, as it stands in training; BOS is not doubled where the prompt brings its own."""
    ids, bos = text_ids(prompt, tokenizer), bos_ids(tokenizer)
    return ids if bos and ids[:1] == bos else bos + ids


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of a text alone, without special tokens around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids

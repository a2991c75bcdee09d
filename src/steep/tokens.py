"""From an example to token ids and labels: the one place where this happens.

Training, evaluation, generation and the preview all call `encode` or `encode_prompts`, so what is trained on is, token
for token, what is measured and served. Prompt and completion are encoded apart and joined, because a tokenizer may
otherwise merge across the border and the prompt's ids would differ between training and generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steep.records import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoded:
    """``labels`` equal ``input_ids`` where a token is trained and `IGNORE` elsewhere; both have the same length.

    ``dropped`` counts the tokens that ``max_length`` cut off. A cut example does not end with EOS: nor did its text.
    """

    input_ids: list[int]
    labels: list[int]
    dropped: int
    document_id: str = ""

    @property
    def ends(self) -> bool:
        return not self.dropped

    @property
    def trained(self) -> int:
        """How many tokens are trained. The first token has no predecessor and never is."""
        return sum(label != IGNORE for label in self.labels[1:])


def encode(
    examples: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[Encoded]:
    """Encode examples: ``[bos] text [eos]``, or ``[bos] prompt completion [eos]`` with loss on the completion only.

    Each example has ``text``, or ``prompt`` and ``completion``. Many at once are tokenized on all cores.
    """
    trained = text_ids([example.get("completion", example.get("text", "")) for example in examples], tokenizer)
    prompts = encode_prompts([example.get("prompt", "") for example in examples], tokenizer)
    names = [str(example.get("document_id", number)) for number, example in enumerate(examples)]
    joined = [_join(prompt, ids, tokenizer, max_length) for prompt, ids in zip(prompts, trained, strict=True)]
    return [replace(one, document_id=name) for one, name in zip(joined, names, strict=True)]


def _join(prompt: list[int], ids: list[int], tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Encoded:
    trained = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
    input_ids, labels = prompt + trained, [IGNORE] * len(prompt) + trained
    dropped = 0 if max_length is None else max(0, len(input_ids) - max_length)
    return Encoded(input_ids[:max_length], labels[:max_length], dropped)


def encode_prompts(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """``[bos] prompt``, as it stands in training; BOS is not doubled where a prompt brings its own."""
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [ids if bos and ids[:1] == bos else bos + ids for ids in text_ids(prompts, tokenizer)]


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The ids of texts alone, without special tokens around them."""
    if not texts:  # which tokenizers refuse
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return ids


# --- replaced by the data branch
@dataclass(frozen=True, slots=True)
class Fit:
    max_length: int | None
    overlength: str = "truncate"
    truncation_side: str = "right"


@dataclass(frozen=True, slots=True)
class Pair:
    document_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def encode_training(rows, tokenizer, fit):  # type: ignore
    return encode(rows, tokenizer, fit.max_length)


def encode_pairs(rows, tokenizer, fit):  # type: ignore
    prompts = encode_prompts([row["prompt"] for row in rows], tokenizer)
    eos = [tokenizer.eos_token_id]
    answers = [
        [[*ids, *eos] for ids in text_ids([row[side] for row in rows], tokenizer)] for side in ("chosen", "rejected")
    ]
    return [
        Pair(str(row.get("document_id", number)), *three)
        for number, (row, *three) in enumerate(zip(rows, prompts, *answers, strict=True))
    ]

"""From an example to token ids and labels: the one place where this happens.

Training, evaluation, generation and the preview all call the functions below, so what is trained on is, token for
token, what is measured and served. Prompt and completion are encoded apart and joined, and so are the turns of a
conversation, because a tokenizer may otherwise merge across the border and the prompt's ids would differ between
training and generation.

BOS and EOS are added where an example lacks them, except that a conversation begins as its chat template has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.chat import segments
from steep.fitting import Encoded, Fit, Fitted, fit_pair, fit_sequence
from steep.records import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "Encoded",
    "Fit",
    "Fitted",
    "Pair",
    "encode",
    "encode_prompts",
    "fit_examples",
    "pair_of",
    "text_ids",
]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two answers to it. Each answer ends with EOS, unless ``max_length`` cut it."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def encode(examples: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> list[Encoded]:
    """Encode examples one by one, cut on the right: ``[bos] text [eos]``, or ``[bos] prompt completion [eos]`` with
    loss on the completion only, or a conversation with loss on the assistant's turns.

    Each example has ``text``, ``prompt`` and ``completion``, ``prompt`` and ``chosen`` (which is taken for the
    completion), or ``messages``. Many at once are tokenized on all cores.
    """
    if examples and "messages" in examples[0]:
        wholes = _conversations(examples, tokenizer)
    else:
        trained = text_ids([_trained_text(example) for example in examples], tokenizer)
        prompts = encode_prompts([example.get("prompt", "") for example in examples], tokenizer)
        wholes = [_join(prompt, ids, tokenizer) for prompt, ids in zip(prompts, trained, strict=True)]
    return [_cut(whole, max_length) for whole in wholes]


def fit_examples(rows: Rows, tokenizer: PreTrainedTokenizerBase, fit: Fit) -> list[Fitted]:
    """What training reads of each row, and what is lost of it: the base of all counting."""
    wholes, bos = encode(rows, tokenizer, None), tokenizer.bos_token_id
    if not rows or "rejected" not in rows[0]:
        return [fit_sequence(whole, fit, bos) for whole in wholes]
    others = encode([{"prompt": row["prompt"], "completion": row["rejected"]} for row in rows], tokenizer, None)
    return [fit_pair(chosen, rejected, fit, bos) for chosen, rejected in zip(wholes, others, strict=True)]


def pair_of(fitted: Fitted) -> Pair:
    """What is left of a row with ``prompt``, ``chosen`` and ``rejected``, where anything is."""
    chosen, rejected = fitted.sequences
    return Pair(
        chosen.input_ids[: chosen.prompt], chosen.input_ids[chosen.prompt :], rejected.input_ids[rejected.prompt :]
    )


def _trained_text(example: Mapping[str, Any]) -> str:
    return str(next((example[name] for name in ("completion", "chosen", "text") if name in example), ""))


def _join(prompt: list[int], ids: list[int], tokenizer: PreTrainedTokenizerBase) -> Encoded:
    trained = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
    return Encoded(prompt + trained, [IGNORE] * len(prompt) + trained)


def _cut(whole: Encoded, max_length: int | None) -> Encoded:
    excess = 0 if max_length is None else max(0, len(whole.input_ids) - max_length)
    return whole.part(slice(max_length), dropped=excess, ends=False) if excess else whole


def _conversations(examples: Rows, tokenizer: PreTrainedTokenizerBase) -> list[Encoded]:
    cut = [segments(example["messages"], tokenizer) for example in examples]
    ids = iter(text_ids([segment.text for parts in cut for segment in parts], tokenizer))
    return [_spoken([(next(ids), part.trained) for part in parts], tokenizer.eos_token_id) for parts in cut]


def _spoken(parts: Sequence[tuple[list[int], bool]], eos: int) -> Encoded:
    """An assistant's turn is trained up to its EOS: what a template writes after that, no model is asked for."""
    input_ids, labels, speaking = list[int](), list[int](), False
    for ids, trained in parts:
        speaking = speaking or trained
        for place, token in enumerate(ids):
            # an EOS right behind a turn ends it, also where the template does not count it as the turn's
            learned = speaking and (trained or (place == 0 and token == eos))
            input_ids.append(token)
            labels.append(token if learned else IGNORE)
            speaking = learned and token != eos
    last = next((label for label in reversed(labels) if label != IGNORE), eos)
    end = [] if last == eos else [eos]  # a model that never sees EOS never stops
    return Encoded(input_ids + end, labels + end)


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

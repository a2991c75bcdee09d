"""The prompted baseline: training examples before each prompt, so that the base model sees what is wanted.

Examples stand as they do in training, a blank line after each, chosen at random with a seed. Where none of them holds
a blank line, the model's next one ends its answer: it has gone on to an example of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from steep.evaluate.heldout import answer_of
from steep.generation import positions
from steep.records import CANARIES
from steep.tokens import encode, encode_prompts, text_ids

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe.evaluate import FewShot

SEPARATOR = "\n\n"
LONGEST = 4096
"""Positions of a model whose config names no number."""
TRIED = 20
"""Examples looked at for each that is wanted: where nearly all are too long, the few short ones would mislead."""


@dataclass(frozen=True, slots=True)
class Shots:
    """``input_ids``: BOS and the examples with their separators. ``ends_at_blank_line``: see above."""

    documents: list[str]
    input_ids: list[int]
    ends_at_blank_line: bool


def choose_shots(
    training: pa.Table,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    options: FewShot,
    *,
    longest_task: int = 0,
) -> Shots:
    """Draw examples in a seeded order and take those that fit into half of the model's positions; none may fit.

    They leave room for ``longest_task`` tokens, else a prompt would lose the instruction at its head.
    """
    order = _distinct(training)
    Random(options.seed).shuffle(order)
    candidates = training.take(order[: TRIED * options.examples]).to_pylist()
    separator = text_ids([SEPARATOR], tokenizer)[0]
    ids = encode_prompts([""], tokenizer)[0]
    seen = positions(model) or LONGEST
    room = min(seen // 2, seen - longest_task)
    chosen: list[Mapping[str, Any]] = []
    for candidate in candidates:
        example = _ids(candidate, tokenizer) + separator
        if len(chosen) < options.examples and len(ids) + len(example) <= room:
            ids += example
            chosen.append(candidate)
    said = ["" if "text" in example else answer_of(example).strip() for example in chosen]
    documents = [str(example["document_id"]) for example in chosen]
    return Shots(documents, ids, bool(said) and all(one and SEPARATOR not in one for one in said))


def _distinct(training: pa.Table) -> list[int]:
    """The first place of each document, however often it is repeated, and of none that was made up."""
    sources = training["source"].to_pylist() if "source" in training.column_names else [None] * len(training)
    places: dict[str, int] = {}
    for place, (name, source) in enumerate(zip(training["document_id"].to_pylist(), sources, strict=True)):
        if source != CANARIES:
            places.setdefault(name, place)
    return list(places.values())


def _ids(example: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Without BOS and EOS."""
    (encoded,) = encode([example], tokenizer, max_length=None)
    ids = encoded.input_ids
    return ids[ids[:1] == [tokenizer.bos_token_id] : len(ids) - (ids[-1:] == [tokenizer.eos_token_id])]

"""What would make a training worthless, looked for before it starts.

Each of these has cost users of other tools days, because the run looks fine: the loss falls, or is 0. The names of the
rows come with the message, since the cause is in the data or in the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steep.errors import ModelError
from steep.records import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.tokens import Encoded, Pair

SHOWN = 5


def check_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Raises ModelError where model, tokenizer and length do not belong together."""
    positions = model.config.max_position_embeddings
    if max_length > positions:
        raise ModelError(f"prepare.max_length is {max_length}, but the model has {positions} positions: lower it")
    size = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > size:
        raise ModelError(f"the tokenizer has {len(tokenizer)} tokens, but the model's embedding only {size}")
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no EOS token: a model trained with it would never stop")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            f"pad and EOS are one token ({tokenizer.eos_token}): padding is masked, so EOS would be too, and the model "
            "would never learn to stop; set another tokenizer.pad_token (steep.models.load_tokenizer does)"
        )


def check_sequences(encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ModelError with the documents that teach nothing, never stop, or begin twice."""
    masked = "have no token to train: all their labels are masked. Their prompt fills prepare.max_length, or their "
    _refuse([one for one in encoded if not one.trained], masked + "completion is empty")
    endless = "do not end with a trained end token, so the model would not learn to stop: look at the template"
    _refuse([one for one in encoded if one.ends and not _stops(one, tokenizer)], endless)
    twice = f"begin with {tokenizer.bos_token} twice: steep adds it, take it out of the template or the text"
    _refuse([one for one in encoded if _begins_twice(one.input_ids, tokenizer)], twice)


def _stops(one: Encoded, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the last trained token is an end: EOS, or a special token with which a chat template ends a turn."""
    trained = [label for label in one.labels if label != IGNORE]
    ends = {tokenizer.eos_token_id, *tokenizer.all_special_ids}
    return any(label in ends for label in trained[-2:])  # some templates end a turn with a line break


def _begins_twice(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and list(ids[:2]) == [bos, bos]


def check_pairs(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ModelError with the documents whose answers are missing or the same, or that begin twice."""
    empty = [pair for pair in pairs if not (pair.chosen_ids and pair.rejected_ids)]
    _refuse(empty, "have no token of an answer: their prompt fills prepare.max_length")
    same = [pair for pair in pairs if pair.chosen_ids == pair.rejected_ids]
    _refuse(same, "have the same chosen and rejected answer within prepare.max_length")
    twice = [pair for pair in pairs if _begins_twice(pair.prompt_ids, tokenizer)]
    _refuse(twice, f"begin with {tokenizer.bos_token} twice: take it out of the template")


class Classes:
    """Whether completions differ at all: a model that always gives the one answer there is has learned nothing."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.rows = 0

    def add(self, rows: Sequence[Mapping[str, str]]) -> None:
        for row in rows:
            if "completion" in row:
                self.rows += 1
                if len(self.seen) < 2:
                    self.seen.add(row["completion"])

    def check(self) -> None:
        if self.rows > 1 and len(self.seen) == 1:
            (only,) = self.seen
            raise ModelError(
                f"all {self.rows:,} examples have the same completion ({only[:60]!r}): there is a single class, "
                "and nothing to tell it from; look at prepare.fields"
            )


def _refuse(broken: Sequence[Encoded | Pair], fault: str) -> None:
    if broken:
        more = f" and {len(broken) - SHOWN:,} more" if len(broken) > SHOWN else ""
        names = ", ".join(one.document_id for one in broken[:SHOWN])
        raise ModelError(f"{len(broken):,} of the examples (documents {names}{more}) {fault}")

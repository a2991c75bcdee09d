"""What would make a training worthless, looked for before it starts.

Each of these has cost users of other tools days, because the run looks fine: the loss falls, or is 0. The names of the
rows come with the message, since the cause is in the data or in the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steep.errors import ModelError
from steep.fitting import Encoded
from steep.records import IGNORE
from steep.tokens import encode_prompts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.fitting import Fitted

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


def check_fitted(named: Sequence[tuple[str, Fitted]]) -> None:
    """Raises ModelError with the documents of which nothing is left to train: all their labels would be masked."""
    faults = [(name, one.fault) for name, one in named if one.fault]
    for fault in sorted({fault for _, fault in faults}):
        names = [name for name, other in faults if other == fault]
        _refuse(names, f"have no token to train, all their labels are masked: {fault}")


def check_sequences(named: Sequence[tuple[str, Encoded]], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ModelError with the documents whose sequences teach nothing, never stop, or begin twice."""
    _refuse([name for name, one in named if not one.trained], "have no token to train: all their labels are masked")
    endless = "do not end with a trained end token, so the model would not learn to stop: look at the template"
    _refuse([name for name, one in named if one.ends and not _stops(one, tokenizer)], endless)
    _refuse([name for name, one in named if _begins_twice(one, tokenizer)], _twice(tokenizer))


def check_pairs(named: Sequence[tuple[str, Fitted]], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ModelError with the documents whose two answers are the same, or that begin twice."""
    same = [name for name, one in named if one.sequences[0].input_ids == one.sequences[1].input_ids]
    _refuse(same, "have the same chosen and rejected answer")
    _refuse([name for name, one in named if _begins_twice(one.sequences[0], tokenizer)], _twice(tokenizer))


def _stops(one: Encoded, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether EOS is the last trained token. What a template writes behind it is not trained."""
    last = next((label for label in reversed(one.labels) if label != IGNORE), None)
    return last is not None and last == tokenizer.eos_token_id


def _begins_twice(one: Encoded, tokenizer: PreTrainedTokenizerBase) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and bool(one.input_ids[:2] == [bos, bos])


def _twice(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"begin with {tokenizer.bos_token} twice: steep adds it, take it out of the template or the text"


def check_prompts(rows: Dataset, tokenizer: PreTrainedTokenizerBase, room: int) -> None:
    """Raises ModelError with the documents whose prompt, with the longest answer, exceeds the model's positions, or
    begins twice."""
    names = rows["document_id"] if "document_id" in rows.column_names else map(str, range(len(rows)))
    named = list(zip(names, encode_prompts(rows["prompt"], tokenizer), strict=True))
    _refuse(
        [name for name, ids in named if len(ids) > room],
        f"have prompts of more than {room} tokens, which leaves no room for train.rollouts.max_completion_length: "
        "lower it, or shorten the prompts",
    )
    _refuse([name for name, ids in named if _begins_twice(Encoded(ids, []), tokenizer)], _twice(tokenizer))


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


def _refuse(documents: Sequence[str], fault: str) -> None:
    if documents:
        names = list(dict.fromkeys(documents))
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        raise ModelError(f"{len(names):,} of the examples (documents {', '.join(names[:SHOWN])}{more}) {fault}")

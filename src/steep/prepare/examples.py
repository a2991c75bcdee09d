"""From documents to examples, with a count of everything that is lost on the way.

Each example is tokenized once here, only to be counted and checked: training reads the text. That costs 0.4 s per MB
and shows before any GPU starts what `max_length` cuts off and which examples would teach nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError
from steep.prepare.templates import Skipped, Template, document_variables, is_empty
from steep.tokens import Encoded, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Example:
    """``columns`` are the example; the rest is what `steep.tokens.encode` makes of it."""

    columns: dict[str, str]
    tokens: int
    trained: int
    dropped: int


class Maker:
    """Makes examples of documents; ``max_length`` is None where nothing is cut."""

    def __init__(self, template: Template, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
        self.template, self.tokenizer, self.max_length = template, tokenizer, max_length
        self.special = re.compile("|".join(map(re.escape, special_tokens(tokenizer).values())))

    def make(self, rows: Sequence[Mapping[str, Any]]) -> list[Example | Skipped]:
        """For each document its example or why it gives none."""
        rendered = [self._render(row) for row in rows]
        encoded = iter(encode([one for one in rendered if isinstance(one, dict)], self.tokenizer, self.max_length))
        return [
            self._example(row, one, next(encoded)) if isinstance(one, dict) else one
            for row, one in zip(rows, rendered, strict=True)
        ]

    def _render(self, row: Mapping[str, Any]) -> dict[str, str] | Skipped:
        own = {name: value for name, value in document_variables(row).items() if not is_empty(value)}
        try:
            self._refuse_special_tokens(own)
            return self.template.render(own, row["id"])
        except Skipped as skipped:
            return skipped

    def _example(self, row: Mapping[str, Any], parts: dict[str, str], encoded: Encoded) -> Example | Skipped:
        self._refuse_second_bos(encoded.input_ids, row["id"])
        if not encoded.trained:
            return Skipped(f"prompt fills max_length {self.max_length}: nothing is left to train")
        columns = {**parts, "document_id": row["id"], "group": row["group"], "source": row["source"]}
        return Example(columns, len(encoded.input_ids), encoded.trained, encoded.dropped)

    def _refuse_special_tokens(self, own: Mapping[str, Any]) -> None:
        """Else a text that quotes EOS would end itself. Of what the template does not use, nothing is asked."""
        for name in sorted(own.keys() & self.template.names):
            if isinstance(own[name], str) and (found := self.special.search(own[name])):
                raise Skipped(f"{name} holds the special token {found[0]}")

    def _refuse_second_bos(self, ids: Sequence[int], document: str) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            raise UsageError(
                f"template {self.template.name}: document {document} begins with {self.tokenizer.bos_token} twice: "
                "steep adds it, take it out of the template"
            )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """All of them: ``all_special_tokens`` leaves out those of a chat format, such as ``<|eot_id|>``."""
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def repeated(examples: Sequence[Example], repeat: Mapping[str, int]) -> Iterator[Example]:
    """As whole passes, so that no example stands beside its copy."""
    for turn in range(max(repeat.values(), default=1)):
        yield from (one for one in examples if repeat.get(one.columns["source"], 1) > turn)


def count(examples: Sequence[Example], skipped: Counter[str]) -> dict[str, Any]:
    """One side in numbers; ``truncated`` are examples, ``dropped_tokens`` what they lost, ``skipped`` documents."""
    return {
        "examples": len(examples),
        "tokens": sum(one.tokens for one in examples),
        "trained_tokens": sum(one.trained for one in examples),
        "truncated": sum(one.dropped > 0 for one in examples),
        "dropped_tokens": sum(one.dropped for one in examples),
        "skipped": dict((+skipped).most_common()),
    }

"""From documents to examples, with a count of everything that is lost on the way.

Each example is tokenized once here, only to be counted and checked: training reads the text. That costs 0.4 s per MB
and shows before any GPU starts what `max_length` cuts off and which examples would teach nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steep.chat import BadConversation, segments
from steep.errors import UsageError
from steep.prepare.expressions import Skipped
from steep.prepare.templates import Template, document_variables, is_empty
from steep.tokens import Fit, Fitted, fit_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Example:
    """``columns`` are the example, ``fitted`` is what training will read of it."""

    columns: dict[str, Any]
    fitted: Fitted


class TooLong(Skipped):
    """Left out for its length, with so many tokens."""

    def __init__(self, reason: str, tokens: int) -> None:
        super().__init__(reason)
        self.tokens = tokens


class Maker:
    """Makes examples of documents."""

    def __init__(self, template: Template, tokenizer: PreTrainedTokenizerBase, fit: Fit) -> None:
        self.template, self.tokenizer, self.fit = template, tokenizer, fit
        self.special = re.compile("|".join(map(re.escape, special_tokens(tokenizer).values())))

    def make(self, rows: Sequence[Mapping[str, Any]]) -> list[Example | Skipped]:
        """For each document its example or why it gives none."""
        rendered = [self._render(row) for row in rows]
        fitted = iter(fit_examples([one for one in rendered if isinstance(one, dict)], self.tokenizer, self.fit))
        return [
            self._example(row, one, next(fitted)) if isinstance(one, dict) else one
            for row, one in zip(rows, rendered, strict=True)
        ]

    def _render(self, row: Mapping[str, Any]) -> dict[str, Any] | Skipped:
        own = {name: value for name, value in document_variables(row).items() if not is_empty(value)}
        try:
            self._refuse_special_tokens(own)
            columns = self.template.render(own, row["id"])
            if "messages" in columns:
                segments(columns["messages"], self.tokenizer)  # now: a template may refuse a conversation
        except BadConversation as bad:
            return Skipped(str(bad))
        except Skipped as skipped:
            return skipped
        return columns

    def _example(self, row: Mapping[str, Any], parts: dict[str, Any], fitted: Fitted) -> Example | Skipped:
        if fitted.fault:
            return TooLong(fitted.fault, fitted.dropped)
        for sequence in fitted.sequences:
            self._refuse_second_bos(sequence.input_ids, row["id"])
        return Example({**parts, "document_id": row["id"], "group": row["group"], "source": row["source"]}, fitted)

    def _refuse_special_tokens(self, own: Mapping[str, Any]) -> None:
        """Else a text that quotes EOS would end itself. Of what the template does not use, nothing is asked."""
        for name in sorted(own.keys() & self.template.names):
            said = own[name] if isinstance(own[name], str) else json.dumps(own[name], ensure_ascii=False, default=str)
            if found := self.special.search(said):
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


def count(examples: Sequence[Example], left_out: Sequence[Skipped]) -> dict[str, Any]:
    """One side in numbers.

    Of examples: ``truncated``, ``split`` and, since they are too long, ``dropped``. ``dropped_tokens`` are what all
    three lost. ``skipped`` are documents, by reason. The tokens of a pair are those of both its answers, each with the
    prompt.
    """
    sequences = [sequence for one in examples for sequence in one.fitted.sequences]
    dropped = [one.tokens for one in left_out if isinstance(one, TooLong)]
    return {
        "examples": len(examples),
        "tokens": sum(len(one.input_ids) for one in sequences),
        "trained_tokens": sum(one.trained for one in sequences),
        "truncated": sum(any(part.dropped for part in one.fitted.sequences) for one in examples),
        "split": sum(one.fitted.split for one in examples),
        "dropped": len(dropped),
        "dropped_tokens": sum(one.fitted.dropped for one in examples) + sum(dropped),
        "skipped": dict(Counter(map(str, left_out)).most_common()),
    }

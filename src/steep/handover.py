"""The template as one artefact, with a proof: prepare writes it, and whoever loads a tokenizer later checks it.

A model that is asked in another format, or with other token ids, than it was trained on is a worse model, and nothing
fails (LlamaFactory 2509: 26 % instead of 57 % right). So prepare keeps some examples with their ids, and training,
evaluation and export encode them again before they begin. The price is a few examples of the training text in one more
file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import ModelError
from steep.fitting import Fit, Fitted
from steep.records import FORMS
from steep.tokens import fit_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "template.json"
PROOFS = 4
LONGEST = 512
"""Tokens of a sequence that are kept where `prepare.max_length` sets no limit."""


def write(
    folder: Path,
    template: Mapping[str, Any],
    examples: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    fit: Fit,
) -> None:
    """``template``: its name, and the Jinja of its parts and fields. The first of ``examples`` become the proof."""
    rows = [_columns(example) for example in examples[:PROOFS]]
    chat = tokenizer.get_chat_template() if any("messages" in row for row in rows) else None
    limited = fit if fit.max_length is not None else Fit(LONGEST)
    proof = [
        {"example": row, "sequences": _sequences(fitted, tokenizer)}
        for row, fitted in zip(rows, fit_examples(rows, tokenizer, limited), strict=True)
    ]
    written = {**template, "chat_template": chat, "fit": asdict(fit), "proven_with": asdict(limited), "proof": proof}
    (folder / FILE).write_text(json.dumps(written, indent=1, ensure_ascii=False), "utf-8")


def check(folder: Path, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Encode the proof in prepare's ``folder`` again; ``where`` names the place that will use ``tokenizer``.

    Raises ModelError with the first token that is not as it was, or where there is no proof.
    """
    try:
        written = json.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{where}: {folder} holds no {FILE}, so nothing tells whether prompts are as in training: run prepare "
            "again (`steep run RECIPE --from prepare`)"
        ) from error
    if written["chat_template"] not in (None, tokenizer.chat_template and tokenizer.get_chat_template()):
        raise ModelError(f"{where}: {_DIFFERS}: {tokenizer.name_or_path!r} has another chat template; {_REMEDY}")
    rows = [one["example"] for one in written["proof"]]
    now = fit_examples(rows, tokenizer, Fit(**written["proven_with"]))
    for number, (one, fitted) in enumerate(zip(written["proof"], now, strict=True), 1):
        for difference in _differences(one["sequences"], _sequences(fitted, tokenizer)):
            raise ModelError(f"{where}: {_DIFFERS}: example {number} of {folder / FILE}, {difference}; {_REMEDY}")


_DIFFERS = "template differs between training and serving"
_REMEDY = "use the tokenizer that the model was prepared with, or run prepare and train again"


def _columns(example: Mapping[str, Any]) -> dict[str, Any]:
    """Without the document it comes from."""
    names = {name for columns in FORMS.values() for name in columns}
    return {name: value for name, value in example.items() if name in names}


def _sequences(fitted: Fitted, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[Any]]]:
    return [
        {
            "input_ids": one.input_ids,
            "labels": one.labels,
            "tokens": tokenizer.convert_ids_to_tokens(one.input_ids),  # so that another tokenizer can say them
        }
        for one in fitted.sequences
    ]


def _differences(then: Sequence[Mapping[str, list[Any]]], now: Sequence[Mapping[str, list[Any]]]) -> Iterator[str]:
    """In words, the first place first."""
    for before, after in zip(then, now, strict=False):
        tokens = [list(zip(one["input_ids"], one["tokens"], strict=True)) for one in (before, after)]
        for place, (old, new) in enumerate(zip_longest(*tokens)):
            if old != new:
                yield f"token {place}: {_said(old)} in training, {_said(new)} now"
        for place, (label, other) in enumerate(zip_longest(before["labels"], after["labels"])):
            if label != other:
                yield f"label of token {place}: {label} in training, {other} now"
    if len(then) != len(now):
        yield f"{len(then)} sequences in training, {len(now)} now"


def _said(token: tuple[int, str] | None) -> str:
    return f"{token[1]!r} ({token[0]})" if token else "nothing"

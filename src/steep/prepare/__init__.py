"""prepare: documents to a training side and a test side, in the columns that TRL reads.

Everything is held in memory: 600 documents of 100 kB take about 1 GB and half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import SteepError
from steep.prepare.examples import Counts, Maker, make_side
from steep.prepare.preview import preview
from steep.prepare.split import check_sources, group_documents, split_documents
from steep.prepare.templates import Template, document_variables, load_template
from steep.records import example_schema
from steep.terminal import progress

if TYPE_CHECKING:
    import daft
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from steep.recipe import Prepare

__all__ = ["Prepared", "prepare_examples", "preview"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """``train`` and ``test`` are of `records.example_schema`; ``summary`` is what ``summary.json`` holds."""

    train: pa.Table
    test: pa.Table
    summary: dict[str, Any]


def prepare_examples(
    documents: daft.DataFrame | pa.Table,
    options: Prepare,
    tokenizer: PreTrainedTokenizerBase,
    *,
    folder: Path,
    pretrain: bool = False,
) -> Prepared:
    """Split documents and render them. A template's path starts at ``folder``; with ``pretrain`` no text is cut."""
    template = load_template(options, folder)
    rows, repetitions = _distinct(documents.to_pylist(), options.split.sources)
    _check(rows, options, template)
    rows = [{**row, "group": group} for row, group in zip(rows, group_documents(rows), strict=True)]
    made = _make(rows, Maker(template, tokenizer, None if pretrain else options.max_length))
    train, test, skipped = _split(rows, made, options.split)
    skipped["train"]["same text, title and address as another"] += repetitions
    train = list(repeated(train, options.repeat))
    summary = {
        "template": template.name,
        "train": count(train, +skipped["train"]),
        "test": count(test, skipped["test"]),
        "max_length": None if pretrain else options.max_length,
        "groups": len({row["group"] for row in rows}),
    }
    schema = example_schema(completion=template.has_completion)
    return Prepared(_table(train, schema), _table(test, schema), summary)


def _distinct(rows: list[dict[str, Any]], held_out: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Rows by id, each id once, and how many went. Of a text in several sources, the copy that is held out stays."""
    ranked = sorted(rows, key=lambda row: (row["id"], row["source"] not in held_out, row["source"]))
    distinct = {row["id"]: row for row in reversed(ranked)}
    return [distinct[name] for name in sorted(distinct)], len(rows) - len(distinct)


def _check(rows: Sequence[Mapping[str, Any]], options: Prepare, template: Template) -> None:
    """What can be refused before any work."""
    if not rows:
        raise SteepError("prepare: no documents: see what clean dropped and why, or gather more")
    sources = {row["source"] for row in rows}
    for where, names in (("repeat", options.repeat), ("split.sources", options.split.sources)):
        for name in names:
            if name not in sources:
                known = ", ".join(sorted(sources))
                raise UsageError(f"prepare.{where}: no document comes from {name!r}; sources are {known}")
    template.check({name for row in rows for name in document_variables(row)}, rows[0]["id"])


def _make(rows: Sequence[Mapping[str, Any]], maker: Maker) -> list[Example | Skipped]:
    made = []
    with progress("examples", total=len(rows)) as update:
        for row in rows:
            made.append(maker.make(row))
            update()
    return made


def _split(
    rows: Sequence[Mapping[str, Any]], made: Sequence[Example | Skipped], options: Split
) -> tuple[list[Example], list[Example], dict[str, Counter[str]]]:
    """Both sides and what was skipped on each. Only documents that give an example are drawn, so neither is empty."""
    examples = [one for one in made if isinstance(one, Example)]
    reasons = Counter(str(one) for one in made if isinstance(one, Skipped))
    try:
        sides = split_documents(*([one.columns[name] for one in examples] for name in ("source", "group")), options)
    except SteepError as error:
        lost = "; ".join(f"{reason} ({times})" for reason, times in reasons.most_common())
        raise SteepError(f"{error}. {reasons.total()} documents were skipped: {lost}" if lost else str(error)) from error

"""prepare: documents to a training, a test and perhaps a validation side, in the columns that TRL reads.

Everything is held in memory: 600 documents of 100 kB take 1.2 GB and 30 s on 2 cores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.chat import chat_template
from steep.errors import SteepError, UsageError
from steep.prepare.canaries import make_canaries
from steep.prepare.examples import Example, Maker, count, repeated
from steep.prepare.expressions import Skipped
from steep.prepare.split import Sides, group_documents, split_documents
from steep.prepare.templates import Template, document_variables, load_template, template_contents
from steep.records import CANARIES, example_schema
from steep.terminal import progress
from steep.tokens import Fit

if TYPE_CHECKING:
    import daft
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from steep.recipe import Prepare, Split

BATCH = 16  # documents that are tokenized at a time, on all cores
REPETITION = "same text, title and address as another"
LIKENESS = "resembles a held-out document"

__all__ = ["Prepared", "prepare_examples"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """``train``, ``test`` and ``validation`` are of `records.example_schema`; there may be no validation side.

    ``summary`` is what ``summary.json`` holds, ``template`` what `steep.handover` writes of the template and its
    lengths. ``canaries``: the rows of the training side that were planted, each once, with its ``secret``.
    """

    train: pa.Table
    test: pa.Table
    summary: dict[str, Any]
    canaries: list[dict[str, str]]
    validation: pa.Table | None
    template: dict[str, Any]
    fit: Fit


def prepare_examples(
    documents: daft.DataFrame | pa.Table,
    options: Prepare,
    tokenizer: PreTrainedTokenizerBase,
    *,
    folder: Path,
    objective: str = "sft",
) -> Prepared:
    """Split documents and render them in the form that ``objective`` (of `train`) learns from.

    A template's path starts at ``folder``. Raises UsageError where template, length and objective do not go together.
    """
    template, fit = load_template(options, folder, objective), Fit.of(options, objective)
    rows, repetitions = _distinct(documents.to_pylist(), options.split.sources)
    _check(rows, options, template, tokenizer)
    groups = group_documents(rows, template_contents(rows, template))
    rows = [{**row, "group": group} for row, group in zip(rows, groups, strict=True)]
    planted = make_canaries(options.canaries, template, tokenizer, fit.max_length) if options.canaries else []
    sides = _sides(rows, _make(rows, Maker(template, tokenizer, fit)), options.split)
    sides["train"].left_out += [Skipped(REPETITION)] * repetitions
    sides["train"].examples = list(repeated(sides["train"].examples, options.repeat))
    if options.canaries:
        sides["train"].examples += [canary.example for canary in planted] * options.canaries.repeat
    summary = {
        "template": template.name,
        **{name: count(side.examples, side.left_out) for name, side in sides.items()},
        "max_length": fit.max_length,
        "groups": len(set(groups)),
        "canaries": len(planted),
    }
    tables = {name: _table(side.examples, example_schema(template.form)) for name, side in sides.items()}
    return Prepared(
        tables["train"],
        tables["test"],
        summary,
        [canary.row() for canary in planted],
        tables.get("validation"),
        template.written(),
        fit,
    )


def _distinct(rows: list[dict[str, Any]], held_out: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Rows by id, each id once, and how many went. Of a text in several sources, the copy that is held out stays."""
    ranked = sorted(rows, key=lambda row: (row["id"], row["source"] not in held_out, row["source"]))
    distinct = {row["id"]: row for row in reversed(ranked)}
    return [distinct[name] for name in sorted(distinct)], len(rows) - len(distinct)


def _check(
    rows: Sequence[Mapping[str, Any]], options: Prepare, template: Template, tokenizer: PreTrainedTokenizerBase
) -> None:
    """What can be refused before any work."""
    if not rows:
        raise SteepError("prepare: no documents: see what clean dropped and why, or gather more")
    if template.form == "messages":
        chat_template(tokenizer)
    sources = {row["source"] for row in rows}
    for where, names in (("repeat", options.repeat), ("split.sources", options.split.sources)):
        for name in names:
            if name not in sources:
                known = ", ".join(sorted(sources))
                raise UsageError(f"prepare.{where}: no document comes from {name!r}; sources are {known}")
    if options.canaries and CANARIES in sources:
        raise UsageError(f"prepare.canaries: a source is named {CANARIES!r} too, so nothing would tell them apart")
    template.check({name for row in rows for name in document_variables(row)}, rows[0]["id"])


def _make(rows: Sequence[Mapping[str, Any]], maker: Maker) -> list[Example | Skipped]:
    made: list[Example | Skipped] = []
    with progress("examples", total=len(rows)) as update:
        for start in range(0, len(rows), BATCH):
            batch = maker.make(rows[start : start + BATCH])
            made += batch
            update(len(batch))
    return made


@dataclass(slots=True)
class Side:
    """The examples of a side, and why other documents that belong there gave none."""

    examples: list[Example]
    left_out: list[Skipped]


def _sides(rows: Sequence[Mapping[str, Any]], made: Sequence[Example | Skipped], options: Split) -> dict[str, Side]:
    """By name; the validation side only where one is asked for."""
    examples = [one for one in made if isinstance(one, Example)]
    skipped = [(row, one) for row, one in zip(rows, made, strict=True) if isinstance(one, Skipped)]
    drawn = _draw(examples, [one for _, one in skipped], options)
    names = ["train", "test", *(["validation"] if options.validation else [])]
    sides = {name: Side([examples[number] for number in getattr(drawn, name)], []) for name in names}
    side_of = {one.columns["group"]: name for name in names for one in sides[name].examples}
    for row, reason in skipped:
        sides[_side(row, side_of, options)].left_out.append(reason)
    sides["train"].left_out += [Skipped(LIKENESS)] * len(drawn.removed)
    return sides


def _draw(examples: Sequence[Example], skipped: Sequence[Skipped], options: Split) -> Sides:
    """Only documents that give an example are drawn, so neither side is empty."""
    reasons = Counter(map(str, skipped))
    lost = "; ".join(f"{reason} ({times})" for reason, times in reasons.most_common())
    if not examples:
        raise SteepError(
            f"prepare: no example: all {len(skipped)} documents were skipped: {lost}. "
            "prepare.fields says what fills a template's variables, prepare.max_length how long an example may be"
        )
    sources, groups = ([one.columns[name] for one in examples] for name in ("source", "group"))
    try:
        return split_documents(sources, groups, options)
    except SteepError as error:
        raise SteepError(f"{error}. {len(skipped)} documents were skipped: {lost}" if lost else f"{error}") from error


def _side(row: Mapping[str, Any], side_of: Mapping[str, str], options: Split) -> str:
    """A document that gives no example belongs where its source or its near-duplicates are."""
    if row["source"] in options.sources:
        return "test"
    alike = side_of.get(row["group"], "train")
    return "train" if options.sources and alike == "test" else alike


def _table(examples: Sequence[Example], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([one.columns for one in examples], schema=schema)

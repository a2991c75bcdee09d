"""clean: documents in, better documents out, and for each that is dropped the step and the reason.

Steps run in the recipe's order. Most look at one document at a time (`rows`) and are applied together, in one pass over
the documents. A few have to see all documents first: they begin a new pass with what they learned. Between passes the
documents lie on disk, so memory does not grow with them.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import daft
import pyarrow as pa
import pyarrow.parquet as pq
from daft import DataType, col, lit
from daft.functions import fill_null

from steep.clean.boilerplate import learn_boilerplate, strip_step
from steep.clean.decontaminate import decontaminate_step
from steep.clean.description import redacted, sampled_languages
from steep.clean.duplicates import drop_step, learn_duplicates
from steep.clean.function import function_step
from steep.clean.language import language_step
from steep.clean.length import length_step
from steep.clean.licences import licences_step
from steep.clean.markup import markup_step
from steep.clean.parts import frame, parts_of, write_in_parts
from steep.clean.passes import REWRITTEN, Pass, Tally, run_pass, step_name
from steep.clean.quality import quality_step
from steep.clean.redact import redact_step
from steep.clean.rows import Learned, RowStep
from steep.clean.text import lowercase_step, replace_step, whitespace_step
from steep.recipe.clean import CleanStep
from steep.runs import write_atomically

LEARNED = "learned"
"""Folder of what the steps learned that see all documents first, a Parquet file for each."""

__all__ = ["CORPUS_STEPS", "ROW_STEPS", "Cleaned", "clean_documents", "clean_files"]

ROW_STEPS: dict[str, Callable[[Any, Path], RowStep]] = {
    "whitespace": whitespace_step,
    "markup": markup_step,
    "redact": redact_step,
    "length": length_step,
    "language": language_step,
    "quality": quality_step,
    "decontaminate": decontaminate_step,
    "licences": licences_step,
    "lowercase": lowercase_step,
    "replace": replace_step,
    "function": function_step,
}
"""Steps that look at one document at a time: from their options and the recipe's folder to a function over a batch."""


class CorpusStep(NamedTuple):
    """A step that sees all documents first: what it learns of them, and the row step that follows from that."""

    learn: Callable[[daft.DataFrame, Any, Path], Learned]
    step: Callable[[pa.Table, Any], RowStep]


CORPUS_STEPS: dict[str, CorpusStep] = {
    "boilerplate": CorpusStep(learn_boilerplate, strip_step),
    "deduplicate": CorpusStep(learn_duplicates, drop_step),
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What stays, what went and why. Both keep the order of the documents.

    ``dropped`` holds the documents as they were before the step that dropped them, with ``step`` and ``reason``.

    ``funnel`` holds per step: step, before, after, dropped, changed (of those that stay), reasons (cause -> how many).
    ``evidence`` holds per step what it learned or found: the blocks that ``boilerplate`` removed with their counts, the
    largest groups of ``deduplicate``, how much of each kind ``redact`` replaced.
    """

    kept: daft.DataFrame
    dropped: daft.DataFrame
    funnel: list[dict[str, Any]]
    evidence: dict[str, Sequence[Mapping[str, Any]]]
    facts: dict[str, Any]
    """Of what stays: documents, words, lengths (number of words, from that power of two -> documents), languages
    (code -> documents) of as many as ``sampled`` says."""


def clean_documents(documents: daft.DataFrame, steps: Sequence[CleanStep], *, folder: Path = Path()) -> Cleaned:
    """Clean a dataframe; what comes out is held in memory. ``folder``: where relative paths in the steps start."""
    with tempfile.TemporaryDirectory(prefix="steep-clean-") as work:
        gathered = Path(work) / "gathered.parquet"
        write_in_parts(_as_strings(documents), gathered)
        cleaned = clean_files([gathered], steps, folder=folder, work=Path(work))
        return Cleaned(
            cleaned.kept.collect(), cleaned.dropped.collect(), cleaned.funnel, cleaned.evidence, cleaned.facts
        )


def clean_files(paths: Sequence[Path], steps: Sequence[CleanStep], *, folder: Path, work: Path) -> Cleaned:
    """Clean the documents in Parquet files into the folders `documents`, `dropped` and `redacted` of ``work``.

    ``work`` also takes what an interrupted call left, and the next one goes on with; it is removed at the end.
    """
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    parts = parts_of(paths)
    key = _key(work / "key")
    tally = Tally()
    evidence: dict[str, list[Mapping[str, Any]]] = {}
    runs = _runs(steps)
    for number, run in enumerate(runs):
        if run.corpus:
            name, options = run.corpus
            found = _learn(name, options, work / f"pass-{number - 1}", work / LEARNED)
            evidence.setdefault(step_name(name), []).extend(found)
        last = number == len(runs) - 1
        kept = work / ("documents" if last else f"pass-{number}")
        make = partial(_make, run, work / LEARNED, folder.resolve(), key)
        run_pass(parts, Pass(number, make, kept, work / "dropped", work / "redacted", last), tally)
        parts = parts_of(sorted(kept.glob("part-*.parquet")))
    _tidy(work, len(runs))
    evidence |= _found(work / "redacted")
    return Cleaned(
        frame(work / "documents"),
        frame(work / "dropped"),
        _funnel(steps, tally),
        redacted({name: found for name, found in evidence.items() if found}, steps),
        {
            "documents": tally.kept,
            "words": tally.words,
            "lengths": dict(sorted(tally.lengths.items(), key=lambda item: int(item[0]))),
            **sampled_languages(work / "documents", loaded=any(step.language for step in steps)),
        },
    )


def step_functions(steps: Sequence[CleanStep], *, folder: Path, work: Path) -> list[tuple[str, RowStep]]:
    """The steps of a finished cleaning in ``work`` as functions over a batch, with what they learned then."""
    made = [step for run in _runs(steps) for step in _make(run, work / LEARNED, folder.resolve(), bytes(32))]
    return [(step_name(name), step) for name, step in made]


Named = tuple[str, Any]
"""A step's place and name, such as `2.deduplicate`, and its options."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The steps of one pass: first, perhaps, one that has to see all documents, then row steps."""

    corpus: Named | None
    rows: tuple[Named, ...]


def _runs(steps: Sequence[CleanStep]) -> list[_Run]:
    runs = [_Run(None, ())]
    for number, (name, options) in enumerate(step.chosen for step in steps):
        named = (f"{number}.{name}", options)
        if name in CORPUS_STEPS:
            runs.append(_Run(named, ()))
        else:
            runs[-1] = _Run(runs[-1].corpus, (*runs[-1].rows, named))
    return runs


def _make(run: _Run, learned: Path, folder: Path, key: bytes) -> list[tuple[str, RowStep]]:
    """The functions of a pass, in the process that will call them."""
    made: list[tuple[str, RowStep]] = []
    if run.corpus:
        name, options = run.corpus
        made.append((name, CORPUS_STEPS[step_name(name)].step(pq.read_table(learned / f"{name}.parquet"), options)))
    for name, options in run.rows:
        plain = step_name(name)
        factory = partial(redact_step, key=key) if plain == "redact" else ROW_STEPS[plain]
        made.append((name, factory(options, folder)))
    return made


def _learn(name: str, options: Any, documents: Path, learned: Path) -> list[Mapping[str, Any]]:
    """What a corpus step learned; kept, so that an interrupted cleaning does not learn it again."""
    evidence = learned / f"{name}.json"
    if not evidence.exists():
        scratch = learned / f"{name}.scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        found = CORPUS_STEPS[step_name(name)].learn(frame(documents), options, scratch)
        pq.write_table(found.table, learned / f"{name}.parquet")
        write_atomically(evidence, json.dumps(found.evidence, ensure_ascii=False))
        shutil.rmtree(scratch)
    read: list[Mapping[str, Any]] = json.loads(evidence.read_text("utf-8"))
    return read


def _key(path: Path) -> bytes:
    """Of the hashes of what is redacted: random, and gone when all is clean, so that nobody can try all numbers."""
    if not path.exists():
        write_atomically(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text("utf-8"))


def _tidy(work: Path, passes: int) -> None:
    for number in range(passes):
        shutil.rmtree(work / f"pass-{number}", ignore_errors=True)
    for file in (work / "key", *(work / LEARNED).glob("*.json"), *(work / "documents").glob(".*.json")):
        file.unlink()
    if not any((work / "dropped").iterdir()):
        first = min((work / "documents").glob("part-*.parquet"))
        nothing = pq.read_schema(first).append(pa.field("step", pa.string())).append(pa.field("reason", pa.string()))
        pq.write_table(nothing.empty_table(), work / "dropped" / "none.parquet")


def _found(folder: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Of each step that has findings: how often each kind occurs, in how many documents, and how many differ."""
    if not any(folder.iterdir()):
        return {}
    kinds = frame(folder).groupby("step", "kind")
    counted = kinds.agg(
        col("hash").count().alias("occurrences"),
        col("id").count_distinct().alias("documents"),
        col("hash").count_distinct().alias("distinct"),
    )
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(counted.to_pylist(), key=lambda row: (row["step"], -row["occurrences"], row["kind"])):
        found.setdefault(row.pop("step"), []).append(row)
    return found


def _as_strings(documents: daft.DataFrame) -> daft.DataFrame:
    """A column that holds nothing but nulls has no type of its own."""
    strings = {column: col(column).cast(DataType.string()) for column in REWRITTEN}
    return documents.with_columns({**strings, "text": fill_null(strings["text"], lit(""))})


def _funnel(steps: Sequence[CleanStep], tally: Tally) -> list[dict[str, Any]]:
    funnel: list[dict[str, Any]] = []
    for number, (name, _) in enumerate(step.chosen for step in steps):
        key = f"{number}.{name}"
        reasons = Counter(tally.causes.get(key, {}))
        before = tally.before[key]
        funnel.append(
            {
                "step": name,
                "before": before,
                "after": before - reasons.total(),
                "dropped": reasons.total(),
                "changed": tally.changed[key],
                "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            }
        )
    return funnel

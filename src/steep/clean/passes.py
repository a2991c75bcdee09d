"""How steps are put to work: a pass applies a run of row steps to all documents, part by part, in all cores.

Daft hands the parts to processes of this machine or, on its Ray runner, of a cluster. A part's result is a file that
depends on nothing but the part, so both give the same; it gets its name when it is whole, so a pass that was
interrupted, or whose worker died, goes on with the parts that are missing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import daft
import pyarrow as pa
import pyarrow.parquet as pq
from daft import DataType, col

from steep.clean.parts import ROW, Part
from steep.clean.rows import Batch, Drop, Facts, RowStep
from steep.errors import SteepError, UsageError
from steep.runs import write_atomically
from steep.terminal import progress

REWRITTEN = ("text", "title", "meta")
FINDINGS = pa.schema([("id", pa.string()), ("step", pa.string()), ("kind", pa.string()), ("hash", pa.string())])
RETRIES = 3
"""How often a part is tried again whose worker died."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Steps with their names, made in the process that uses them, and the folders that take what comes out."""

    number: int
    steps: Callable[[], Sequence[tuple[str, RowStep]]]
    kept: Path
    dropped: Path
    findings: Path
    last: bool = False
    """Nothing follows: what stays has no column ``row`` any more."""

    @property
    def name(self) -> str:
        return f"pass-{self.number}"


@dataclass(slots=True)
class Tally:
    """What a pass did, in numbers that add up over the parts."""

    before: Counter[str] = field(default_factory=Counter)
    """Of each step, by its place and name."""
    changed: Counter[str] = field(default_factory=Counter)
    causes: dict[str, Counter[str]] = field(default_factory=dict)
    lengths: Counter[str] = field(default_factory=Counter)
    """Of what stays: how many documents have at least so many words (a power of two) and fewer than twice that."""
    kept: int = 0
    words: int = 0

    def add(self, other: Mapping[str, Any]) -> None:
        self.before.update(other["before"])
        self.changed.update(other["changed"])
        for step, causes in other["causes"].items():
            self.causes.setdefault(step, Counter()).update(causes)
        self.lengths.update(other["lengths"])
        self.kept += other["kept"]
        self.words += other["words"]

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def step_name(name: str) -> str:
    """Of `2.deduplicate`, which tells it from another step of this name, `deduplicate`."""
    return name.partition(".")[2]


def run_pass(parts: Sequence[Part], job: Pass, tally: Tally) -> None:
    """Apply the steps of a pass to every part that is not done, and add up what it did to all of them.

    Raises what the steps raise for the user.
    """
    for folder in (job.kept, job.dropped, job.findings):
        folder.mkdir(parents=True, exist_ok=True)
    todo = [number for number in range(len(parts)) if not _tally_file(job, number).exists()]
    with progress(f"clean, pass {job.number + 1}", total=len(todo)) as update:
        for said in _results([(number, parts[number]) for number in todo], job):
            _raise(said)
            update()
    for number in range(len(parts)):
        tally.add(json.loads(_tally_file(job, number).read_text("utf-8")))


def _results(todo: Sequence[tuple[int, Part]], job: Pass) -> Any:
    """What each part's worker says. Starting a process takes as long as a part, so that few parts are not worth one."""
    workers = max(1, min(len(todo) // 2, cores()))
    if workers <= 1 and not on_ray():
        work = _Worker(job, todo)
        return (work.one(index) for index in range(len(todo)))
    pool: Any = daft.cls(_Worker, max_concurrency=workers, use_process=True, max_retries=RETRIES)
    indices = daft.from_pydict({"index": list(range(len(todo)))})
    if on_ray():
        indices = indices.into_partitions(len(todo))
    return (row["said"] for row in indices.select(pool(job, todo).some(col("index")).alias("said")).iter_rows())


def on_ray() -> bool:
    return bool(daft.runners.get_or_create_runner().name == "ray")


def cores() -> int:
    """Those that this process may use; of a cluster, those of all its machines."""
    if on_ray():
        import ray

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))
    return len(os.sched_getaffinity(0))


class _Worker:
    """Makes the steps once, then applies them to one part after another."""

    def __init__(self, job: Pass, todo: Sequence[tuple[int, Part]]) -> None:
        self.job = job
        self.todo = todo
        self._steps: Sequence[tuple[str, RowStep]] | None = None

    @daft.method.batch(return_dtype=DataType.string(), batch_size=1)  # type: ignore[untyped-decorator]
    def some(self, indices: daft.Series) -> list[str]:
        return [self.one(index) for index in indices.to_pylist()]

    def one(self, index: int) -> str:
        """An empty string, or what went wrong: an exception would reach the user as one of Daft's, with its trace."""
        number, part = self.todo[index]
        try:
            self._steps = self._steps if self._steps is not None else self.job.steps()
            _do_part(part, number, self._steps, self.job)
        except SteepError as error:
            return f"{error.exit_code} {error}"
        return ""


def _raise(said: str) -> None:
    if said:
        code, _, message = said.partition(" ")
        raise (UsageError if int(code) == UsageError.exit_code else SteepError)(message)


def _tally_file(job: Pass, number: int) -> Path:
    return job.kept / f".{number:05}.json"


def _do_part(part: Part, number: int, steps: Sequence[tuple[str, RowStep]], job: Pass) -> None:
    table = part.read()
    sheet = _Sheet(table.schema)
    batch = _batch(table)
    for name, step in steps:
        batch = sheet.applied(batch, name, step)
    if job.last:
        sheet.count(batch)
    file = f"part-{number:05}.parquet"
    kept = sheet.table(batch)
    _write(kept.drop_columns([ROW]) if job.last else kept, job.kept / file)
    if sheet.dropped:
        _write(pa.concat_tables(sheet.dropped).drop_columns([ROW]), job.dropped / f"{job.name}-{file}")
    if sheet.findings:
        _write(pa.Table.from_pylist(sheet.findings, schema=FINDINGS), job.findings / f"{job.name}-{file}")
    write_atomically(_tally_file(job, number), json.dumps(sheet.tally.as_dict()))


def _batch(table: pa.Table) -> Batch:
    text, title, meta = (table[column].to_pylist() for column in REWRITTEN)
    return Batch([value or "" for value in text], title, meta, Facts(table.drop_columns(list(REWRITTEN))))


class _Sheet:
    """What comes of one part: what goes and why, what was found, and the numbers."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.tally = Tally()
        self.dropped: list[pa.Table] = []
        self.findings: list[dict[str, str]] = []

    def applied(self, batch: Batch, name: str, step: RowStep) -> Batch:
        """What a step leaves of a batch; what it drops is noted as it was before."""
        before = Batch(batch.text, batch.title, batch.meta, batch.facts)
        batch.drops, batch.findings = [], []
        step(batch)
        drops = _with_empty(batch, step_name(name))
        stays = [number for number, drop in enumerate(drops) if drop is None]
        self.tally.before[name] += len(drops)
        self.tally.changed[name] += sum(_differs(batch, before, number) for number in stays)
        for number, found in enumerate(batch.findings):
            if found and drops[number] is None:
                self.findings += [{"id": batch.facts["id"][number], "step": step_name(name), **one} for one in found]
        if len(stays) == len(drops):
            return batch
        self._drop(before, name, drops)
        return _taken(batch, stays)

    def count(self, batch: Batch) -> None:
        words = [len(text.split()) for text in batch.text]
        self.tally.kept, self.tally.words = len(words), sum(words)
        self.tally.lengths.update(str(1 << (number.bit_length() - 1) if number else 0) for number in words)

    def _drop(self, before: Batch, name: str, drops: Sequence[Drop | None]) -> None:
        reasons = [drop for drop in drops if drop is not None]
        self.tally.causes.setdefault(name, Counter()).update(drop.cause for drop in reasons)
        table = self.table(_taken(before, [number for number, drop in enumerate(drops) if drop is not None]))
        table = table.append_column("step", pa.array([step_name(name)] * len(reasons), pa.string()))
        self.dropped.append(table.append_column("reason", pa.array([drop.reason for drop in reasons], pa.string())))

    def table(self, batch: Batch) -> pa.Table:
        """In the columns and types that the documents came in."""
        facts = _facts(batch)
        columns = {name: facts[name] for name in batch.facts}
        columns |= {name: pa.array(getattr(batch, name), pa.string()) for name in REWRITTEN}
        return pa.table({name: columns[name] for name in self.schema.names})


def _with_empty(batch: Batch, name: str) -> list[Drop | None]:
    """A text of which nothing is left is dropped, whatever the step."""
    drops = batch.drops or [None] * len(batch)
    empty = Drop(f"empty after {name}", f"empty after {name}")
    return [
        drop or (empty if not text or text.isspace() else None) for drop, text in zip(drops, batch.text, strict=True)
    ]


def _differs(batch: Batch, before: Batch, number: int) -> bool:
    return (
        batch.text[number] != before.text[number]
        or batch.title[number] != before.title[number]
        or batch.meta[number] != before.meta[number]
    )


def _taken(batch: Batch, rows: Sequence[int]) -> Batch:
    return Batch(
        [batch.text[row] for row in rows],
        [batch.title[row] for row in rows],
        [batch.meta[row] for row in rows],
        Facts(_facts(batch).take(pa.array(rows, pa.int64()))),
    )


def _facts(batch: Batch) -> pa.Table:
    assert isinstance(batch.facts, Facts)
    return batch.facts.table


def _write(table: pa.Table, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, partial, compression="zstd")
    partial.rename(path)

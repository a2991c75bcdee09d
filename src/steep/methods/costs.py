"""What each method gave and cost, from what its run left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steep.figures import Row, rows_of
from steep.methods import Outcome
from steep.report.wording import count, duration
from steep.runs import Run
from steep.scores import Scores, read_scores

HEAD = ("rate", "trained", "time", "tokens/s", "memory", "on disk")
WEIGHTS = ("adapter", "model")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of training; ``peak_memory_gib``: of the GPU, None without one; ``bytes_on_disk``: of the weights."""

    learning_rate: float
    trainable_parameters: int
    tokens: int
    seconds: float
    tokens_per_second: float
    peak_memory_gib: float | None
    bytes_on_disk: int

    @property
    def cells(self) -> list[str]:
        """In the order of HEAD."""
        memory = "–" if self.peak_memory_gib is None else f"{self.peak_memory_gib:,.2f} GiB"
        return [
            f"{self.learning_rate:.4g}",
            count(self.trainable_parameters),
            duration(self.seconds),
            count(self.tokens_per_second),
            memory,
            f"{self.bytes_on_disk / 1e6:,.1f} MB",
        ]


def cost(run: Run, rate: float) -> Cost:
    told = run.summary("train")
    return Cost(
        learning_rate=rate,
        trainable_parameters=told["trainable_parameters"],
        tokens=told["tokens"],
        seconds=told["seconds"],
        tokens_per_second=told["tokens_per_second"],
        peak_memory_gib=told["peak_memory_gib"],
        bytes_on_disk=sum(size(run.stage("train") / name) for name in WEIGHTS),
    )


def size(folder: Path) -> int:
    """Bytes of all files in it; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Method:
    """A finished method. ``quality``: the measures of its verdict, the tuned model against its base."""

    name: str
    run: Run
    cost: Cost
    scores: Scores

    @property
    def quality(self) -> list[Row]:
        return [row for row in rows_of(self.scores) if row.told and "tuned" in row.models]

    @property
    def verdict(self) -> str:
        return self.scores.verdict.get("base", "–")


def finished(outcomes: Iterable[Outcome]) -> list[Method]:
    return [
        Method(
            one.method,
            one.run,
            cost(one.run, one.learning_rate),
            read_scores(one.run.stage("evaluate") / "scores.json"),
        )
        for one in outcomes
        if one.run and one.learning_rate
    ]


def unequal(methods: Sequence[Method]) -> str:
    """What to say where the methods did not read the same number of tokens; empty where they did."""
    read = {one.name: one.cost.tokens for one in methods}
    if len(set(read.values())) < 2:
        return ""
    return f"Not the same tokens were read: {', '.join(f'{name} {tokens:,}' for name, tokens in read.items())}."


def as_json(methods: Sequence[Method], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As it is written to ``methods.json``."""
    return {
        "methods": {one.name: _method_json(one) for one in methods},
        "skipped": {one.method: one.skipped for one in outcomes if one.skipped},
        "failed": {one.method: one.failed for one in outcomes if one.failed},
    }


def _method_json(one: Method) -> Mapping[str, Any]:
    told = {row.name for row in one.quality}
    return {
        "run": str(one.run.folder),
        "verdict": one.verdict,
        **asdict(one.cost),
        "metrics": {name: found.model_dump() for name, found in one.scores.metrics.items() if name in told},
    }

"""The report's charts: of the cleaned documents, of the examples, of the training."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

from steep.figures import Row
from steep.plots import Chart, Mark, bars, forest, histogram, line_chart
from steep.report.files import read_json_lines
from steep.scores import Difference, Model, Scores

LANGUAGES_SHOWN = 7
POWERS_SHOWN = 12


def document_lengths(lengths: Mapping[str, int]) -> str:
    """Histogram of the words per document, from how many there are from each power of two on."""
    powers = {int(words).bit_length(): documents for words, documents in lengths.items()}
    first, end = min(powers), max(powers) + 1
    wide = 1 if end - first <= POWERS_SHOWN else 2  # powers of four, so that the labels have room
    counts = [sum(powers.get(power + i, 0) for i in range(wide)) for power in range(first, end, wide)]
    edges = [1 << (power - 1) if power else 0 for power in range(first, end + wide, wide)]
    most = counts.index(max(counts))
    about = (
        f"From {edges[0]:,} to fewer than {edges[-1]:,} words; the most frequent are documents of {edges[most]:,} to "
        f"fewer than {edges[most + 1]:,}, {counts[most]:,} of {sum(counts):,}."
    )
    labels = [f"{words >> 10}k" if words >> 10 else f"{words}" for words in edges]
    return bars(Chart("words", "Words per document", about, height=190), labels, counts, xlabel="words")


def languages(found: Mapping[str, int]) -> str:
    """Bars of the most frequent languages, and one of the others together."""
    most = sorted(found.items(), key=lambda language: -language[1])
    shown, rest = dict(most[:LANGUAGES_SHOWN]), most[LANGUAGES_SHOWN:]
    if rest:
        shown[f"{len(rest)} more"] = sum(documents for _, documents in rest)
    about = "; ".join(f"{language}: {documents:,}" for language, documents in shown.items())
    return bars(Chart("languages", "Languages", about, height=190), list(shown), list(shown.values()))


def example_lengths(path: Path) -> str:
    """Histogram of the words per training example, read batch by batch; of a pair, with the chosen answer."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    names = ("text", "prompt", "completion", "chosen", "messages")
    columns = [name for name in names if name in file.schema_arrow.names]
    words: list[int] = []
    for batch in file.iter_batches(columns=columns):
        if columns == ["messages"]:
            words += [sum(len(turn["content"].split()) for turn in turns) for turns in batch.column(0).to_pylist()]
            continue
        joined = pc.binary_join_element_wise(*batch.columns, " ") if len(columns) > 1 else batch.column(0)
        words += pc.count_substring_regex(joined, r"\S+").to_pylist()
    if not words:
        return ""
    longest, middle = max(words), sorted(words)[len(words) // 2]
    about = (
        f"Most common lengths of {len(words):,} examples; half have at most {middle:,} words, the longest {longest:,}."
    )
    return histogram(Chart("lengths", "Words per training example", about, height=170), words, xlabel="words")


def differences(scores: Scores, told: Sequence[Row]) -> dict[str, str]:
    """A forest plot of the differences from the base and from the prompted model, for a wide and a narrow page.

    What makes measures of different scales comparable is a unit of their own: the standard deviation of the documents'
    contributions to the difference, so that a position is Cohen's d for paired samples, mirrored where lower is better.
    A measure whose documents all differ by the same has no such unit and is left out.
    """
    others: tuple[Model, ...] = ("base", "few_shot")
    shown = [row for row in told if any(_mark(scores, row, other) for other in others)]
    series = [marks for other in others if any(marks := [_mark(scores, row, other) for row in shown])]
    if not series:
        return {}
    title, unit = "Differences with their intervals", "standard deviations of the documents’ differences"
    about = " ".join(f"{row.label}: {_spoken(row)}." for row in shown)
    labels = [row.label for row in shown]
    narrow = ["\n".join(textwrap.wrap(label, 12, break_long_words=False)) for label in labels]
    return {
        "wide": forest(Chart("forest-wide", title, about, 700, 64), labels, series, xlabel=unit),
        "narrow": forest(
            Chart("forest-narrow", title, about, 340, 64), narrow, series, xlabel=unit.replace(" of ", "\nof ")
        ),
    }


def _spoken(row: Row) -> str:
    names = {"base": "against the base model", "few_shot": "against prompting"}
    return "; ".join(f"{names[other]} {gap.value}, {gap.interval}, {gap.word}" for other, gap in row.gaps.items())


def _mark(scores: Scores, row: Row, other: Model) -> Mark | None:
    measured = scores.metrics[row.name]
    gap = measured.differences.get(other)
    if gap is None or gap.verdict is None or not (unit := _unit(gap, scores)):
        return None
    scale = -unit if measured.better == "lower" else unit
    ends = sorted((gap.low / scale, gap.high / scale))
    return Mark(gap.value / scale, ends[0], ends[1], gap.verdict)


def _unit(gap: Difference, scores: Scores) -> float | None:
    """Standard deviation of the documents' differences; where they cancel out, the one that the interval implies."""
    if gap.effect_size:
        return gap.value / gap.effect_size
    if gap.value or scores.statistics is None:
        return None
    reach = NormalDist().inv_cdf(0.5 + scores.statistics.confidence / 2)
    return (gap.high - gap.low) / 2 / reach * math.sqrt(scores.statistics.clusters) or 1.0


QUALITY = {
    "rewards/accuracies": "Preference: share of the batch’s pairs whose chosen answer is preferred",
    "accuracy": "Preference: share of the batch’s pairs whose chosen answer has the higher score",
    "reward": "Mean reward of the answers",
}
"""What some objectives log beside the loss, which says little of their progress."""


def curves(run_folder: Path) -> dict[str, Any]:
    """Charts of the training by what they show; ``validated``: the loss has the validation loss beside it."""
    rows = read_json_lines(run_folder / "train" / "metrics.jsonl")
    loss, validation = _points(rows, "loss"), _points(rows, "eval_loss")
    about = " ".join(filter(None, (_about("Training loss", loss), _about("Validation loss", validation))))

    def losses(width: str, *size: int) -> str:
        return line_chart(Chart(f"loss-{width}", "Training loss", about, *size), *loss, smooth=True, beside=validation)

    def small(column: str, title: str, *, smooth: bool = False) -> str:
        points = _points(rows, column)
        return line_chart(Chart(column.replace("/", "-"), title, _about(title, points)), *points, smooth=smooth)

    return {
        "wide": losses("wide", 620, 330),
        "narrow": losses("narrow", 330, 230),
        "validated": bool(validation[0]),
        "quality": {
            title: small(name, title, smooth=True) for name, title in QUALITY.items() if _points(rows, name)[0]
        },
        "rate": small("learning_rate", "Learning rate"),
        "speed": small("tokens_per_second", "Tokens per second"),
    }


def _points(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[Sequence[float], Sequence[float]]:
    """Steps and values of the rows that have one: a validation's has no loss, a step's no validation loss."""
    found = [(row["step"], row[column]) for row in rows if _finite(row.get(column))]
    return [step for step, _ in found], [value for _, value in found]


def _about(name: str, points: tuple[Sequence[float], Sequence[float]]) -> str:
    values = points[1]
    return f"{name} at each of {len(values)} steps, from {values[0]:.4g} to {values[-1]:.4g}." if values else ""


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

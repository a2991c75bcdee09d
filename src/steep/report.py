"""``report.html``: one file that shows a run to others. Verdict first, then how it came about, last how to repeat it.

Everything is in the file: no script, no font, no image is fetched, and its content security policy forbids it. What
documents and models say is escaped. A stage that has not run leaves a note in place of its section.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from steep.errors import RunError
from steep.plots import Chart, histogram, line_chart
from steep.runs import STAGES
from steep.verdict import changes, verdict

FAILURES_SHOWN = 20
SAMPLES_SHOWN = 8
REASONS_SHOWN = 5
EVIDENCE_SHOWN = 12
CHARACTERS_SHOWN = 2000
PROMPT_SHOWN = 800


def build_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder from what its finished stages left there."""
    run = _json(run_folder / "run.json")
    done = [stage for stage in STAGES if run["stages"].get(stage, {}).get("finished")]
    summaries = {stage: _json(run_folder / stage / _SUMMARY.get(stage, "summary.json")) for stage in done}
    funnel = _funnel(summaries)
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            run=run,
            recipe=run["recipe"],
            done=done,
            made=_made(run, summaries.get("train")),
            funnel=funnel,
            unit=_unit(funnel, summaries.get("prepare")),
            **{stage: summaries.get(stage) for stage in STAGES},
            **_evaluated(run_folder, summaries.get("evaluate")),
            charts=_curves(run_folder) if "train" in done else {},
            lengths=_lengths(run_folder / "prepare" / "train.parquet") if "prepare" in done else None,
            recipe_yaml=_yaml(run["recipe"]),
            repeat={"Run folder": run["folder"]} | dict(_seeds(run["recipe"])),
        )
    )
    return _write(run_folder / "report.html", page)


_SUMMARY = {"evaluate": "scores.json"}


def _write(path: Path, page: str) -> Path:
    partial = path.with_suffix(".partial")
    partial.write_bytes(page.encode("utf-8", "replace"))  # half a surrogate pair in a document must not end the run
    return partial.replace(path)


# ---------------------------------------------------------------------------------------------------------- reading


def _json(path: Path) -> Any:
    return _parsed(_text(path), f"{path}")


def _json_lines(path: Path) -> list[Any]:
    lines = _text(path).split("\n")
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{path} is missing, so there is nothing to report; run the recipe again: steep run") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{where}: not JSON ({error}); remove the stage's folder and run the recipe again") from None


# --------------------------------------------------------------------------------------------------------- sections


def _made(run: Mapping[str, Any], train: Mapping[str, Any] | None) -> dict[str, str]:
    """What the run made, as label and value."""
    model, options = run["recipe"]["model"], run["recipe"]["train"]
    scratch = model.get("from_scratch")
    lora = f"LoRA, rank {options['lora']['rank']}, alpha {options['lora']['alpha']}"
    facts = {
        "Name": run["name"],
        "Base model": "none: trained from scratch" if scratch else model["base"],
        "Method": lora if options["method"] == "lora" else "all weights" if scratch else "full fine-tuning",
    }
    if train:
        if train["base_revision"] and not scratch:
            facts["Base model"] += f", commit {train['base_revision']}"
        share = train["trainable_parameters"] / max(1, train["parameters"])
        facts["Parameters"] = f"{_count(train['parameters'])}, of which {_count(train['trainable_parameters'])} "
        facts["Parameters"] += f"({share:.1%}) trained"
        facts["Trained on"] = f"{train['device']}, {train['dtype']}"
    facts["Time"] = _duration(sum(stage["seconds"] for stage in run["stages"].values()))
    facts["Hardware"] = _plain(run["hardware"])
    return facts


@dataclass(frozen=True, slots=True)
class Row:
    """A step of the funnel; ``more`` reasons are not among ``reasons``."""

    name: str
    before: int
    after: int
    changed: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    more: int = 0

    @property
    def dropped(self) -> int:
        return self.before - self.after


def _funnel(summaries: Mapping[str, Any]) -> list[Row]:
    steps = summaries["clean"]["funnel"] if "clean" in summaries else []
    if "gather" in summaries:
        gathered = summaries["gather"]["documents"]
        steps = [{"step": "gathered", "before": gathered, "after": gathered, "changed": 0, "reasons": {}}, *steps]
    return [_funnel_row(step) for step in steps]


def _funnel_row(step: Mapping[str, Any]) -> Row:
    reasons = sorted(step["reasons"].items(), key=lambda item: -item[1])
    shown, hidden = tuple(reasons[:REASONS_SHOWN]), len(reasons[REASONS_SHOWN:])
    return Row(step["step"], step["before"], step["after"], step["changed"], shown, hidden)


def _unit(funnel: Sequence[Row], prepare: Mapping[str, Any] | None) -> float:
    """Thousandths of the page's width per document, so that the longest bar fills it."""
    examples = prepare["train"]["examples"] + prepare["test"]["examples"] if prepare else 0
    return 1000 / max(1, examples, *(row.before for row in funnel))


def _lengths(path: Path) -> str:
    """Histogram of the words per training example, read batch by batch."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    columns = [name for name in ("text", "prompt", "completion") if name in file.schema_arrow.names]
    words: list[int] = []
    for batch in file.iter_batches(columns=columns):
        joined = pc.binary_join_element_wise(*batch.columns, " ") if len(columns) > 1 else batch.column(0)
        words += pc.count_substring_regex(joined, r"\S+").to_pylist()
    if not words:
        return ""
    longest, middle = max(words), sorted(words)[len(words) // 2]
    about = (
        f"Most common lengths of {len(words):,} examples; half have at most {middle:,} words, the longest {longest:,}."
    )
    return histogram(Chart("lengths", "Words per training example", about, height=170), words, xlabel="words")


def _curves(run_folder: Path) -> dict[str, str]:
    rows = _json_lines(run_folder / "train" / "metrics.jsonl")

    def points(column: str) -> tuple[list[float], list[float]]:
        found = [(row["step"], row[column]) for row in rows if _finite(row.get(column))]
        return [step for step, _ in found], [value for _, value in found]

    def about(column: str, name: str) -> str:
        _, values = points(column)
        return f"{name} at each of {len(values)} steps, from {values[0]:.4g} to {values[-1]:.4g}." if values else ""

    loss = about("loss", "Training loss")
    return {
        "wide": line_chart(Chart("loss-wide", "Training loss", loss, 620, 330), *points("loss"), smooth=True),
        "narrow": line_chart(Chart("loss-narrow", "Training loss", loss, height=230), *points("loss"), smooth=True),
        "rate": line_chart(
            Chart("rate", "Learning rate", about("learning_rate", "Learning rate")), *points("learning_rate")
        ),
        "speed": line_chart(
            Chart("speed", "Tokens per second", about("tokens_per_second", "Tokens per second")),
            *points("tokens_per_second"),
        ),
    }


def _evaluated(run_folder: Path, scores: Mapping[str, Any] | None) -> dict[str, Any]:
    if scores is None:
        return {"verdict": None, "changes": [], "samples": [], "chosen": [], "sample_count": 0}
    measured = changes(scores)
    path = run_folder / "evaluate" / "samples.jsonl"
    samples = [sample for sample in _json_lines(path) if sample["prompt"] is not None]
    chosen = evenly(len(samples), SAMPLES_SHOWN)
    return {
        "verdict": verdict(measured) if measured else None,
        "changes": measured,
        "samples": [samples[i] for i in chosen],
        "chosen": [i + 1 for i in chosen],
        "sample_count": len(samples),
    }


def evenly(count: int, wanted: int) -> list[int]:
    """Positions spread evenly over ``count`` rows, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def _yaml(recipe: Mapping[str, Any]) -> str:
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 100
    stream = io.StringIO()
    yaml.dump(recipe, stream)
    return stream.getvalue()


def _seeds(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Every `seed` of a recipe with its dotted path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = f"{path}.{key}" if path else key
            yield from [(where, inner)] if key == "seed" else _seeds(inner, where)
    elif isinstance(value, list):
        for inner in value:
            yield from _seeds(inner, path)


# ------------------------------------------------------------------------------------------------------- the template


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("steep", "data"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "duration": _duration, "plain": _plain, "excerpt": _excerpt}
    environment.filters |= {"evidence": _evidence, "ending": _ending}
    environment.globals |= {"FAILURES_SHOWN": FAILURES_SHOWN, "EVIDENCE_SHOWN": EVIDENCE_SHOWN}
    return environment


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _plain(value: Any) -> str:
    """Nested settings as one line of words."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(key).replace('_', ' ')} {_plain(inner)}"
            for key, inner in value.items()
            if inner not in (None, [], {})
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def _excerpt(text: str) -> str:
    return text if len(text) <= CHARACTERS_SHOWN else text[:CHARACTERS_SHOWN] + " […]"


def _ending(text: str) -> str:
    """Of a prompt the end is shown: that is where the models go on."""
    return text if len(text) <= PROMPT_SHOWN else "[…] " + text[-PROMPT_SHOWN:]


def _evidence(found: Any) -> tuple[Sequence[str], list[list[Any]], int]:
    """What a cleaning step found, as a table: columns, first rows, how many more there are."""
    if isinstance(found, Mapping):
        columns: Sequence[str] = ("found", "times")
        rows = [[key, value] for key, value in found.items()]
    else:
        columns = list(found[0])
        rows = [[row.get(column) for column in columns] for row in found]
    return columns, list(islice(rows, EVIDENCE_SHOWN)), max(0, len(rows) - EVIDENCE_SHOWN)

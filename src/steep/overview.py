"""A run in a few lines of the terminal: what each stage did, and at the end what came of it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.runs import STAGES, Run
from steep.terminal import harmless
from steep.verdict import changes, verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SAMPLES = 2
EXCERPT = 280
COUNTED = 5


def stage_line(run: Run, name: str, *, brief: bool = False) -> str:
    """One line on a finished stage; unless ``brief``, more follow where it dropped something."""
    said = harmless(_LINES[name](run.summary(name)))
    return said.partition("\n")[0] if brief else said


def _gather(summary: dict[str, Any]) -> str:
    failed = f", {summary['failed']:,} failed" if summary["failed"] else ""
    said = f"{summary['documents']:,} documents, {summary['words']:,} words{failed}"
    return f"{said}\n    failed: {_counts(summary['reasons'])}" if summary.get("reasons") else said


def _clean(summary: dict[str, Any]) -> str:
    funnel = summary["funnel"]
    before = f"{funnel[0]['before']:,} → " if funnel else ""
    redacted = {kind["kind"]: kind["occurrences"] for kind in summary["evidence"].get("redact", ())}
    return "\n".join(
        [
            f"{before}{summary['documents']:,} documents, {summary['words']:,} words",
            *([f"    redacted: {_counts(redacted)}"] if redacted else []),
            *(
                f"    {step['step']} −{step['dropped']:,}: {_counts(step['reasons'])}"
                for step in funnel
                if step["dropped"]
            ),
        ]
    )


def _counts(counts: Mapping[str, int]) -> str:
    """The most frequent; of some reasons each holds the name of a file or page."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    more = [f"and {len(most) - COUNTED:,} more"] if len(most) > COUNTED else []
    return ", ".join([*(f"{name} {times:,}" for name, times in most[:COUNTED]), *more])


def _prepare(summary: dict[str, Any]) -> str:
    train, test = summary["train"], summary["test"]
    cut = f", {train['truncated']:,} cut" if train["truncated"] else ""
    return f"{train['examples']:,} examples of {train['tokens']:,} tokens{cut}; {test['examples']:,} held out"


def _train(summary: dict[str, Any]) -> str:
    trained, all_ = (f"{summary[key] / 1e6:,.2f} M" for key in ("trainable_parameters", "parameters"))
    done = f"{summary['method']}: {trained} of {all_} parameters"
    return f"{done}, {summary['steps']:,} steps, {summary['tokens_per_second']:,.0f} tokens/s, {summary['device']}"


def _evaluate(summary: dict[str, Any]) -> str:
    return f"{summary['documents']:,} held-out texts"


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "gather": _gather,
    "clean": _clean,
    "prepare": _prepare,
    "train": _train,
    "evaluate": _evaluate,
}


def print_result(run: Run, console: Console) -> None:
    """The scores, two samples and where the report is, as far as the run has come."""
    done = run.read()["stages"]
    if STAGES[-1] in done:
        scores = json.loads((run.stage("evaluate") / "scores.json").read_text("utf-8"))
        measured = changes(scores)
        said = verdict(measured)
        console.print()
        console.print(_table(measured))
        console.print(f"[bold]{said.headline}[/] {said.caveat}")
        for sample in _samples(run.stage("evaluate") / "samples.jsonl"):
            console.print()
            console.print(_side_by_side(sample))
    console.print(f"\nReport: {run.folder / 'report.html'}", soft_wrap=True, markup=False)
    if "train" in done:
        console.print(f'Try it: steep generate {run.folder} "How it begins"', soft_wrap=True, markup=False)
    elif "gather" in done:
        console.print(f"Look at the documents: steep view {run.folder}", soft_wrap=True, markup=False)


def _table(measured: list[Any]) -> Table:
    from rich.table import Table

    table = Table("", "base", "tuned", "change", "texts", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for change in measured:
        table.add_row(change.metric.label, change.before, change.after, change.difference, str(change.n))
    return table


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    """Evenly spaced, so that nobody has chosen them for their looks."""
    with path.open(encoding="utf-8") as file:
        continued = [row for row in map(json.loads, file) if row.get("reference")]
    step = max(1, len(continued) // SAMPLES)
    yield from continued[::step][:SAMPLES]


def _side_by_side(sample: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for key in ("prompt", "reference", "base", "tuned"):
        if sample.get(key) is not None:
            text = harmless(" ".join(sample[key].split()))
            shown = (
                f"… {text[-EXCERPT:]}" if key == "prompt" and len(text) > EXCERPT else textwrap.shorten(text, EXCERPT)
            )
            table.add_row(key, Text(shown, style="bold" if key == "tuned" else ""))
    return table

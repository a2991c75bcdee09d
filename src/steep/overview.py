"""A run in a few lines of the terminal: what each stage did, and at the end what came of it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.figures import NAMES, rows_of
from steep.runs import STAGES, Run
from steep.scores import Scores, read_scores
from steep.terminal import harmless
from steep.verdict import DOUBTS, gate_sentence, verdict

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
    rounded = summary.get("quantization", "none")
    beside = "" if rounded == "none" else f" beside {rounded} weights"
    done = f"{summary['method']}{beside}: {trained} of {all_} parameters"
    return f"{done}, {summary['steps']:,} steps, {summary['tokens_per_second']:,.0f} tokens/s, {summary['device']}"


def _evaluate(summary: dict[str, Any]) -> str:
    return f"{summary['documents']:,} held-out text{'' if summary['documents'] == 1 else 's'}"


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
        print_evaluation(run.stage("evaluate"), console, run.read()["recipe"])
    console.print(f"\nReport: {run.folder / 'report.html'}", soft_wrap=True, markup=False)
    if "train" in done and run.read()["recipe"].get("train", {}).get("objective") != "reward":  # which writes nothing
        console.print(f'Try it: steep generate {run.folder} "How it begins"', soft_wrap=True, markup=False)
    elif "gather" in done:
        console.print(f"Look at the documents: steep view {run.folder}", soft_wrap=True, markup=False)


def print_evaluation(folder: Path, console: Console, recipe: Mapping[str, Any]) -> None:
    """The scores of an evaluation, what to doubt in them, and two samples. ``recipe``: that of the run, as stored."""
    from steep.report.files import read_json_lines
    from steep.report.samples import Redactor, at_random, regions_of

    scores = read_scores(folder / "scores.json")
    redactor = Redactor(regions_of(recipe))
    said = verdict(scores)
    console.print()
    for gate in scores.gates:
        if not gate.passed:
            console.print(harmless(gate_sentence(gate)), style="bold red", markup=False)
    console.print(_table(scores))
    console.print(said.headline, style="bold", markup=False)
    console.print(harmless(" ".join(said.sentences)), markup=False)
    for warning in scores.warnings:
        doubt = harmless(f"{DOUBTS[warning.kind]}: {redactor(warning.message)}")
        console.print(doubt, style="yellow", markup=False)
    for sample in at_random(read_json_lines(folder / "samples.jsonl"), SAMPLES):
        console.print()
        console.print(_side_by_side(sample, redactor))


def _table(scores: Scores) -> Table:
    """The measures of the verdict, and the word of each against the base model."""
    from rich.table import Table

    models = [model for model in NAMES if model in scores.models]
    compared = ("difference", "verdict") if "base" in models else ()
    table = Table("", *(NAMES[model].lower() for model in models), *compared, box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1 : len(models) + 2]:
        column.justify = "right"
    for row in rows_of(scores):
        if row.told:
            values = [row.models[model].value if model in row.models else "" for model in models]
            gap = row.gaps.get("base")
            table.add_row(row.label, *values, *((f"{gap.value} ({gap.interval})", gap.word) if gap else ()))
    return table


def _side_by_side(sample: Mapping[str, Any], clean: Callable[[str], str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    answers = {NAMES[model].lower(): sample["answers"].get(model) for model in NAMES}
    for key, said in {"prompt": sample["prompt"], "reference": sample["reference"], **answers}.items():
        if said is not None:
            text = harmless(" ".join(clean(said).split()))
            shown = (
                f"… {text[-EXCERPT:]}" if key == "prompt" and len(text) > EXCERPT else textwrap.shorten(text, EXCERPT)
            )
            table.add_row(key, Text(shown, style="bold" if key == "tuned" else ""))
    return table

"""The part of the report that stands on ``scores.json``: verdict, measures, what could fool us, samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from steep.figures import NAMES, percent, rows_of
from steep.report import charts, harness
from steep.report.checks import Finding, Reader, details, findings
from steep.report.files import read_json_lines
from steep.report.leaks import without_leaks
from steep.report.samples import Redactor, choices, regions_of
from steep.scores import Scores
from steep.verdict import DOUBTS, gate_sentence, verdict

BESIDE = {"base": "the base model", "few_shot": "the base model with examples in its prompt"}
SAID_BY = {"base": "Base model", "few_shot": "Base model with examples", "tuned": "Tuned model"}


def proof(run_folder: Path, recipe: Mapping[str, Any], scores: Scores | None) -> dict[str, Any]:
    """What the template needs to know; with the same names, empty, where nothing is measured yet."""
    if scores is None:
        return dict.fromkeys(("verdict", "failed", "warnings", "tiles", "forest", "findings", "choices"), ())
    rows = rows_of(scores)
    redactor, used = Redactor(regions_of(recipe)), scores.statistics
    told, others = [row for row in rows if row.told], [row for row in rows if not row.told]
    return {
        "verdict": verdict(scores) if rows else None,
        "failed": [gate_sentence(gate) for gate in scores.gates if not gate.passed],
        "passed": [gate_sentence(gate) for gate in scores.gates if gate.passed],
        "warnings": [(DOUBTS[warning.kind], redactor(warning.message)) for warning in scores.warnings],
        "tiles": [] if "base" in scores.models else told,
        "forest": charts.differences(scores, told),
        "confidence": percent(used.confidence) if used and used.clusters > 1 else "",
        "told": told,
        "others": others,
        "models": [model for model in NAMES if model in scores.models],
        "names": NAMES,
        "said_by": SAID_BY,
        "described": {NAMES[model]: scores.models[model] for model in NAMES if model in scores.models},
        "beside": {other: name for other, name in BESIDE.items() if any(other in row.gaps for row in told)},
        "details": list(_details(scores, redactor)),
        "findings": list(_findings(scores, redactor)),
        "choices": list(choices(read_json_lines(run_folder / "evaluate" / "samples.jsonl"), redactor)),
        "redacted": redactor,
    }


def _details(scores: Scores, redactor: Redactor) -> Iterator[Finding]:
    for step in dict.fromkeys(step for steps in scores.details.values() for step in steps):
        found = {model: steps[step] for model, steps in scores.details.items() if steps.get(step)}
        reader = Reader(step, redactor)
        if step == harness.STEP:
            yield harness.harness(found, reader)
        else:
            yield from details(found, reader)


def _findings(scores: Scores, redactor: Redactor) -> Iterator[Finding]:
    """The scores without leaked texts stand first in their check."""
    for step, found in findings(scores.checks, redactor):
        yield replace(found, tables=[*without_leaks(scores), *found.tables]) if step == "contamination" else found

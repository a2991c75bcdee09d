"""What lm-evaluation-harness measured, as it measured it: its own figures, without what each question added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steep.report.checks import Finding, Reader

STEP = "lm_eval"


def harness(found: Mapping[str, Mapping[str, Any]], reader: Reader) -> Finding:
    """``found`` is by model."""
    figures: dict[str, dict[str, Any]] = {}
    for model, one in found.items():
        for measure in one["measures"]:
            figures.setdefault(f"{measure['task']}, {measure['metric']}", {})[model] = measure["value"]
    last = list(found.values())[-1]
    cut = {name: {"requests": count} for name, count in last["cut"].items()}
    given = {"Figures": figures, "Tasks": last["tasks"], "Too long, so that their beginning was cut": cut}
    return Finding(
        f"lm-evaluation-harness {last['version']}",
        "Its own prompts, decoding and figures. They are no part of the verdict.",
        tables=[reader.table(caption, rows) for caption, rows in given.items() if rows],
    )

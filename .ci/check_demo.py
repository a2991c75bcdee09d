"""Checks a finished demo: its scores, its report, and that a second demo does no stage again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steep.scores import read_scores

RUN = Path("runs/demo")
STEEP = Path(sys.executable).with_name("steep")
LIMIT = 5.0
"""Seconds for the second demo; it takes less than one."""


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def wrong_scores() -> Iterator[str]:
    scores = read_scores(RUN / "evaluate" / "scores.json")
    for name in ("perplexity", "continuation.bleu", "continuation.rougeL"):
        metric = scores.metrics[name]
        difference = metric.differences["base"]
        base, tuned = metric.models["base"].value, metric.models["tuned"].value
        print(f"{name}: base {base:.4g}, tuned {tuned:.4g}, {metric.documents} texts: {difference.verdict}")  # noqa: T201
        if name == "perplexity" and tuned > base / 2:
            yield f"perplexity fell from {base:.4g} to {tuned:.4g}: less than 50 %"
        if difference.verdict == "worse" or (name != "perplexity" and tuned <= base):
            yield f"{name} did not rise: base {base:.4g}, tuned {tuned:.4g}"
    if scores.verdict["base"] != "better":
        yield f"the demo's model is {scores.verdict['base']} than its base"


def wrong_report() -> Iterator[str]:
    if not (RUN / "report.html").is_file():
        yield f"{RUN / 'report.html'} is missing"


def wrong_second_demo() -> Iterator[str]:
    before = read(RUN / "run.json")["stages"]
    begin = time.perf_counter()
    result = subprocess.run([STEEP, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    seconds = time.perf_counter() - begin
    print(f"second demo: {seconds:.1f} s")  # noqa: T201
    if result.returncode:
        yield f"the second demo ended with exit code {result.returncode}:\n{result.stdout}"
    if read(RUN / "run.json")["stages"] != before:
        yield f"the second demo did a stage again:\n{result.stdout}"
    if seconds > LIMIT:
        yield f"the second demo took {seconds:.1f} s, more than {LIMIT:g}"


if __name__ == "__main__":
    sys.exit("\n".join([*wrong_scores(), *wrong_report(), *wrong_second_demo()]) or None)

"""Prints docs/results.md from finished runs, so that no number in it was typed.

python scripts/results.py runs/demo runs/brand-voice runs/news > docs/results.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from steep.overview import stage_line
from steep.runs import STAGES, Run
from steep.verdict import changes, verdict

HEAD = """# Results

Each table is the base model against the tuned one on text that was held out of training, with the same prompts, greedy
decoding and seed. BLEU runs from 0 to 100, ROUGE from 0 to 1. No significance test has been run yet.
`python scripts/results.py runs/demo runs/brand-voice runs/news > docs/results.md` makes this page; seconds are those of
one run on two CPU cores that did other work at the same time. Below are the figures of [gathering and
cleaning](#gathering-and-cleaning).

`tiny` has 8 M parameters. It shows that the way from a website to a report works, and how far a voice can be learned in
minutes; what it writes is not fit for use.
"""
DATA = Path(__file__).parents[1] / "benchmarks/results/data.md"
"""What the benchmarks of gathering and cleaning printed."""
COMMANDS = {"demo": "steep demo"}


def section(run: Run) -> Iterator[str]:
    record = run.read()
    command = COMMANDS.get(record["name"], f"STEEP_DATA=... steep run recipes/{record['name']}.yaml")
    yield f"\n## {record['name']}\n\n```sh\n{command}\n```\n"
    yield "| stage | seconds | |\n|---|--:|---|"
    for name in STAGES:
        said = "; ".join(map(str.strip, stage_line(run, name).splitlines()))
        yield f"| {name} | {record['stages'][name]['seconds']:.0f} | {said} |"
    measured = changes(json.loads((run.need("evaluate") / "scores.json").read_text("utf-8")))
    yield "\n| | base | tuned | change | texts |\n|---|--:|--:|--:|--:|"
    for change in measured:
        yield f"| {change.metric.label} | {change.before} | {change.after} | {change.difference} | {change.n} |"
    yield f"\n{verdict(measured).headline}"


if __name__ == "__main__":
    lines = [
        HEAD,
        *(line for folder in sys.argv[1:] for line in section(Run(Path(folder)))),
        "",
        DATA.read_text("utf-8").rstrip(),
    ]
    sys.stdout.write("\n".join(lines) + "\n")

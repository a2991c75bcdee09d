"""Prints docs/results.md from finished runs, so that no number in it was typed.

python scripts/results.py runs/demo runs/summaries runs/papers runs/topics runs/brand-voice runs/news > docs/results.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from steep.figures import NAMES, Figure, rows_of
from steep.overview import stage_line
from steep.runs import STAGES, Run
from steep.scores import Scores, read_scores
from steep.verdict import DOUBTS, gate_sentence, verdict

HEAD = """# Results

Each run measures the base model, the base model with training examples in its prompt (few-shot) and the tuned one on
text that was held out of training, with the same prompts, greedy decoding and seed. BLEU and chrF run from 0 to 100,
ROUGE, F1 and accuracy from 0 to 1; of perplexity less is better.

In brackets are 95 % intervals from a bootstrap over the held-out documents. Differences are paired: a resample draws
the same documents for both models, and near-duplicate documents are drawn together. p-values are two-sided and adjusted
by Holm's method over the measures of the verdict; `better` and `worse` have one below 0.05, all others are `not
proven`, which does not mean equal. The effect size is the difference over the standard deviation of the documents'
differences (Cohen's d for paired samples); wins are the share of documents on which the tuned model is better, a tie
counting half.
All of it says how far the choice of documents matters, not what another seed of the training would have given.

`python scripts/results.py runs/demo runs/summaries runs/papers runs/topics runs/brand-voice runs/news >
docs/results.md` makes this page; seconds are those of one run on two CPU cores that did other work at the same time,
but for training where the table names a GPU. Below are the figures of [evaluation](#evaluation) itself, of
[gathering and cleaning](#gathering-and-cleaning) and of [training](#training).

`tiny` has 8 M parameters. It shows that the way from a website to a report works, and how far a voice can be learned in
minutes; what it writes is not fit for use.
"""
BENCHMARKS = Path(__file__).parents[1] / "benchmarks/results"
"""What the benchmarks printed."""
COMMANDS = {"demo": "steep demo"}


def section(run: Run) -> Iterator[str]:
    record = run.read()
    words = ["STEEP_DATA=... steep run", f"recipes/{record['name']}.yaml", *record["overrides"]]
    command = COMMANDS.get(record["name"], " ".join(words))
    yield f"\n## {record['name']}\n\n```sh\n{command}\n```\n"
    yield "| stage | seconds | |\n|---|--:|---|"
    for name in STAGES:
        said = "; ".join(map(str.strip, stage_line(run, name).splitlines()))
        yield f"| {name} | {record['stages'][name]['seconds']:.0f} | {said} |"
    yield from proof(read_scores(run.need("evaluate") / "scores.json"))


def proof(scores: Scores) -> Iterator[str]:
    """The measures, how the tuned model differs from each other one, the verdict and what makes it doubtful."""
    rows = rows_of(scores)
    models = [model for model in NAMES if model in scores.models]
    yield table("", [*(NAMES[model].lower() for model in models), "documents"])
    for row in rows:
        values = (figure(row.models[model]) if model in row.models else "" for model in models)
        yield f"| {row.label} | {' | '.join(values)} | {row.documents:,} |"
    for other in ("base", "few_shot"):
        told = [(row, row.gaps[other]) for row in rows if row.told and other in row.gaps]
        if told:
            yield table(f"tuned minus {NAMES[other].lower()}", ["difference", "p", "effect size", "wins", "verdict"])
        for row, gap in told:
            difference = f"{gap.value} ({gap.interval})"
            yield f"| {row.label} | {difference} | {gap.p} | {gap.effect} | {gap.wins} | {gap.word} |"
    said = verdict(scores)
    yield f"\n**{said.headline}** {' '.join(said.sentences)}\n\n{said.method}"
    notes = [f"- {gate_sentence(gate)}" for gate in scores.gates]
    notes += [f"- {DOUBTS[warning.kind]}: {warning.message}" for warning in scores.warnings]
    if notes:
        yield "\n" + "\n".join(notes)


def table(head: str, columns: Sequence[str]) -> str:
    return f"\n| {head} | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}"


def figure(shown: Figure) -> str:
    return f"{shown.value} ({shown.interval})" if shown.interval else shown.value


if __name__ == "__main__":
    lines = [
        HEAD,
        *(line for folder in sys.argv[1:] for line in section(Run(Path(folder)))),
        "",
        *(
            f"{(BENCHMARKS / name).read_text('utf-8').rstrip()}\n"
            for name in ("evaluation.md", "data.md", "training.md")
        ),
    ]
    sys.stdout.write("\n".join(lines) + "\n")

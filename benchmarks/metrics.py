"""ROUGE of steep beside google's rouge-score and PyPI's rouge-metric: seconds on the same pairs, and the same values.

    pip install rouge-score rouge-metric
    STEEP_DATA=/path/to/data python benchmarks/metrics.py --json benchmarks/results/metrics.json

A pair is two sentences of an abstract and the same with three in ten words exchanged. The two take turns, and each goes
first in every other round; a ratio is that of one round. Seconds are of one core's CPU, so that other programs count
little. Each is given strings, but rouge-metric words, as it has another rule for them: it is spared that work.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rouge_metric import PyRouge
from rouge_score.rouge_scorer import RougeScorer

from steep.evaluate.overlap import rouge_scores, words

EXCHANGED = 0.3
Values = np.ndarray[Any, np.dtype[np.float64]]
"""F of each text, by measure: [measures, texts]."""
Score = Callable[[list[str], list[str]], Values]


def steep(*measures: str) -> Score:
    def score(texts: list[str], references: list[str]) -> Values:
        found = rouge_scores(texts, [[reference] for reference in references], measures, skip=4)
        return np.array([found[measure][:, 2] for measure in measures])

    return score


def google(texts: list[str], references: list[str]) -> Values:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = [scorer.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    return np.array([[one[name].fmeasure for one in found] for name in ("rouge1", "rouge2", "rougeL")])


def rouge_metric(texts: list[list[str]], references: list[list[str]]) -> Values:
    """Its numbers for all pairs are means, so each pair is given alone."""
    scorer = PyRouge(rouge_n=False, rouge_l=False, rouge_s=True, skip_gap=4)
    pairs = zip(texts, references, strict=True)
    found = [scorer.evaluate_tokenized([[text]], [[[reference]]]) for text, reference in pairs]
    return np.array([[one["rouge-s4"]["f"] for one in found]])


def main() -> None:
    options = arguments()
    texts, references = map(list, zip(*islice(pairs(Path(os.environ["STEEP_DATA"])), options.pairs), strict=True))
    cut = [[words(one) for one in side] for side in (texts, references)]
    first, second = (texts, references), tuple(cut)
    tables = [
        compared(
            "ROUGE-1, -2, -L", "rouge-score", (steep("rouge1", "rouge2", "rougeL"), first), (google, first), options
        ),
        compared("ROUGE-S4", "rouge-metric", (steep("rougeS"), first), (rouge_metric, second), options),
    ]
    size = sum(map(len, cut[1])) / len(texts)
    print(f"{len(texts):,} pairs of {size:.0f} words, {options.rounds} rounds, CPU seconds: median (least to most)")
    for table in tables:
        print(line(table))
    if options.json:
        kept = {"machine": machine(), "pairs": len(texts), "words_of_a_text": round(size, 1), "tables": tables}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Write the results to this file")
    return parser.parse_args()


def pairs(data: Path) -> Iterator[tuple[str, str]]:
    rng = random.Random(1)
    with gzip.open(data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        sentences = [json.loads(one)["abstract"].split(". ") for one in lines]
    for start in (0, 2, 4):
        for abstract in sentences:
            reference = " ".join(". ".join(abstract[start : start + 2]).split())
            if reference.isascii() and len(reference) > 40:  # rouge-score has no other words
                found = reference.split()
                yield " ".join(rng.choice(found) if rng.random() < EXCHANGED else one for one in found), reference


def compared(measures: str, other: str, ours: Any, theirs: Any, options: argparse.Namespace) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"steep": [], other: []}
    values = {}
    for turn in range(options.rounds):
        for name, (score, given) in ((("steep", ours), (other, theirs)))[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            values[name] = score(*given)
            seconds[name].append(round(time.process_time() - start, 3))
    ratios = [round(b / a, 1) for a, b in zip(seconds["steep"], seconds[other], strict=True)]
    largest = float(np.abs(values["steep"] - values[other]).max())
    return {"measures": measures, "seconds": seconds, "ratios": ratios, "largest_difference": largest}


def line(table: dict[str, Any]) -> str:
    said = ", ".join(f"{name} {spread(found)} s" for name, found in table["seconds"].items())
    return (
        f"{table['measures']}: {said}, ratio {spread(table['ratios'])}, F differs by {table['largest_difference']:.0e}"
    )


def spread(found: list[float]) -> str:
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def machine() -> dict[str, Any]:
    packages = ("steep", "rouge-score", "rouge-metric", "rapidfuzz", "numpy")
    system = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return system | {name: version(name) for name in packages}


if __name__ == "__main__":
    main()

"""The speed of each step of cleaning that looks at one document at a time, in MB a second of one core; and with
--quality what the step `quality` drops of the same texts once `markup` and `whitespace` have cleaned them.

STEEP_DATA=... python benchmarks/steps.py [--json] [--quality] [STEP ...]
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from steep.clean import ROW_STEPS
from steep.clean.rows import Batch, RowStep
from steep.recipe.clean import CleanStep

ROUNDS = 3
BATCH = 1_000
OPTIONS: dict[str, dict[str, object]] = {
    "licences": {"keep": ["cc0", "unknown"]},
    "replace": {"pattern": r"\bkettles?\b", "by": "pot"},
    "function": {"call": "benchmarked:same"},
    "decontaminate": {"against": ["summaries/scitldr/*.jsonl.gz"]},
}
"""Of steps that have none by default."""
FUNCTION = "def same(document):\n    return document['text']\n"


def corpora(data: Path) -> dict[str, list[str]]:
    return {
        "abstracts": column(data / "arxiv/arxiv.jsonl.gz", "abstract"),
        "news": column(data / "news/digitalgov.jsonl.gz", "content"),
        "posts": column(data / "brand/18f.jsonl.gz", "text"),
        "modern": lzma.open(data / "pretrain/modern.txt.xz", "rt", encoding="utf-8").read().split("\n\n\n"),
        "books": pieces(lzma.open(data / "pretrain/books_valid.txt.xz", "rt", encoding="utf-8").read(), 300_000),
    }


def column(path: Path, name: str) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)[name] or "" for line in lines]


def pieces(text: str, size: int) -> list[str]:
    """Cut at the paragraph that follows so many characters."""
    return re.findall(rf"(?s).{{1,{size}}}.*?(?:\n\n|\Z)", text)


def batches(texts: Sequence[str]) -> Iterator[Batch]:
    for first in range(0, len(texts), BATCH):
        part = list(texts[first : first + BATCH])
        nothing = [None] * len(part)
        yield Batch(
            part, list(nothing), list(nothing), {"id": [str(row) for row in range(len(part))], "licence": nothing}
        )


def made(name: str, data: Path, beside: Path) -> RowStep:
    _, options = CleanStep.model_validate({name: OPTIONS.get(name, {})}).chosen
    return ROW_STEPS[name](options, beside if name == "function" else data)


def seconds(step: RowStep, texts: Sequence[str]) -> float:
    times = []
    for _ in range(ROUNDS):
        work = list(batches(texts))
        begin = time.process_time()
        for batch in work:
            step(batch)
        times.append(time.process_time() - begin)
    return min(times)


def speeds(names: Sequence[str], texts: dict[str, list[str]], data: Path) -> dict[str, dict[str, float]]:
    """Of each corpus the MB a second of each step, and of all of them one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "benchmarked.py").write_text(FUNCTION, "utf-8")
        steps = {name: made(name, data, Path(folder)) for name in names}
    found: dict[str, dict[str, float]] = {}
    for corpus, documents in texts.items():
        size = sum(len(text.encode()) for text in documents) / 1e6
        taken = {name: seconds(step, documents) for name, step in steps.items()}
        found[corpus] = {name: size / spent for name, spent in {**taken, "together": sum(taken.values())}.items()}
    return found


def quality(texts: dict[str, list[str]], data: Path) -> dict[str, dict[str, float]]:
    """Of each corpus the share of the documents that each rule drops."""
    steps = [made(name, data, data) for name in ("markup", "whitespace", "quality")]
    found: dict[str, dict[str, float]] = {}
    for corpus, documents in texts.items():
        causes: Counter[str] = Counter()
        for batch in batches(documents):
            for step in steps:
                step(batch)
            causes.update(drop.cause for drop in batch.drops if drop)
        shares = {cause: count / len(documents) for cause, count in causes.most_common()}
        found[corpus] = {"documents": len(documents), "dropped": sum(shares.values()), **shares}
    return found


def table(found: dict[str, dict[str, float]], form: str) -> str:
    rows = dict.fromkeys(row for column in found.values() for row in column)
    lines = [f"{'':32}" + "".join(f"{corpus:>12}" for corpus in found)]
    for row in rows:
        cells = (f"{column[row]:{form}}" if row in column else "" for column in found.values())
        lines.append(f"{row:32}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(ROW_STEPS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quality", action="store_true")
    asked = parser.parse_args()
    data = Path(os.environ["STEEP_DATA"])
    texts = corpora(data)
    found = quality(texts, data) if asked.quality else speeds(asked.steps or list(ROW_STEPS), texts, data)
    form = ".4g" if asked.quality else ".1f"
    sys.stdout.write((json.dumps(found, indent=1) if asked.json else table(found, form)) + "\n")


if __name__ == "__main__":
    main()

"""How fast leaks and memorised runs are found in real abstracts and books, and how much a leak may be changed.

    STEEP_DATA=... python benchmarks/checks.py

Seconds are CPU seconds of one process, so that other work on the machine does not count.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steep.evaluate.contamination import leaks
from steep.evaluate.memorization import longest_runs, memorization
from steep.models import TINY, load_tokenizer
from steep.tokens import text_ids

DATA = Path(os.environ["STEEP_DATA"])
HELD_OUT = 1000
ANSWERS, LENGTH, PROMPT = 2000, 128, 64
TRAINING_TOKENS = 10_000_000


def stored(name: str) -> list[str]:
    with lzma.open(DATA / f"pretrain/{name}.txt.xz", "rt", encoding="utf-8") as stream:
        return stream.read().split("\n\n\n")


def abstracts() -> list[str]:
    with gzip.open(DATA / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["abstract"] for line in lines]


def timed(label: str, work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    found = work()
    seconds = time.process_time() - start
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{label}: {seconds:.1f} s, {peak / 2**20:.0f} MiB of Python and numpy", flush=True)
    return found, seconds


def find(held_out: list[str], training: list[str], ngram: int = 8, threshold: float = 0.5) -> list[float]:
    documents = ((str(number), text) for number, text in enumerate(training))
    return [leak.share for leak in leaks(held_out, documents, ngram=ngram, threshold=threshold)]


def replaced(text: str, share: float, vocabulary: list[str], draw: random.Random) -> str:
    return " ".join(draw.choice(vocabulary) if draw.random() < share else word for word in text.split())


def jaccard(one: str, other: str) -> float:
    """Of word 5-grams, as `steep.duplicates` has it."""
    left, right = (
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)} for words in (one.split(), other.split())
    )
    return len(left & right) / len(left | right)


def contamination() -> None:
    texts, books = abstracts(), stored("books")
    held_out, rest = texts[:HELD_OUT], texts[HELD_OUT:]
    size = sum(map(len, books)) / 1e6
    _, seconds = timed(f"leaks of {HELD_OUT} abstracts in {size:.0f} MB of books", lambda: find(held_out, books))
    print(f"{size / seconds:.0f} MB a second")
    nearest = max(find(held_out, rest, threshold=1e-9))
    print(f"largest share of an abstract in {len(rest)} others: {nearest:.2f}")
    vocabulary, draw = sorted({word for text in texts for word in text.split()}), random.Random(0)
    print("words replaced: found by 5-, 8- and 13-grams with a threshold of 0.5; by 8-grams and 0.2")
    for share in (0.02, 0.05, 0.07, 0.1, 0.15, 0.2):
        copies = [replaced(text, share, vocabulary, draw) for text in held_out]
        found = [find(held_out, copies, *options) for options in ((5, 0.5), (8, 0.5), (13, 0.5), (8, 0.2))]
        print(f"{share:.0%}: " + ", ".join(f"{len(one) / HELD_OUT:.0%}" for one in found))
    near_duplicates(held_out, [replaced(text, draw.uniform(0, 0.15), vocabulary, draw) for text in held_out])


def near_duplicates(held_out: list[str], copies: list[str]) -> None:
    alike = [pair for pair in zip(held_out, copies, strict=True) if jaccard(*pair) >= 0.5]
    ours, theirs = ([pair[side] for pair in alike] for side in (0, 1))
    found = [f"{len(find(ours, theirs, 8, threshold)) / len(alike):.1%} with {threshold}" for threshold in (0.5, 0.2)]
    print(f"of {len(alike)} copies with a Jaccard similarity of at least 0.5, 8-grams find {' and '.join(found)}")


def memorisation() -> None:
    tokenizer = load_tokenizer(str(TINY))
    training: list[list[int]] = []
    size = 0
    for ids in text_ids([*stored("abstracts"), *stored("books")[:4000]], tokenizer):
        if size < TRAINING_TOKENS:
            training.append(ids)
            size += len(ids)
    new = text_ids(abstracts()[:ANSWERS], tokenizer)
    known = [ids for ids in training if len(ids) >= PROMPT + LENGTH][:ANSWERS]
    for label, texts in (("unseen text", new), ("training text itself", known)):
        answers, prompts = [ids[PROMPT : PROMPT + LENGTH] for ids in texts], [ids[:PROMPT] for ids in texts]
        work = f"runs of {len(answers)} answers of {LENGTH} tokens in {size / 1e6:.1f} M tokens, {label}"
        runs, _ = timed(work, lambda said=answers, asked=prompts: longest_runs(said, training, prompts=asked))
        found = memorization(runs, answers, 50)
        print(f"  share {found.share:.3f}, longest {found.longest}, median {found.median:g}")


if __name__ == "__main__":
    contamination()
    memorisation()

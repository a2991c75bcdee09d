"""Does the sign of familiarity tell text that the shipped model was trained on from text that it was not?

    STEEP_DATA=... python benchmarks/familiarity.py

Abstracts, guides and books of its training against other abstracts, the same site's news, another blog and other books.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
from pathlib import Path

import torch

from steep.evaluate.familiarity import familiarity, matched, score_tokens
from steep.evaluate.general import general_texts
from steep.models import TINY, load_model, load_tokenizer

DATA = Path(os.environ["STEEP_DATA"])
TEXTS = 100
LENGTH = 900
"""Characters of each text, before it is matched with a passage."""


def stored(name: str) -> list[str]:
    with lzma.open(DATA / f"pretrain/{name}.txt.xz", "rt", encoding="utf-8") as stream:
        return stream.read().split("\n\n\n")


def column(name: str, key: str) -> list[str]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)[key] or "" for line in lines]


SETS = {
    "read: abstracts": lambda: [text.partition("\n\n")[2] for text in stored("abstracts")],
    "read: guides": lambda: stored("modern"),
    "read: books": lambda: stored("books"),
    "new: abstracts": lambda: column("arxiv/arxiv", "abstract"),
    "new: news": lambda: column("news/digitalgov", "content"),
    "new: blog": lambda: column("brand/18f", "text"),
    "new: books": lambda: stored("books_valid"),
}


def some(texts: list[str], draw: random.Random, *, anywhere: bool) -> list[str]:
    """Beginnings of some texts; of books, which begin with a title page, stretches from anywhere."""
    chosen = draw.sample(long := [text for text in texts if len(text) >= LENGTH], min(TEXTS, len(long)))
    starts = [draw.randrange(len(text) - LENGTH + 1) if anywhere else 0 for text in chosen]
    return [text[start : start + LENGTH] for text, start in zip(chosen, starts, strict=True)]


def main() -> None:
    model, tokenizer = load_model(str(TINY), dtype=torch.float32), load_tokenizer(str(TINY))
    draw = random.Random(0)
    for name, texts in SETS.items():
        pairs = matched(some(texts(), draw, anywhere=name.endswith("books")), general_texts())
        own, general = ([pair[side] for pair in pairs] for side in (0, 1))
        found = familiarity(
            score_tokens(model, tokenizer, own, 1024),
            score_tokens(model, tokenizer, general, 1024),
            [pair[2] for pair in pairs],
        )
        print(
            f"{name:16} n {found.texts:3}  bits per byte {found.bits_per_byte:.2f}, of general text "
            f"{found.general_bits_per_byte:.2f}  gap {found.gap:5.2f} ({found.low:5.2f} to {found.high:5.2f}) nats"
            f"{'  told' if found.known else ''}",
            flush=True,
        )


if __name__ == "__main__":
    main()

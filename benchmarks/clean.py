"""MB/s of the whole clean on one and more cores, beside datatrove's nearest pipeline, and the curve over sizes.

    STEEP_DATA=/path/to/data python benchmarks/clean.py --megabytes 200 --cores 1 2 --datatrove /path/to/its/python
    STEEP_DATA=/path/to/data python benchmarks/clean.py --megabytes 20 200 2000 --cores 2

The text: sentences of abstracts and paragraphs of news, recombined so that documents differ; 2 % copies with a word
changed, 1 % exact copies, e-mail addresses and telephone numbers in 5 %, and a menu on 37 % of the pages. Every run is
a process of its own, confined to its cores; its memory is that of the process and its children (proportional set size).
datatrove needs an environment of its own: `pip install "datatrove[io,processing]" spacy`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from steep.records import Document, document_schema, write_rows

STEPS = (
    "whitespace",
    "markup",
    "boilerplate",
    "redact",
    "quality",
    "language",
    "deduplicate",
)
STEEP = """
import sys
from pathlib import Path
from steep.clean import clean_files
from steep.recipe.clean import CleanStep
steps = [CleanStep.model_validate(name) for name in sys.argv[3:]]
print(clean_files([Path(sys.argv[1])], steps, folder=Path(), work=Path(sys.argv[2])).facts["documents"])
"""


def main() -> None:
    options = arguments()
    data = Path(os.environ["STEEP_DATA"])
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="steep-bench-", dir=options.folder) as scratch:
        for megabytes in options.megabytes:
            corpus = Path(scratch) / f"{megabytes}.parquet"
            write_rows(corpus, documents(data, megabytes * 1_000_000), document_schema())
            for _ in range(options.rounds):
                for cores in options.cores:
                    for name, command in programs(corpus, Path(scratch) / "work", cores, options).items():
                        result = measured(command, Path(scratch) / "work", cores)
                        row = {"engine": name, "megabytes": megabytes, "cores": cores, **result}
                        row["megabytes_per_second"] = round(megabytes / result["seconds"], 2)
                        results.append(row)
                        say(row)
            corpus.unlink()
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[200])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--datatrove", help="Python of an environment that has datatrove")
    parser.add_argument("--folder", help="Where the corpora and the results lie meanwhile")
    parser.add_argument("--json", help="Write the results to this file")
    return parser.parse_args()


def say(row: dict[str, Any]) -> None:
    speed = f"{row['megabytes_per_second']:8.2f} MB/s  peak {row['peak_gib']:.2f} GiB  {row['said']} documents stay"
    print(
        f"{row['engine']:<10} {row['megabytes']:>5} MB  {row['cores']} cores {row['seconds']:9.1f} s {speed}",
        flush=True,
    )


def programs(corpus: Path, work: Path, cores: int, options: argparse.Namespace) -> dict[str, list[str]]:
    found = {"steep": [sys.executable, "-c", STEEP, str(corpus), str(work), *options.steps]}
    if options.datatrove:
        script = Path(__file__).with_name("clean_datatrove.py")
        found["datatrove"] = [options.datatrove, str(script), str(corpus), str(work), str(cores)]
    return found


def measured(command: list[str], work: Path, cores: int) -> dict[str, Any]:
    """Seconds, peak memory in GiB and the last line that the program prints."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    begin = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores]),
    )
    peak = Peak(child.pid)
    out, err = child.communicate()
    seconds = time.perf_counter() - begin
    if child.returncode:
        raise SystemExit(f"{command[0]} failed:\n{err[-3000:]}")
    said = out.strip().splitlines()[-1]
    return {"seconds": round(seconds, 2), "peak_gib": round(peak.bytes / 2**30, 3), "said": said}


class Peak:
    """The most memory that a process and its children have held together, looked at five times a second."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._process = psutil.Process(pid)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.bytes = max(self.bytes, sum(_memory(member) for member in family))
            except psutil.Error:
                return
            time.sleep(0.2)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def documents(data: Path, size: int) -> Iterator[dict[str, Any]]:
    """Documents of about this many characters in all."""
    sentences, paragraphs = _sentences(data), _paragraphs(data)
    rng = random.Random(1)
    recent: list[str] = []
    done = number = 0
    while done < size:
        number += 1
        text = _text(rng, sentences, paragraphs, recent)
        if rng.random() < 0.05:
            text += f" Contact jane.doe{number}@example.org or call (202) 555-01{number % 100:02}."
        recent = [*recent[-999:], text]
        done += len(text)
        yield Document(
            text, title=f"Title {number}", source="site", url=f"https://site{number % 50}.example/{number}"
        ).row()


def _text(rng: random.Random, sentences: list[str], paragraphs: list[str], recent: list[str]) -> str:
    kind = rng.random()
    if recent and kind < 0.01:
        return rng.choice(recent)
    if recent and kind < 0.03:
        words = rng.choice(recent).split(" ")
        words[rng.randrange(len(words))] = "changed"
        return " ".join(words)
    if kind < 0.4:
        parts = (
            rng.choice(paragraphs) if rng.random() < 0.5 else " ".join(rng.sample(sentences, 4))
            for _ in range(rng.randint(2, 6))
        )
        return "Home | Topics | Contact us\n\n" + "\n\n".join(parts) + "\n\nSubscribe to our newsletter"
    return " ".join(rng.sample(sentences, rng.randint(4, 12)))


def _sentences(data: Path) -> list[str]:
    with gzip.open(data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["abstract"] for line in lines]
    with lzma.open(data / "pretrain/abstracts.txt.xz", "rt", encoding="utf-8") as lines:
        texts += [line.strip() for line in lines if len(line) > 200]
    return [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text)]


def _paragraphs(data: Path) -> list[str]:
    with gzip.open(data / "news/digitalgov.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["content"] or "" for line in lines]
    return [paragraph for text in texts for paragraph in text.split("\n\n") if len(paragraph) > 80]


if __name__ == "__main__":
    main()

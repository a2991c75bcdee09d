"""Near duplicates against all pairs compared, for thresholds from 0.5 to 0.9; and MB/s and memory over sizes.

    STEEP_DATA=/path/to/data python benchmarks/duplicates.py --megabytes 200 2000 --folder /path/with/10/GB

All pairs: 10,000 abstracts and 3,000 variants of them with 1 to 30 % of their words changed, scattered or in one run; a
pair's Jaccard similarity is computed from the sets of its word 5-grams, by an index of who holds which.

Sizes: sentences of abstracts, recombined so that documents of 1.3 kB (or 100 kB) differ, and 2 % variants of earlier
ones. Each run is a process of its own, confined to its cores; its memory is that of the process and its children.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import lzma
import os
import random
import re
import resource
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clean import measured
from daft import col
from daft.functions import normalize

from steep.duplicates import copies, near_duplicate_groups
from steep.duplicates.components import connected_components

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
VARIANTS = 3000
RUN = """
import sys
from pathlib import Path
import daft
from steep import duplicates
documents = daft.read_parquet(sys.argv[1] + "/*.parquet")
print(getattr(duplicates, sys.argv[2])(documents, float(sys.argv[3]), Path(sys.argv[4])).count_rows())
"""

Pairs = dict[tuple[int, int], float]


def main() -> None:
    options = arguments()
    abstracts = list(_abstracts(Path(os.environ["STEEP_DATA"])))
    found: dict[str, Any] = {"pairs": [], "sizes": []}
    if options.abstracts:
        texts = with_variants(abstracts[: options.abstracts], VARIANTS)
        pairs = exact_pairs(texts)
        say({"documents": len(texts), "pairs": len(pairs), "at_least": min(THRESHOLDS)})
        for threshold in THRESHOLDS:
            found["pairs"].append(compared(texts, pairs, threshold))
            say(found["pairs"][-1])
    for megabytes, size in itertools.product(options.megabytes, options.bytes):
        found["sizes"].append(timed(abstracts, megabytes, size, options))
        say(found["sizes"][-1])
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--abstracts", type=int, default=10_000, help="0 leaves the comparison with all pairs out")
    parser.add_argument("--megabytes", type=int, nargs="*", default=[200])
    parser.add_argument("--bytes", type=int, nargs="+", default=[1300], help="Length of a document")
    parser.add_argument("--call", choices=["copies", "near_duplicate_groups"], default="copies")
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", help="Where the corpora and the sketches lie meanwhile")
    parser.add_argument("--json", help="Write the results to this file")
    return parser.parse_args()


def say(figures: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


def exact_pairs(texts: Sequence[str]) -> Pairs:
    """All pairs (later, earlier) whose similarity reaches the lowest threshold."""
    form = normalize(col("text"), remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True)
    words = [text.split() for text in daft.from_pydict({"text": list(texts)}).select(form).to_pydict()["text"]]
    sets = [{tuple(text[n : n + 5]) for n in range(max(1, len(text) - 4))} for text in words]
    sizes = np.array([len(found) for found in sets])
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    pairs: Pairs = {}
    for row, found in enumerate(sets):
        shared = np.bincount([other for shingle in found for other in holders[shingle]], minlength=len(sets))
        similarity = shared / (sizes + len(found) - shared)
        for other in np.flatnonzero(similarity >= min(THRESHOLDS)).tolist():
            pairs[row, other] = float(similarity[other])
        for shingle in found:
            holders[shingle].append(row)
    return pairs


def compared(texts: Sequence[str], pairs: Pairs, threshold: float) -> dict[str, Any]:
    """What near_duplicate_groups and copies miss, and what they join or drop that all pairs do not."""
    documents = daft.from_pydict({"id": [str(row) for row in range(len(texts))], "text": list(texts)})
    groups = [int(name) for name in near_duplicate_groups(documents, threshold).to_pydict()["group"]]
    above = [pair for pair, similarity in pairs.items() if similarity >= threshold]
    truth = _components(above, len(texts))
    joined = sum(groups[one] == groups[other] for one, other in above)
    dropped = copies(documents, threshold).to_pylist()
    gone = {copy["row"] for copy in dropped}
    return {
        "threshold": threshold,
        "pairs": len(above),
        "joined": joined,
        "recall": round(joined / len(above), 4),
        "wrongly_joined": sum(truth[row] != truth[first] for row, first in enumerate(groups)),
        "copies": len(dropped),
        "wrongly_dropped": sum(not _holds(copy, pairs, threshold) for copy in dropped),
        "left": sum(one not in gone and other not in gone for one, other in above),
    }


def _components(pairs: Sequence[tuple[int, int]], rows: int) -> list[int]:
    later, earlier = zip(*pairs, strict=True)
    found = connected_components(daft.from_pydict({"row": list(later), "first": list(earlier)})).to_pydict()
    firsts = dict(zip(found["row"], found["first"], strict=True))
    return [firsts.get(row, row) for row in range(rows)]


def _holds(copy: dict[str, Any], pairs: Pairs, threshold: float) -> bool:
    """Whether a copy is as similar as it says to what stays; equal texts are so by 1."""
    similarity = pairs.get((copy["row"], int(copy["of"])), 0.0)
    said = 1.0 if copy["similarity"] is None else copy["similarity"]
    return similarity >= threshold and abs(similarity - said) < 1e-9


def with_variants(abstracts: Sequence[str], number: int) -> list[str]:
    rng = random.Random(1)
    texts = [*abstracts, *(_variant(rng.choice(abstracts), rng) for _ in range(number))]
    rng.shuffle(texts)
    return texts


def _variant(text: str, rng: random.Random) -> str:
    words = text.split()
    number = max(1, round(rng.uniform(0.01, 0.3) * len(words)))
    start = rng.randrange(len(words) - number + 1)
    places = rng.sample(range(len(words)), number) if rng.random() < 0.5 else range(start, start + number)
    for place in places:
        words[place] = f"changed{rng.randrange(1000)}"
    return " ".join(words)


def timed(abstracts: Sequence[str], megabytes: int, size: int, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="steep-bench-", dir=options.folder) as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, part in enumerate(_parts(abstracts, megabytes * 1_000_000, size)):
            pq.write_table(part, corpus / f"{number:05}.parquet", compression="zstd")
        work = Path(folder) / "work"
        command = [sys.executable, "-c", RUN, str(corpus), options.call, str(options.threshold), str(work)]
        before = _cpu_seconds()
        result = measured(command, work, options.cores)
        spent = _cpu_seconds() - before
    speed = round(megabytes / result["seconds"], 1)
    found = "copies" if options.call == "copies" else "documents"
    return {
        "call": options.call,
        "threshold": options.threshold,
        "megabytes": megabytes,
        "bytes": size,
        "cores": options.cores,
        "seconds": result["seconds"],
        "cpu_seconds": round(spent, 1),
        "megabytes_per_second": speed,
        "peak_gib": result["peak_gib"],
        found: int(result["said"]),
    }


def _cpu_seconds() -> float:
    """Of finished children: what the cores did, however many others wanted them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parts(abstracts: Sequence[str], total: int, size: int) -> Iterator[pa.Table]:
    """Tables of 16 MB of text, as clean leaves them."""
    rng = random.Random(2)
    sentences = [sentence for text in abstracts for sentence in re.split(r"(?<=[.!?]) ", text) if len(sentence) > 40]
    recent: list[str] = []
    row = done = 0
    while done < total:
        texts: list[str] = []
        while done < total and len(texts) * size < 16_000_000:
            text = (
                _variant(rng.choice(recent), rng)
                if recent and rng.random() < 0.02
                else _recombined(sentences, size, rng)
            )
            recent = [*recent[-199:], text]
            texts.append(text)
            done += len(text)
        rows = range(row, row + len(texts))
        yield pa.table({"row": pa.array(rows, pa.int64()), "id": [f"{number:016x}" for number in rows], "text": texts})
        row = rows.stop


def _recombined(sentences: Sequence[str], size: int, rng: random.Random) -> str:
    chosen: list[str] = []
    length = 0
    while length < size:
        chosen.append(rng.choice(sentences))
        length += len(chosen[-1]) + 1
    return " ".join(chosen)


def _abstracts(data: Path) -> Iterator[str]:
    with gzip.open(data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield " ".join(json.loads(line)["abstract"].split())
    with lzma.open(data / "pretrain/abstracts.txt.xz", "rt", encoding="utf-8") as file:
        for entry in file.read().split("\n\n\n"):
            _, _, abstract = entry.strip().partition("\n\n")
            if abstract:
                yield " ".join(abstract.split())


if __name__ == "__main__":
    main()

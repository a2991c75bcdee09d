"""datatrove's nearest equivalent of steep's whole clean, for `benchmarks/clean.py`; runs in datatrove's environment.

What it has not: boilerplate of a site, HTML and Markdown to text, telephone numbers, keys, bank data. Its language
filter fetches a model from the network and is left out. That leaves less work for it than for steep.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from loguru import logger

TASKS = 2


def main(corpus: Path, work: Path, cores: int) -> None:
    parts = work / "parts"
    parts.mkdir()
    split(corpus, parts)
    config = MinhashConfig()
    buckets = config.num_buckets

    def run(name: str, steps: list[object], tasks: int) -> None:
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=min(cores, tasks), logging_dir=str(work / "logs" / name)
        ).run()

    filters = [FTFYFormatter(), PIIFormatter(), GopherRepetitionFilter(), GopherQualityFilter()]
    run("filter", [ParquetReader(str(parts)), *filters, JsonlWriter(str(work / "filtered"))], TASKS)
    read = JsonlReader(str(work / "filtered"))
    run("signatures", [read, MinhashDedupSignature(str(work / "signatures"), config=config)], TASKS)
    run("buckets", [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)], buckets)
    run("cluster", [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)], 1)
    last = [read, MinhashDedupFilter(str(work / "remove")), JsonlWriter(str(work / "output"))]
    run("remove", last, TASKS)
    print(sum(1 for _ in JsonlReader(str(work / "output"))()))


def split(corpus: Path, parts: Path) -> None:
    """One file for each task: its readers share out files, not rows."""
    import pyarrow.parquet as pq

    table = pq.read_table(corpus, columns=["id", "text"])
    rows = -(-table.num_rows // TASKS)
    for task in range(TASKS):
        pq.write_table(table.slice(task * rows, rows), parts / f"{task}.parquet")


if __name__ == "__main__":
    logger.remove()
    logging.disable(logging.WARNING)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

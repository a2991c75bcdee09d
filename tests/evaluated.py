"""Run folders with a finished evaluation of models that never were, for what reads them: true statistics of made-up
documents, written as the evaluate stage writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steep.evaluate.compare import compare_models
from steep.evaluate.results import Answer, Measured, Results
from steep.recipe import Recipe

DOCUMENTS = 60
SETTINGS = {"perplexity": {"window": 512, "stride": 256}, "continuation": {"split": 0.5, "temperature": 0.0}}


def results(
    skill: float,
    seed: int,
    *,
    documents: int = DOCUMENTS,
    tokens: float = 1.0,
    settings: Mapping[str, Any] | None = None,
    reference: str = "how it ends",
    test_set: str = "9f86d081884c7d65",
    first: int = 0,
) -> Results:
    """One model on the documents ``first`` and following; the more ``skill``, the better; ``tokens`` per word.

    Two that follow each other are near-duplicates. What makes a document hard is the same for every model.
    """
    ids = [f"document-{first + place:03}" for place in range(documents)]
    groups = [f"group-{(first + place) // 2:03}" for place in range(documents)]
    ease = np.random.default_rng(1).normal(0, 1, first + documents)[first:]
    words = np.round(np.random.default_rng(2).lognormal(4, 0.7, first + documents))[first:] + 8
    noise = np.random.default_rng(seed).normal(0, 0.3, (3, documents))
    rouge = 1 / (1 + np.exp(1.2 - 0.6 * ease - 0.6 * skill - noise[0]))
    counted = np.round(words * tokens)
    nats = counted * (3 - 0.2 * ease - 0.2 * skill + 0.2 * noise[1]) / tokens
    bytes_ = words * 6
    rows = {
        "perplexity": np.stack([nats, counted], axis=1),
        "bits_per_byte": np.stack([nats, bytes_], axis=1),
        "continuation.rouge1": np.stack([rouge, np.ones(documents)], axis=1),
        "continuation.rougeL": np.stack([rouge * (0.8 + 0.05 * noise[2]), np.ones(documents)], axis=1),
    }
    answers = [
        Answer("continuation", place, name, "how it begins", f"{reference} ({name})", "what it says", [], True)
        for place, name in enumerate(ids)
    ]
    return Results(
        test_set=test_set,
        documents=ids,
        measured={name: Measured(ids, groups, found) for name, found in rows.items()},
        answers=answers,
        settings=dict(settings or SETTINGS),
    )


def write_evaluation(folder: Path, models: Mapping[Any, Results], name: str = "lora tuned") -> Path:
    """``scores.json``, ``samples.jsonl`` and ``measures.parquet``."""
    folder.mkdir(parents=True)
    found = compare_models(models, {"base": "tiny", "tuned": name})
    (folder / "scores.json").write_text(found.scores.model_dump_json())
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in found.samples))
    pq.write_table(pa.Table.from_pylist(found.measures), folder / "measures.parquet")
    return folder


def write_run(
    folder: Path, skill: float, seed: int, *, recipe: Mapping[str, Any] | None = None, **options: Any
) -> Path:
    """A run whose base has no skill; ``options`` are those of `results`."""
    made = Recipe.model_validate({"name": folder.name, "gather": [{"files": "texts/*.txt"}], **(recipe or {})})
    write_evaluation(folder / "evaluate", {"base": results(0, 1, **options), "tuned": results(skill, seed, **options)})
    finished = {"fingerprint": "1", "seconds": 1.0, "finished": "2026-01-01T00:00:00+00:00"}
    stages = dict.fromkeys(("train", "evaluate"), finished)
    record = {"name": folder.name, "folder": ".", "recipe": made.model_dump(mode="json"), "stages": stages}
    (folder / "run.json").write_text(json.dumps(record))
    write_losses(folder, [4 - 0.3 * skill * step / 40 for step in range(1, 41)])
    return folder


def write_losses(folder: Path, losses: Sequence[float]) -> None:
    (folder / "train").mkdir(exist_ok=True)
    lines = [{"step": step, "tokens": step * 1000, "loss": loss} for step, loss in enumerate(losses, 1)]
    (folder / "train" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

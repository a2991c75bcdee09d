"""A finished evaluation on disk, of a run or of another model on a run's held-out documents, for what comes after it.

``scores.json`` says what came out; ``measures.parquet`` holds the statistics of each document, from which everything
can be computed again: 2,000 documents, 20 measures and 3 models are 120,000 rows, read in about 0.1 s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steep.errors import RunError, UsageError
from steep.metrics import GENERAL, LM_EVAL
from steep.runs import Run
from steep.scores import Model, Scores, read_scores

Key = tuple[str, int]
"""A document, and which of its examples."""
COLUMNS = ("metric", "model", "document_id", "group", "row")


@dataclass(frozen=True, slots=True)
class Measures:
    """One metric of one model. ``rows``: [examples, statistics]; ``groups``: the cluster of each."""

    keys: list[Key]
    groups: list[str]
    rows: NDArray[np.float64]

    def at(self, keys: list[Key]) -> Measures:
        place = {key: number for number, key in enumerate(self.keys)}
        places = [place[key] for key in keys]
        return Measures(keys, [self.groups[number] for number in places], self.rows[places])


@dataclass(frozen=True)
class Evaluation:
    """``run`` is the folder of the run whose held-out documents were read; ``own``: its tuned model read them."""

    name: str
    folder: Path
    run: Path
    own: bool

    @cached_property
    def scores(self) -> Scores:
        return read_scores(self.folder / "scores.json")

    @property
    def subject(self) -> Model:
        """Whom the evaluation is about."""
        return "tuned" if "tuned" in self.scores.models else next(iter(self.scores.models))

    @property
    def recipe(self) -> dict[str, Any]:
        return dict(Run(self.run).read().get("recipe", {}))

    @cached_property
    def _table(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "measures.parquet"
        try:
            return pq.read_table(path, columns=list(COLUMNS))
        except FileNotFoundError:
            raise RunError(f"{path} is missing: run the evaluate stage again") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise RunError(f"{path} is damaged ({error}): run the evaluate stage again") from None

    @property
    def documents(self) -> set[str]:
        """Those that were held out: neither the passages of general text nor the questions of a benchmark."""
        ids, metrics = (self._table[name].to_pylist() for name in ("document_id", "metric"))
        elsewhere = (GENERAL, LM_EVAL)
        return {name for name, metric in zip(ids, metrics, strict=True) if not metric.startswith(elsewhere)}

    def measures(self, metric: str, model: Model) -> Measures | None:
        """None where the model was not measured by it."""
        import pyarrow.compute as pc

        found = self._table.filter(
            pc.and_(pc.equal(self._table["metric"], metric), pc.equal(self._table["model"], model))
        )
        if not len(found):
            return None
        rows = found["row"].combine_chunks()
        values = rows.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        if rows.null_count or len(set(pc.list_value_length(rows).to_pylist())) > 1:
            raise RunError(
                f"{self.folder / 'measures.parquet'}: rows of {metric} differ in length: run the evaluate stage again"
            )
        documents = found["document_id"].to_pylist()
        return Measures(list(_numbered(documents)), found["group"].to_pylist(), values.reshape(len(found), -1))

    def references(self, step: str) -> dict[Key, str]:
        """What the answers of a step were compared with; empty where no samples were kept."""
        path = self.folder / "samples.jsonl"
        if not path.exists():
            return {}
        try:
            with path.open(encoding="utf-8") as lines:
                samples = [sample for sample in map(json.loads, lines) if sample["step"] == step]
            keys = _numbered([sample["document_id"] for sample in samples])
            return {key: sample["reference"] for key, sample in zip(keys, samples, strict=True)}
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}): run the evaluate stage again") from None


def _numbered(documents: list[str]) -> Iterator[Key]:
    seen: Counter[str] = Counter()
    for document in documents:
        yield document, seen[document]
        seen[document] += 1


def open_evaluation(path: Path) -> Evaluation:
    """Of a run's folder, or of a folder that holds ``scores.json`` such as RUN/evaluations/NAME."""
    folder = path.resolve()
    if (folder / "run.json").exists():
        return Evaluation(folder.name, Run(path).need("evaluate"), path, own=True)
    if not folder.is_dir():
        raise UsageError(f"{path}: no such folder")
    run = next((parent for parent in folder.parents[:2] if (parent / "run.json").exists()), None)
    if run and folder == run / "evaluate":
        return open_evaluation(path.parent if path.name == "evaluate" else run)
    if run and (folder / "scores.json").exists():
        return Evaluation(f"{run.name}/{folder.name}", path, run, own=False)
    inside = ", ".join(sorted(str(found.parent) for found in path.glob("*/run.json")))
    raise UsageError(
        f"{path}: no run and no evaluation there; name the folder of a run (runs/NAME) or of the evaluation of another "
        f"model (runs/NAME/evaluations/MODEL){f'. There are runs in it: {inside}' if inside else ''}"
    )

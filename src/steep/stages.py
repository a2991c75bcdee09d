"""What each stage does with its folder: the one module that puts the results of stages into files.

A stage runs as a process of its own (``python -m steep.stages FOLDER STAGE``): its memory is free when it ends, and a
kill for lack of memory ends the stage, not the run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.advice import explain
from steep.base import loaded_commit
from steep.config import recipe_from_stored, secrets_hidden
from steep.errors import INTERRUPTED, SteepError
from steep.recipe import Recipe
from steep.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.evaluate import Results

FAILURES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage at work: ``work`` is renamed to the stage's name when it is done."""

    run: Run
    recipe: Recipe
    folder: Path
    """Where relative paths of the recipe start."""
    work: Path

    def summarise(self, **facts: Any) -> None:
        (self.work / "summary.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), "utf-8")


def gather(stage: Stage) -> None:
    from steep.gather import gather_documents
    from steep.records import Failure, document_schema, failure_schema, write_rows

    failures: list[Failure] = []
    words: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    robots: Counter[str] = Counter()
    crawls: dict[str, Any] = {}
    state = stage.work / "state"

    def rows() -> Iterator[dict[str, Any]]:
        found = gather_documents(
            stage.recipe.gather,
            folder=stage.folder,
            state=state,
            on_failure=failures.append,
            on_crawled=crawls.__setitem__,
            hide=_hide(stage),
            limit=stage.recipe.limit,
        )
        for document in found:
            words[document.source] += len(document.text.split())
            documents[document.source] += 1
            licences[document.licence or "none"] += 1
            robots.update(filter(None, [document.robots]))
            yield document.row()

    write_rows(stage.work / "documents" / "part-0.parquet", rows(), document_schema())
    failed = [failure.row() for failure in failures]
    write_rows(stage.work / "failed.parquet", failed, failure_schema())
    stage.summarise(
        documents=documents.total(),
        words=words.total(),
        sources=dict(documents),
        licences=dict(licences.most_common()),
        robots=dict(robots.most_common()),
        crawls=crawls,
        failed=len(failed),
        reasons=dict(Counter(failure.reason for failure in failures).most_common(FAILURES_SHOWN)),
        failures=failed[:FAILURES_SHOWN],
    )
    shutil.rmtree(state, ignore_errors=True)


def clean(stage: Stage) -> None:
    from steep.clean import clean_files

    gathered = sorted((stage.run.need("gather") / "documents").glob("*.parquet"))
    cleaned = clean_files(gathered, stage.recipe.clean, folder=stage.folder, work=stage.work)
    if not cleaned.facts["documents"]:
        last = next(step for step in cleaned.funnel if not step["after"])
        reasons = ", ".join(f"{reason}: {n}" for reason, n in last["reasons"].items())
        raise SteepError(
            f"clean left no document: the step {last['step']} dropped the last {last['dropped']} ({reasons}).\n"
            f"All of them, with their reasons, are in {stage.work / 'dropped'}"
        )
    stage.summarise(**cleaned.facts, funnel=cleaned.funnel, evidence=cleaned.evidence)


def prepare(stage: Stage) -> None:
    import pyarrow.parquet as pq

    from steep.prepare import prepare_examples

    model, options = stage.recipe.model, stage.recipe.prepare
    documents = pq.read_table(stage.run.need("clean") / "documents")
    if model.from_scratch is None:
        tokenizer = _tokenizer(stage, model.revision)
    else:
        tokenizer = _new_tokenizer(documents, stage.recipe)
        tokenizer.save_pretrained(stage.work / "tokenizer")
    pretrain = stage.recipe.train.objective == "pretrain"
    prepared = prepare_examples(documents, options, tokenizer, folder=stage.folder, pretrain=pretrain)
    _write_table(prepared.train, stage.work / "train.parquet")
    _write_table(prepared.test, stage.work / "test.parquet")
    stage.summarise(**prepared.summary)


def train(stage: Stage) -> None:
    import pyarrow.parquet as pq

    from steep.train import train_model

    tokenizer = _tokenizer(stage, stage.recipe.model.revision)
    model = _base_model(stage, tokenizer)
    commit = loaded_commit(stage.recipe.model, stage.folder)  # now: meanwhile another run may fetch a newer one
    result = train_model(
        pq.read_table(stage.run.need("prepare") / "train.parquet"),
        stage.recipe.train,
        model=model,
        tokenizer=tokenizer,
        max_length=stage.recipe.prepare.max_length,
        folder=stage.work,
    )
    stage.summarise(**asdict(result), base_revision=commit)


def evaluate(stage: Stage) -> None:
    import pyarrow.parquet as pq
    import torch

    from steep.evaluate import compare_models, evaluate_model
    from steep.models import load_model, load_tuned, resolve

    model = stage.recipe.model
    revision = model.revision or stage.run.summary("train")["base_revision"]  # what was trained, not what is newest
    tokenizer = _tokenizer(stage, revision)
    rows = pq.read_table(stage.run.need("prepare") / "test.parquet").to_pylist()
    base, dtype = resolve(model.base, stage.folder), torch.float32
    if torch.cuda.is_available():
        dtype = torch.bfloat16

    def measure(subject: PreTrainedModel) -> Results:
        return evaluate_model(
            subject, tokenizer, rows, stage.recipe.evaluate, max_length=stage.recipe.prepare.max_length
        )

    before = None
    if model.from_scratch is None:
        before = measure(load_model(base, dtype=dtype, revision=revision))
    after = measure(load_tuned(stage.run.need("train"), base, dtype=dtype, revision=revision))
    comparison = compare_models(before, after)
    (stage.work / "scores.json").write_text(json.dumps(comparison.scores, indent=1, ensure_ascii=False), "utf-8")
    lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in comparison.samples)
    (stage.work / "samples.jsonl").write_text("".join(lines), "utf-8")
    stage.summarise(documents=len(rows))


ON_CLUSTER = ("clean", "prepare")
"""Stages whose dataframes a Ray cluster can work on."""
BODIES: dict[str, Callable[[Stage], None]] = {
    "gather": gather,
    "clean": clean,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
}


def _hide(stage: Stage) -> Callable[[str], str]:
    """Puts names back for the secrets of the recipe's sources, as it was written."""
    written = stage.run.read()["recipe"]["gather"]
    values = [value for source in written for value in source.values()]
    addresses = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    secrets = [f"${{{getattr(source, source.credential)}}}" for source in stage.recipe.gather if source.credential]
    connections = [source["connection"] for source in written if "connection" in source]
    return secrets_hidden(filter(lambda value: isinstance(value, str), addresses), [*secrets, *connections])


def _new_tokenizer(documents: pa.Table, recipe: Recipe) -> PreTrainedTokenizerBase:
    """A tokenizer learned from what will be trained on, each source as often as it will be read."""
    from steep.models import train_tokenizer

    shape = recipe.model.from_scratch
    assert shape is not None
    held_out, repeat = recipe.prepare.split.sources, recipe.prepare.repeat

    def texts() -> Iterable[str]:
        for source, text in zip(documents["source"].to_pylist(), documents["text"].to_pylist(), strict=True):
            if source not in held_out:
                yield from [text] * repeat.get(source, 1)

    return train_tokenizer(texts(), shape.vocab_size, shape.max_position_embeddings)


def _tokenizer(stage: Stage, revision: str | None) -> PreTrainedTokenizerBase:
    from steep.models import load_tokenizer, resolve

    model = stage.recipe.model
    if model.from_scratch is None:
        return load_tokenizer(resolve(model.base, stage.folder), revision)
    return load_tokenizer(str(stage.run.need("prepare") / "tokenizer"))


def _base_model(stage: Stage, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """What training starts from. All weights trained: in float32, since small steps vanish in bfloat16's 8 bits."""
    import torch

    from steep.models import load_model, new_model, resolve

    model, options = stage.recipe.model, stage.recipe.train
    if model.from_scratch is not None:
        return new_model(model.from_scratch, tokenizer, options.seed)
    dtype = torch.float32 if options.method == "full" else getattr(torch, options.dtype)
    return load_model(resolve(model.base, stage.folder), dtype=dtype, revision=model.revision)


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def show_examples(folder: Path, count: int, html: Path) -> None:
    """Print and write a run's first training examples token by token."""
    import pyarrow.parquet as pq

    from steep.prepare.preview import preview

    run = Run(folder)
    stage = Stage(run, recipe_from_stored(run.read()["recipe"]), Path(run.read()["folder"]), run.partial("prepare"))
    examples = pq.read_table(run.need("prepare") / "train.parquet")
    pretrain = stage.recipe.train.objective == "pretrain"
    max_length = None if pretrain else stage.recipe.prepare.max_length
    preview(examples, _tokenizer(stage, stage.recipe.model.revision), max_length=max_length, count=count, html=html)


# ------------------------------------------------------------------------------------------------------- the process


def run_stage(run: Run, name: str) -> None:
    """Do one stage of a run whose ``run.json`` holds the recipe, and give the result its name."""
    begin = time.perf_counter()
    record = run.read()
    stage = Stage(run, recipe_from_stored(record["recipe"]), Path(record["folder"]), run.partial(name))
    if stage.recipe.cluster and name in ON_CLUSTER:
        from steep.cluster import join

        join(stage.recipe.cluster)
    BODIES[name](stage)
    run.finish(name, time.perf_counter() - begin)


def main() -> None:
    """The stage's process. Exit codes: 0 done, 1 failed with a message printed, 130 interrupted."""
    folder, name, parent = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # the parent reads it, whatever the terminal's
    _end_with_parent(int(parent))
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back by the parent until here
        run_stage(Run(Path(folder)), name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = explain(error, name, Path(folder))
        if message is None:
            raise
        print(message)  # noqa: T201
        sys.exit(1)


def _end_with_parent(parent: int) -> None:
    """End when the parent is gone, so that a killed run leaves no stage behind that still writes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()

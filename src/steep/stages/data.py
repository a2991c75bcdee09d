"""From the world to examples: gather, clean and prepare."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from steep.config import secrets_hidden
from steep.errors import SteepError
from steep.recipe import Recipe
from steep.stages.stage import Stage, tokenizer_of, write_table

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

FAILURES_SHOWN = 50


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

    from steep import handover
    from steep.prepare import prepare_examples

    documents = pq.read_table(stage.run.need("clean") / "documents")
    tokenizer = _tokenizer(documents, stage)
    objective = stage.recipe.train.objective
    prepared = prepare_examples(documents, stage.recipe.prepare, tokenizer, folder=stage.folder, objective=objective)
    write_table(prepared.train, stage.work / "train.parquet")
    write_table(prepared.test, stage.work / "test.parquet")
    if prepared.validation is not None:
        write_table(prepared.validation, stage.work / "validation.parquet")
    if prepared.canaries:
        (stage.work / "canaries.json").write_text(json.dumps(prepared.canaries, indent=1, ensure_ascii=False), "utf-8")
    proof = prepared.train.slice(0, handover.PROOFS).to_pylist()
    handover.write(stage.work, prepared.template, proof, tokenizer, prepared.fit)
    stage.summarise(**prepared.summary)


def _tokenizer(documents: pa.Table, stage: Stage) -> PreTrainedTokenizerBase:
    """Saved beside the examples where it is not the base model's."""
    model = stage.recipe.model
    new = model.from_scratch is not None
    tokenizer = _new_tokenizer(documents, stage.recipe) if new else tokenizer_of(stage, model.revision)
    if new or model.added_tokens:
        tokenizer.save_pretrained(stage.work / "tokenizer")
    return tokenizer


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

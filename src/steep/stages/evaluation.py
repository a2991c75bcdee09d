"""evaluate: the base model, the base model with examples in its prompt, and the tuned one, on what was held out."""

from __future__ import annotations

import gc
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.config import RecipeFile
from steep.runs import Run, fingerprint
from steep.scores import Model, Scores
from steep.stages.stage import Stage, tokenizer_of, write_table

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.evaluate import Material, Results, Shots
    from steep.models import Loading
    from steep.rewards import Rewards


def evaluate(stage: Stage) -> None:
    from steep import handover
    from steep.models import load_tuned, resolve

    bench = Bench(stage)
    handover.check(stage.run.need("prepare"), bench.tokenizer, "evaluate")
    results = dict(bench.untuned())
    base = resolve(stage.recipe.model.base, stage.folder)
    loading = bench.loading | {"reward": stage.recipe.train.objective == "reward"}
    results["tuned"] = bench.measure("tuned", load_tuned(stage.run.need("train"), base, bench.tokenizer, **loading))
    scores = bench.finish(results, stage.recipe.name)
    stage.summarise(documents=scores.test_set.documents)


def evaluate_other(run: Run, recipe: RecipeFile, name: str) -> Path:
    """Measure another model in place of the tuned one; returns the folder of the result, which lies in the run's.

    It answers the same prompts, encoded by its own tokenizer. Interrupted work goes on. The run's stages up to prepare
    must be finished.
    """
    from steep.models import load_model, load_tokenizer, own_dtype, resolve

    place = resolve(name)
    tokenizer = load_tokenizer(place)  # now: a name that is no model's is found before any work
    final = run.folder / "evaluations" / (_file_name(name) or _file_name(place))
    work = final.with_name(f".{final.name}.partial")
    prepared = run.read()["stages"]["prepare"]["fingerprint"]
    steps = [step.model_dump(mode="json") for step in recipe.recipe.evaluate]
    longest = recipe.recipe.train.rollouts.max_completion_length  # of the answers that are rewarded
    _begin(work, fingerprint(prepared, steps, longest, place, _files(Path(place))))
    bench = Bench(Stage(run, recipe.recipe, recipe.folder, work))
    results = dict(bench.untuned())
    other = load_model(place, dtype=own_dtype(), reward=_is_reward_model(place))
    results["tuned"] = bench.measure("tuned", other, tokenizer=tokenizer)
    bench.finish(results, name)
    shutil.rmtree(final, ignore_errors=True)
    return work.rename(final)


def _file_name(text: str) -> str:
    """Empty where nothing is left of a text, as of `..`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")


def _files(folder: Path) -> list[tuple[str, int]]:
    """What tells whether a model's folder has changed; nothing of a hub name."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("*"))


def _is_reward_model(place: str) -> bool:
    """By what its config says. An adapter has none of its own; what is no model is explained when it is loaded."""
    from transformers import AutoConfig

    adapter = Path(place) / "adapter_config.json"
    if adapter.exists():
        return bool(json.loads(adapter.read_text("utf-8"))["task_type"] == "SEQ_CLS")
    try:
        architectures = AutoConfig.from_pretrained(place).architectures
    except (OSError, ValueError):
        return False
    return any("SequenceClassification" in name for name in architectures or ())


def _begin(work: Path, print_: str) -> None:
    """Go on with what was interrupted, if it was the same."""
    mark = work / "begun"
    if not (mark.exists() and mark.read_text("utf-8") == print_):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.write_text(print_, "utf-8")


def _measures_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("metric", "model", "document_id", "group")
    return pa.schema([*((name, pa.string()) for name in names), ("row", pa.list_(pa.float64()))])


@dataclass
class Bench:
    """A run's held-out examples, and what is needed to measure models on them."""

    stage: Stage

    @cached_property
    def revision(self) -> str | None:
        """Of the base model: what was trained, not what is newest."""
        run, asked = self.stage.run, self.stage.recipe.model.revision
        return asked or (run.summary("train")["base_revision"] if "train" in run.read()["stages"] else None)

    @cached_property
    def loading(self) -> Loading:
        """How base and tuned model are loaded, alike, so that nothing but the tuning is between them."""
        from steep.models import loading_of

        return loading_of(self.stage.recipe.model, self.revision)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return tokenizer_of(self.stage, self.revision)

    @cached_property
    def training(self) -> pa.Table:
        return self._prepared("train")

    @cached_property
    def held_out(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._prepared("test").to_pylist()
        return rows

    @cached_property
    def rewards(self) -> Rewards | None:
        """Where a step asks for them."""
        from steep.rewards import load_rewards

        asked = any(step.reward for step in self.stage.recipe.evaluate)
        return load_rewards(self.stage.recipe.train.rollouts, self.stage.folder) if asked else None

    def _prepared(self, side: str) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(self.stage.run.need("prepare") / f"{side}.parquet")

    def _canaries(self) -> list[dict[str, str]]:
        path = self.stage.run.need("prepare") / "canaries.json"
        found: list[dict[str, str]] = json.loads(path.read_text("utf-8")) if path.exists() else []
        return found

    def _gathered(self) -> Iterator[str]:
        """All that was said before cleaning, with what was redacted."""
        import pyarrow.parquet as pq

        for path in sorted((self.stage.run.need("gather") / "documents").glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(columns=["text", "title", "meta"]):
                for column in batch.columns:
                    yield from filter(None, column.to_pylist())

    def untuned(self) -> Iterator[tuple[Model, Results]]:
        """The base model, alone and with examples in its prompt; nothing for a model trained from scratch."""
        from steep.evaluate import choose_shots, look_for_known_text
        from steep.models import fit_vocabulary, load_model, resolve

        recipe = self.stage.recipe
        if recipe.model.from_scratch is not None:
            return
        model = load_model(resolve(recipe.model.base, self.stage.folder), **self.loading)
        fit_vocabulary(model, self.tokenizer)
        base = self.measure("base", model)
        steps = dict(step.chosen for step in recipe.evaluate)
        if "forgetting" in steps:
            known = look_for_known_text(model, self.tokenizer, self.held_out, recipe.prepare.max_length)
            base.checks |= {"familiarity": asdict(known)} if known else {}
        yield "base", base
        if "few_shot" in steps:
            shots = choose_shots(
                self.training, model, self.tokenizer, steps["few_shot"], longest_task=base.longest_task
            )
            if shots.documents:
                yield "few_shot", self.measure("few_shot", model, shots)
        del model
        gc.collect()

    def measure(
        self,
        name: Model,
        model: PreTrainedModel,
        shots: Shots | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> Results:
        """``tokenizer``: that of a model which is not the run's."""
        from steep.evaluate import evaluate_model

        return evaluate_model(
            model,
            tokenizer or self.tokenizer,
            self.held_out,
            self.stage.recipe.evaluate,
            max_length=self.stage.recipe.prepare.max_length,
            training=self.training,
            shots=shots,
            canaries=self._canaries(),
            cut_by=self.tokenizer if tokenizer else None,
            truncation_side=self.stage.recipe.prepare.truncation_side,
            rewards=self.rewards,
            folder=self.stage.folder,
            ledger=self.stage.work / f"{name}.jsonl",
        )

    def finish(self, results: Mapping[Model, Results], tuned: str) -> Scores:
        """Compare, look for what could fool the reader, and write it all down."""
        import pyarrow as pa

        from steep.evaluate import compare_models, examine
        from steep.personal.redaction import redact

        base, work, material = self.stage.recipe.model.base, self.stage.work, self._material()
        compared = compare_models(results, {"base": base, "few_shot": f"{base}, few-shot", "tuned": tuned})
        scores = examine(compared.scores, results, self.stage.recipe.evaluate, material)
        for sample in compared.samples:  # what was to be redacted is not written down where a model says it
            said = sample["answers"].items()
            sample["answers"] = {name: redact(text, material.kinds, material.region) for name, text in said}
        lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in compared.samples)
        (work / "samples.jsonl").write_text("".join(lines), "utf-8")
        write_table(pa.Table.from_pylist(compared.measures, schema=_measures_schema()), work / "measures.parquet")
        (work / "scores.json").write_text(scores.model_dump_json(indent=1), "utf-8")
        for name in results:
            (work / f"{name}.jsonl").unlink(missing_ok=True)
        return scores

    def _material(self) -> Material:
        from steep.evaluate import Material
        from steep.personal.redaction import regions_of

        redacted = [step.redact for step in self.stage.recipe.clean if step.redact]
        return Material(
            tokenizer=self.tokenizer,
            held_out=self.held_out,
            training=self.training,
            gathered=self._gathered,
            kinds=list(dict.fromkeys(kind for step in redacted for kind in step.kinds)),
            region=[country for step in redacted for country in regions_of(step.region)] or "US",
        )

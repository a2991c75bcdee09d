"""The course of a training: what is checked, made, trained and saved, in this order."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from steep.machine import with_dtype
from steep.models import quantization_of
from steep.recipe import Train
from steep.recipe.train import ROLLOUTS
from steep.speed.apply import fast_layers, loss_and_attention
from steep.speed.plan import Plan, make_plan, training_operations
from steep.terminal import console
from steep.tokens import Fit
from steep.train import adalora, checkpoints
from steep.train.adapters import start_adapter
from steep.train.live import Live
from steep.train.objectives import Setting, make_trainer
from steep.train.order import Epochs
from steep.train.parallel import by_main, join
from steep.train.probe import probe, take_batch_size
from steep.train.quiet import quiet_libraries
from steep.train.rows import Encoder, Examples
from steep.train.safeguards import check_model, check_prompts
from steep.train.saving import save, trainable_state
from steep.train.stops import StopOnInterrupt, Stops
from steep.train.writing import Prompt, Writer, sample_prompts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What was done; speed counts every token of the rows, prompts included."""

    method: str
    objective: str
    quantization: str
    parameters: int
    trainable_parameters: int
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    final_loss: float
    validation_loss: float | None
    batch_size: int
    gradient_accumulation_steps: int
    device: str
    devices: int
    dtype: str
    peak_memory_gib: float | None


@dataclass(frozen=True, slots=True)
class More:
    """What a training may be given beside examples, options and model."""

    validation: Examples | None = None
    fit: Fit | None = None
    """What becomes of examples that are too long; by default they are cut to ``max_length``."""
    home: Path = field(default_factory=Path)
    """Where the paths of the recipe start."""
    base: str = ""
    """Name or folder of the base model."""
    new_tokens: tuple[int, ...] = ()
    """Ids of tokens that the base model does not have."""
    rows_at_first: int | None = None
    """With `batch_size: auto`, the rows that are tried first; by default those of a whole step."""
    rows: Path | None = None
    """Folder in which the examples' token ids are left, or found, for another training on the same ones."""


def train_model(
    examples: Examples,
    options: Train,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path,
    more: More = More(),
) -> TrainResult:
    """Train ``model`` on ``examples``: a table or a Parquet file of the columns that the objective needs.

    Leaves ``adapter/`` or ``model/``, ``metrics.jsonl``, ``summary.json`` and checkpoints in ``folder``. Where it holds
    checkpoints of an interrupted run, training goes on from the last finished one. Raises ModelError where a safeguard
    of `steep.train.safeguards` is broken, the loss is no number, or nothing was learned; KeyboardInterrupt after
    Ctrl-C, once all is saved.
    """
    join(options)
    options = with_dtype(options, cuda=torch.cuda.is_available())
    check_model(model, tokenizer, max_length)
    resume, before = by_main(lambda: checkpoints.last_state(folder))
    encoder = Encoder(tokenizer, options, more.fit or Fit(None if options.objective == "pretrain" else max_length))
    work = folder / "rows" / os.environ.get("RANK", "0")
    rows = encoder.rows(examples, work / "train", more.rows)
    if options.objective in ROLLOUTS:
        check_prompts(rows, tokenizer, model.config.max_position_embeddings - options.rollouts.max_completion_length)
    held = encoder.rows(more.validation, work / "validation", more.rows) if more.validation is not None else None
    plan = _planned(rows, options, model, max_length)
    by_main(lambda: _tell(plan))
    setting = Setting(model, tokenizer, max_length, folder, more.home, list(more.new_tokens))
    with quiet_libraries():
        with loss_and_attention(model, plan):
            trainer = make_trainer(rows, held, options, setting)
            if options.method != "full":
                start_adapter(trainer.model, options, more.base, folder)
            begun = by_main(lambda: trainable_state(trainer.model))
            if more.rows_at_first:
                take_batch_size(trainer, options, more.rows_at_first)
            prompts = sample_prompts(examples if more.validation is None else more.validation, tokenizer)
            with fast_layers(model, plan, options.gradient_checkpointing if not options.sharded else False):
                trainer.full_rows = max_length if plan.compiles and plan.packs else None
                if resume is None or options.batch_size == "auto":
                    probe(trainer, options)
                callbacks = [*_callbacks(trainer, options, setting, resume, prompts)]
                _run(trainer, resume, before, callbacks, options, setting)
        save(trainer, options, setting, begun)
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # not there, or another process's rows are in it still
        work.parent.rmdir()
    return by_main(lambda: _summarise(_result(trainer, options, folder), folder))


def _summarise(result: TrainResult, folder: Path) -> TrainResult:
    (folder / "summary.json").write_text(json.dumps(asdict(result), indent=1))
    return result


def _planned(rows: Dataset, options: Train, model: PreTrainedModel, max_length: int) -> Plan:
    tokens = len(rows) * max_length * options.epochs
    if options.max_steps:
        tokens = options.max_steps * options.rows_per_step * max_length
    operations = training_operations(options, sum(map(_size, model.parameters())), tokens)
    return make_plan(options, quantization_of(model), cuda=torch.cuda.is_available(), operations=operations)


def _tell(plan: Plan) -> None:
    out = console(error=True)
    for name, choice in plan.rows():
        out.print(f"{name}: {choice}", markup=False)


def _run(
    trainer: Trainer,
    resume: Path | None,
    before: dict[str, Any],
    callbacks: list[TrainerCallback],
    options: Train,
    setting: Setting,
) -> None:
    trainer.begin_at(before["tokens"])
    with (
        Live(setting.folder / "metrics.jsonl", before) as live,
        StopOnInterrupt(_steps_on_answers(options)) as interrupt,
    ):
        for callback in (callbacks[0], live, *callbacks[1:], interrupt):
            trainer.add_callback(callback)
        if resume and checkpoints.is_last(resume, options.early_stopping_patience):
            # from there, transformers would take one more step
            kept = checkpoints.best(resume) if trainer.args.load_best_model_at_end else resume
            trainer._load_from_checkpoint(str(kept))
        else:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def _steps_on_answers(options: Train) -> int:
    return options.rollouts.num_iterations if options.objective in ROLLOUTS else 1


def _callbacks(
    trainer: Trainer, options: Train, setting: Setting, resume: Path | None, prompts: list[Prompt]
) -> Iterator[TrainerCallback]:
    yield Stops(trainer, options, setting)
    yield Epochs(trainer)
    if options.method == "adalora":
        yield adalora.Ranks(options.adalora)
    if options.early_stopping_patience:
        from transformers import EarlyStoppingCallback

        stopping = EarlyStoppingCallback(options.early_stopping_patience)
        stopping.early_stopping_patience_counter = checkpoints.patience(resume)
        yield stopping
    if options.sample_steps:
        yield Writer(options.sample_steps, prompts, setting)
    yield checkpoints.MarkComplete()


def _result(trainer: Trainer, options: Train, folder: Path) -> TrainResult:
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in logged if "loss" in row]
    measured = [row["eval_loss"] for row in logged if "eval_loss" in row]
    parameters = list(trainer.model.parameters())
    speeds = sorted(row["tokens_per_second"] for row in rows)
    cuda = torch.cuda.is_available()
    return TrainResult(
        method=options.method,
        objective=options.objective,
        quantization=quantization_of(trainer.model),
        parameters=sum(map(_size, parameters)),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        steps=rows[-1]["step"],
        tokens=rows[-1]["tokens"],
        seconds=rows[-1]["seconds"],
        tokens_per_second=speeds[len(speeds) // 2],
        final_loss=rows[-1]["loss"],
        validation_loss=(min(measured) if options.load_best_model_at_end else measured[-1]) if measured else None,
        batch_size=trainer.args.per_device_train_batch_size,
        gradient_accumulation_steps=trainer.args.gradient_accumulation_steps,
        device=torch.cuda.get_device_name() if cuda else "cpu",
        devices=trainer.args.world_size,
        dtype=options.dtype,
        peak_memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
    )


def _size(parameter: torch.nn.Parameter) -> int:
    """Of a quantised weight, the numbers that its bytes stand for."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return parameter.numel() if shape is None else int(torch.Size(shape).numel())

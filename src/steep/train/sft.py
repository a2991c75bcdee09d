"""Supervised fine-tuning and pre-training through TRL's SFTTrainer.

TRL gets token ids and labels that `steep.tokens` made, so that what is trained is what is measured later; it packs,
batches, computes the loss without ever holding all logits, and steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from steep import tokens
from steep.errors import ModelError
from steep.recipe import Train
from steep.speed.attention import use_packed_attention
from steep.speed.loss import use_linear_loss
from steep.train import checkpoints
from steep.train.adapters import peft_config
from steep.train.live import Live
from steep.train.optimizers import MuonAdamW
from steep.train.quiet import quiet_libraries
from steep.train.stops import StopAtNaN, StopOnInterrupt

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig, SFTTrainer

SCHEDULES = {"constant": "constant_with_warmup"}
"""Names of the recipe that transformers has for something else: its ``constant`` does not warm up."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What was done; speed counts every token of the rows, prompts included."""

    method: str
    objective: str
    parameters: int
    trainable_parameters: int
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    final_loss: float
    device: str
    dtype: str
    peak_memory_gib: float | None


def train_model(
    examples: pa.Table,
    options: Train,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path,
) -> TrainResult:
    """Train ``model`` on ``examples``.

    Leaves ``adapter/`` or ``model/``, ``metrics.jsonl``, ``summary.json`` and checkpoints in ``folder``. Where it holds
    checkpoints of an interrupted run, training goes on from the last finished one. Raises ModelError where a row is
    longer than the model's positions, or the loss is no number; KeyboardInterrupt after Ctrl-C, once all is saved.
    """
    _check(model, tokenizer, max_length)
    resume = checkpoints.last_complete(folder)
    metrics = folder / "metrics.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    before = checkpoints.keep_metrics_until(metrics, checkpoints.step_of(resume))
    dataset = encode_all(examples, tokenizer, options, max_length)
    with quiet_libraries():
        with _prepared(model, options):
            trainer = _trainer(dataset, options, model, tokenizer, max_length, folder)
            trainer.tokens = before["tokens"]
            with Live(metrics, before) as live, StopOnInterrupt() as interrupt:
                for callback in (StopAtNaN(), live, checkpoints.MarkComplete(), interrupt):
                    trainer.add_callback(callback)
                _run(trainer, resume)
        _save(trainer, tokenizer, folder / ("model" if options.method == "full" else "adapter"))
    result = _result(trainer, options, metrics)
    (folder / "summary.json").write_text(json.dumps(asdict(result), indent=1))
    return result


def _check(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    positions = model.config.max_position_embeddings
    if max_length > positions:
        raise ModelError(f"prepare.max_length is {max_length}, but the model has {positions} positions: lower it")
    size = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > size:
        raise ModelError(f"the tokenizer has {len(tokenizer)} tokens, but the model's embedding only {size}")


def encode_all(examples: pa.Table, tokenizer: PreTrainedTokenizerBase, options: Train, max_length: int) -> Dataset:
    """The examples as token ids and labels. Pre-training keeps whole texts: packing splits them over rows."""
    from datasets import Dataset

    limit = None if options.objective == "pretrain" else max_length
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    tables = []
    for batch in examples.to_batches(max_chunksize=1000):
        rows: list[Mapping[str, str]] = batch.to_pylist()
        trained = [one for one in tokens.encode(rows, tokenizer, limit) if one.trained]
        columns = {"input_ids": [one.input_ids for one in trained], "labels": [one.labels for one in trained]}
        tables.append(pa.table(columns, schema=schema))
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    if not table.num_rows:
        raise ModelError("no example has a token to train: every one is empty, or all its completion was cut off")
    return Dataset(table)


@contextmanager
def _prepared(model: PreTrainedModel, options: Train) -> Iterator[None]:
    """Give the model steep's loss and attention for a while; afterwards it can generate, only its weights differ."""
    forward, training = vars(model).get("forward"), model.training
    attention, use_cache = model.config._attn_implementation, model.config.use_cache
    use_linear_loss(model)
    if options.packing:
        use_packed_attention(model)
    if options.compile:
        for layer in model.model.layers:
            layer.compile()
    try:
        yield
    finally:
        vars(model).pop("forward")
        if forward is not None:
            model.forward = forward
        model.set_attn_implementation(attention)
        model.config.use_cache = use_cache
        model.train(training)


def _trainer(
    dataset: Dataset,
    options: Train,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path,
) -> SFTTrainer:
    from transformers import PrinterCallback

    from steep.train.trainer import LinearLossTrainer

    trainer = LinearLossTrainer(
        model=model,
        args=_config(options, max_length, folder),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=peft_config(options),
        optimizers=(_muon(model, options) if options.optim == "muon" else None, None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _run(trainer: SFTTrainer, resume: Path | None) -> None:
    if resume and checkpoints.is_last(resume):  # from there, transformers would take one more step
        trainer._load_from_checkpoint(str(resume))
    else:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def _muon(model: PreTrainedModel, options: Train) -> MuonAdamW:
    return MuonAdamW(model, options.learning_rate, options.weight_decay, options.adam_beta2)


def _config(options: Train, max_length: int, folder: Path) -> SFTConfig:
    from trl import SFTConfig

    cuda = torch.cuda.is_available()
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        learning_rate=options.learning_rate,
        lr_scheduler_type=SCHEDULES.get(options.lr_scheduler_type, options.lr_scheduler_type),
        warmup_steps=options.warmup_ratio,  # a float below 1 is a share of the steps
        weight_decay=options.weight_decay,
        adam_beta2=options.adam_beta2,
        max_grad_norm=options.max_grad_norm,
        seed=options.seed,
        bf16=options.dtype == "bfloat16" and (cuda or options.method == "full"),
        use_cpu=not cuda,
        max_length=max_length,
        packing=options.packing,
        packing_strategy="bfd_split" if options.objective == "pretrain" else "bfd",
        shuffle_dataset=True,
        gradient_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
    )
    if cuda:
        config._n_gpu = 1  # of several that are visible, the first: TRL refuses the slow DataParallel of transformers
    return config


def _result(trainer: SFTTrainer, options: Train, metrics: Path) -> TrainResult:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    parameters = list(trainer.model.parameters())
    speeds = sorted(row["tokens_per_second"] for row in rows)
    cuda = torch.cuda.is_available()
    return TrainResult(
        method=options.method,
        objective=options.objective,
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        steps=rows[-1]["step"],
        tokens=rows[-1]["tokens"],
        seconds=rows[-1]["seconds"],
        tokens_per_second=speeds[len(speeds) // 2],
        final_loss=rows[-1]["loss"],
        device=torch.cuda.get_device_name() if cuda else "cpu",
        dtype=options.dtype,
        peak_memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
    )


def _save(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

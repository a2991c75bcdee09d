"""Whether steep's exact plan is the same training as plain transformers and PEFT: losses and gradient norms by step.

python benchmarks/same.py DATA [--shape tiny|1b] [--dtype float32|bfloat16] [--steps 10] [--rows 2] [--length 256]
    [--full] [--compile] [--json FILE]

steep trains on paragraphs of books (DATA/pretrain/books.txt.xz), and what each of its steps saw is kept. The plain twin
then takes the same steps: each document by itself, neither packed nor padded, through the model's own loss, with
`torch.optim.AdamW`. In float32 every loss must agree within 1e-5 of its size. In bfloat16 the plain twin also trains
from another start of its adapter, and steep must be nearer to the first than the second is. `1b` has the shape of Llama
3.2 1B and random weights, `tiny` those that come with steep.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from fp8 import paragraphs
from parallel import machine, make
from training_engines import RANK, lora, same_start

from steep.models import TINY, load_model, load_tokenizer
from steep.recipe import Train
from steep.train import More, run, train_model

LIMIT = 1e-5
Curve = list[tuple[float, float]]
"""Loss and gradient norm of each step."""
Document = tuple[torch.Tensor, torch.Tensor]
"""Token ids and labels, (1, tokens) each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shape", choices=["tiny", "1b"], default="tiny")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rows", type=int, default=2, help="in a step")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--full", action="store_true", help="train every weight; by default LoRA of rank 16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.dtype == "bfloat16" and options.full:
        parser.error("bfloat16 is held against another start of the adapter: not with --full")
    with tempfile.TemporaryDirectory() as folder:
        found = compared(options, Path(folder))
    if options.json:
        add(found, options.json)
    if not found["same"]:
        raise SystemExit("the trainings differ")


def add(found: dict[str, Any], path: Path) -> None:
    """To the runs in the file, in place of one with the same options."""
    old = json.loads(path.read_text("utf-8")) if path.exists() else []
    runs = [run for run in old if run["options"] != found["options"]]
    path.write_text(json.dumps([*runs, found], indent=1) + "\n", "utf-8")


def compared(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    base = TINY
    if options.shape != "tiny":
        make(options.shape, folder)
        base = folder / options.shape
    ours, steps = by_steep(options, base, folder)
    gc.collect()
    curves = {"steep": ours, "plain": plain(options, base, steps, seed=0)}
    if options.dtype == "bfloat16":
        gc.collect()
        curves["plain, another start"] = plain(options, base, steps, seed=1)
    show(curves)
    gap, limit = largest_gap(curves["steep"], curves["plain"]), LIMIT
    if options.dtype == "bfloat16":
        limit = largest_gap(curves["plain, another start"], curves["plain"])
    tokens = sum(ids.numel() for documents in steps for ids, _ in documents)
    documents = sum(map(len, steps))
    print(
        f"losses apart by at most {gap:.1e} of their size; allowed {limit:.1e}; {tokens} tokens, {documents} documents"
    )
    said = {name: value for name, value in vars(options).items() if name not in ("data", "json")}
    return {"machine": machine(), "options": said, "curves": curves, "gap": gap, "limit": limit, "same": gap <= limit}


def show(curves: dict[str, Curve]) -> None:
    print(f"{'step':>4}  " + "  ".join(f"{name:>24}" for name in curves) + "     (loss, gradient norm)")
    for step, rows in enumerate(zip(*curves.values(), strict=True), 1):
        print(f"{step:>4}  " + "  ".join(f"{loss:>14.7f} {norm:>9.5f}" for loss, norm in rows))


def largest_gap(one: Curve, other: Curve) -> float:
    return max(abs(left - right) / right for (left, _), (right, _) in zip(one, other, strict=True))


def by_steep(options: argparse.Namespace, base: Path, folder: Path) -> tuple[Curve, list[list[Document]]]:
    """As `steep run` trains, and the documents of each step."""
    tokenizer, steps = load_tokenizer(str(base)), list[list[Document]]()
    run.make_trainer = watching(run.make_trainer, steps)
    characters = 8 * options.steps * options.rows * options.length
    train_model(
        pa.table({"text": paragraphs(options.data / "pretrain" / "books.txt.xz", characters)}),
        Train(
            **{"method": "full" if options.full else "lora", "objective": "pretrain", "max_steps": options.steps},
            **{"batch_size": options.rows, "lora": {"rank": RANK, "alpha": RANK}, "dtype": options.dtype},
            **{"learning_rate": rate(options), "lr_scheduler_type": "constant", "warmup_ratio": 0.0},
            **{"compile": options.compile, "save_steps": 10_000, "gradient_checkpointing": False},
        ),
        model=load_model(str(base), dtype=trained_dtype(options)),
        tokenizer=tokenizer,
        max_length=options.length,
        folder=folder / "steep",
        more=More(base=str(base)),
    )
    logged = [json.loads(line) for line in (folder / "steep" / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [(row["loss"], row["grad_norm"]) for row in logged if "loss" in row], steps[-options.steps :]


def watching(made: Callable[..., Any], steps: list[list[Document]]) -> Callable[..., Any]:
    """The trainer that is made keeps what its steps see; those that are probed come first."""

    def make_trainer(*given: Any) -> Any:
        trainer = made(*given)
        step = trainer.training_step

        def training_step(model: Any, inputs: dict[str, torch.Tensor], *more: Any, **named: Any) -> Any:
            steps.append([*documents(inputs)])
            return step(model, inputs, *more, **named)

        trainer.training_step = training_step
        same_start(trainer.model)
        return trainer

    return make_trainer


def documents(inputs: dict[str, torch.Tensor]) -> list[Document]:
    """Of a packed batch."""
    ids, labels = inputs["input_ids"].cpu(), inputs["labels"].cpu()
    cuts = [*pairwise(inputs["cu_seq_lens_q"].tolist())]
    return [(ids[:, begin:end].clone(), labels[:, begin:end].clone()) for begin, end in cuts if end - begin > 1]


def plain(options: argparse.Namespace, base: Path, steps: list[list[Document]], seed: int) -> Curve:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=trained_dtype(options)).to(device)
    if not options.full:
        model = get_peft_model(model, lora())
        same_start(model, seed)
    model.train()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate(options), weight_decay=0.0)
    curve = []
    for seen in steps:
        # a document's first token is predicted by none
        count = torch.tensor(sum(int((labels[:, 1:] != -100).sum()) for _, labels in seen), device=device)
        loss = 0.0
        for ids, labels in seen:
            with torch.autocast(device.type, torch.bfloat16, enabled=options.dtype == "bfloat16"):
                found = model(input_ids=ids.to(device), labels=labels.to(device), num_items_in_batch=count).loss
            found.backward()
            loss += float(found.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(trained, 1.0))
        optimizer.step()
        optimizer.zero_grad()
        curve.append((loss, norm))
    return curve


def rate(options: argparse.Namespace) -> float:
    return 1e-4 if options.full else 1e-3


def trained_dtype(options: argparse.Namespace) -> torch.dtype:
    found: torch.dtype = getattr(torch, options.dtype)
    return found


if __name__ == "__main__":
    main()

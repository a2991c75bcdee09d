"""What fp8 costs: the held-out loss after the same tokens, beside bfloat16, with a model that has learned to write.

python benchmarks/fp8.py DATA [--json benchmarks/results/fp8.json]     on a GPU of the Hopper generation, 3 minutes
python benchmarks/fp8.py DATA --tiny                                   steep's `tiny`, 40 minutes on a CPU
python benchmarks/fp8.py DATA --quick                                  on a CPU, small; the numbers say nothing

A Llama of 100 million weights is trained on books (DATA/pretrain/books.txt.xz). Then it is fine-tuned with LoRA on
abstracts (DATA/pretrain/abstracts.txt.xz) at three learning rates: with bfloat16 weights and two seeds, whose
difference is the noise to compare with, with fp8, with nf4 and with nf4 multiplied in fp8. All see as many tokens.
"""

from __future__ import annotations

import argparse
import gc
import json
import lzma
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from parallel import machine

from steep.models import TINY, load_model, load_tokenizer, new_model
from steep.recipe import Architecture, Train
from steep.train import More, train_model

SHAPE = {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 12}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
LENGTH = 512
RATES = (1e-4, 5e-4, 2e-3)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bfloat16": ("none", {}),
    "bfloat16, another seed": ("none", {"seed": 7}),
    "fp8": ("fp8", {}),
    "nf4": ("nf4", {}),
    "nf4, fp8": ("nf4", {"fp8": True}),
}


class Scale(NamedTuple):
    steps: int
    batch: int
    held_out: int
    """Pieces of text."""
    characters: int
    """Of the abstracts."""


LARGE, TINIER, QUICK = Scale(120, 16, 400, 12_000_000), Scale(120, 4, 100, 12_000_000), Scale(10, 2, 40, 400_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="steep's own model of 8 million weights in place of that")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {"machine": machine(), "rows": []}
        for row in measured(options.data, Path(folder), quick=options.quick, tiny=options.tiny):
            results["rows"].append(row)
            if options.json:  # after each, so that an end ahead of time loses none
                options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def measured(data: Path, folder: Path, *, quick: bool, tiny: bool) -> Any:
    scale = QUICK if quick else TINIER if tiny else LARGE
    tokenizer = load_tokenizer(str(TINY))
    base = TINY if tiny else folder / "base"
    if not tiny:
        begin = time.perf_counter()
        loss = pretrained(data, tokenizer, base, quick=quick)
        print(f"books: loss {loss:.3f} after {time.perf_counter() - begin:.0f} s", flush=True)
    abstracts = paragraphs(data / "pretrain" / "abstracts.txt.xz", scale.characters)
    held, train = (pa.table({"text": part}) for part in (abstracts[: scale.held_out], abstracts[scale.held_out :]))
    for rate in RATES[:1] if quick else RATES:
        exact = None
        for kind, (quantization, more) in KINDS.items():
            options = Train(
                **{"method": "lora", "objective": "pretrain", "max_steps": scale.steps, "batch_size": scale.batch},
                **{"learning_rate": rate, "eval_steps": scale.steps, "lr_scheduler_type": "constant"},
                **{"compile": scale is LARGE, "dtype": "float32" if quick else "bfloat16", **more},
            )
            dtype = torch.float32 if quick else torch.bfloat16
            model = load_model(str(base), dtype=dtype, quantization=quantization)
            work = folder / f"{kind}-{rate}"
            found = train_model(
                train,
                options,
                model=model,
                tokenizer=tokenizer,
                max_length=LENGTH,
                folder=work,
                more=More(validation=held, base=str(base)),
            )
            rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text("utf-8").splitlines()]
            norms = [row["grad_norm"] for row in rows if "grad_norm" in row]
            exact = exact or found.validation_loss
            row = {
                "learning_rate": rate,
                "kind": kind,
                "held_out_loss": found.validation_loss,
                "against_bfloat16": found.validation_loss / exact - 1,
                "grad_norm": [norms[0], norms[-1]],
                "tokens": found.tokens,
            }
            norm = f"gradient norm {norms[0]:.3f} to {norms[-1]:.3f}"
            print(
                f"{rate:g}  {kind:<24} {found.validation_loss:.4f}  {row['against_bfloat16']:+.3%}  {norm}", flush=True
            )
            yield row
            del model
            gc.collect()


def pretrained(data: Path, tokenizer: Any, base: Path, *, quick: bool) -> float:
    shape = SMALL if quick else SHAPE
    architecture = Architecture(**shape, vocab_size=len(tokenizer), num_key_value_heads=shape["num_attention_heads"])
    model = new_model(architecture, tokenizer, seed=0)
    options = Train(
        **{"method": "full", "objective": "pretrain", "batch_size": 2 if quick else 64, "learning_rate": 1e-3},
        **{"epochs": 1, "max_steps": 10 if quick else None, "compile": not quick, "save_steps": 10_000},
        dtype="float32" if quick else "bfloat16",
    )
    books = paragraphs(data / "pretrain" / "books.txt.xz", 400_000 if quick else 62_000_000)
    work = base.parent / "books"
    found = train_model(
        pa.table({"text": books}), options, model=model, tokenizer=tokenizer, max_length=LENGTH, folder=work
    )
    model.to(torch.float32 if quick else torch.bfloat16).save_pretrained(base)
    tokenizer.save_pretrained(base)
    return found.final_loss


def paragraphs(path: Path, characters: int) -> list[str]:
    """Pieces of some two thousand characters."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        text = file.read(characters)
    pieces, piece = [], ""
    for paragraph in text.split("\n\n"):
        piece += paragraph + "\n\n"
        if len(piece) > 2000:
            pieces.append(piece)
            piece = ""
    return pieces


if __name__ == "__main__":
    main()

"""Puts a finished run of recipes/tiny.yaml into the package as the base model `tiny`, with its model card.

    python scripts/ship_tiny.py runs/tiny
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from string import Template
from typing import Any

import torch

from steep.models import TINY, load_model, load_tokenizer
from steep.runs import Run

CARD = Template("""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# tiny

A Llama of $parameters parameters with a vocabulary of $vocabulary, trained from scratch by steep's `recipes/tiny.yaml` and
shipped with steep, so that a recipe can run from gather to report on a CPU and without a network. It knows the sound of
English, not facts. It is a model to try a pipeline with, and nothing to ask for advice.

| | |
|---|---|
| architecture | Llama: $layers layers of $width, $heads heads of 64 with one key-value head, tied embeddings, $positions positions |
| weights | bfloat16, $size MB |
| tokenizer | byte-level BPE, single digits; `<s>`, `</s>`, `<pad>` (padding is not EOS); chat template of `### role:` headings |
| data | $documents texts: public-domain English books (62 MB), paper abstracts (CC0, 26 MB), guides of a government site (CC0, 3 MB, each read twice as often) |
| training | $steps steps, $tokens tokens ($passes passes), Muon for the matrices and AdamW for the rest, peak learning rate $learning_rate, cosine; $seconds s on one $device |
| last loss | $loss nats per token, mean of the last 50 steps |
| held-out books | $bits bits per byte, perplexity $perplexity, on $books texts of other books |

![training loss](loss.png)

Made by `STEEP_DATA=... steep run recipes/tiny.yaml`, then `python scripts/ship_tiny.py runs/tiny`. The figures stand in the
run's `train/summary.json` and `evaluate/scores.json`.
""")


def facts(run: Run) -> dict[str, Any]:
    recipe, train = run.read()["recipe"], run.summary("train")
    scores = json.loads((run.need("evaluate") / "scores.json").read_text())["metrics"]
    rows = [json.loads(line) for line in (run.need("train") / "metrics.jsonl").read_text().splitlines()]
    shape = recipe["model"]["from_scratch"]
    plot(rows, TINY / "loss.png")
    return {
        "parameters": f"{train['parameters']:,}",
        "vocabulary": f"{shape['vocab_size']:,}",
        "layers": shape["num_hidden_layers"],
        "width": shape["hidden_size"],
        "heads": shape["num_attention_heads"],
        "positions": f"{shape['max_position_embeddings']:,}",
        "size": f"{(TINY / 'model.safetensors').stat().st_size / 1e6:.1f}",
        "documents": f"{run.summary('prepare')['train']['examples']:,}",
        "steps": f"{train['steps']:,}",
        "tokens": f"{train['tokens']:,}",
        "passes": f"{rows[-1]['epoch']:.1f}",
        "learning_rate": recipe["train"]["learning_rate"],
        "seconds": f"{train['seconds']:.0f}",
        "device": train["device"],
        "loss": f"{sum(row['loss'] for row in rows[-50:]) / 50:.3f}",
        "bits": f"{scores['bits_per_byte']['tuned']:.3f}",
        "perplexity": f"{scores['perplexity']['tuned']:.1f}",
        "books": scores["perplexity"]["n"],
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=0.8, color="#b8602c")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main(folder: str) -> None:
    run = Run(Path(folder))
    trained = str(run.need("train") / "model")
    load_model(trained, dtype=torch.bfloat16).save_pretrained(TINY)
    load_tokenizer(trained).save_pretrained(TINY)
    (TINY / "README.md").write_text(CARD.substitute(facts(run)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

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
from steep.scores import read_scores

CARD = Path(__file__).with_name("tiny_card.md")


def facts(run: Run) -> dict[str, Any]:
    recipe, train = run.read()["recipe"], run.summary("train")
    scores = read_scores(run.need("evaluate") / "scores.json").metrics
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
        "bits": f"{scores['bits_per_byte'].models['tuned'].value:.3f}",
        "perplexity": f"{scores['perplexity'].models['tuned'].value:.1f}",
        "books": scores["perplexity"].documents,
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
    (TINY / "README.md").write_text(Template(CARD.read_text("utf-8")).substitute(facts(run)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

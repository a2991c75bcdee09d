"""One of several processes that train: run by torchrun with a base model and jobs, each a folder and options."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import torch
from torch.distributed.tensor import DTensor

from steep.models import load_model, load_tokenizer
from steep.recipe import Train
from steep.train import train_model
from steep.train.parallel import join

TEXT = "the kettle sings when water is ready and nobody minded rain on a roof by the harbour wall all morning"
WORDS = TEXT.split()
EXAMPLES = pa.table({"text": [" ".join(WORDS[begin % 15 : begin % 15 + 2 + begin % 9]) for begin in range(45)]})
QUANTIZED = "quantized"
SHARED = {"max_steps": 12, "save_steps": 8, "save_total_limit": 9, "learning_rate": 1e-2, "dtype": "float32"}


def train(base, folder, **options):
    """Twelve steps of eight rows in all, with a checkpoint in an epoch; the last batch of an epoch is not full."""
    quantization = "nf4" if options.pop(QUANTIZED, False) else "none"
    wanted = Train(**{**SHARED, **options})
    join(wanted)
    model = load_model(str(base), dtype=torch.float32, on_host=wanted.sharded, quantization=quantization)
    tokenizer = load_tokenizer(str(base))
    train_model(EXAMPLES, wanted, model=model, tokenizer=tokenizer, max_length=24, folder=Path(folder))
    assert all(isinstance(weight, DTensor) == wanted.sharded for weight in model.parameters())


if __name__ == "__main__":
    for place, given in json.loads(sys.argv[2]):
        train(sys.argv[1], place, **given)

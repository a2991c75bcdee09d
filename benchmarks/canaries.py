"""Canaries on real text: `tiny` trained for 30 epochs on 60 posts of an organisation's blog, with and without them.

python benchmarks/canaries.py         5 minutes on 2 cores
python benchmarks/canaries.py --fit   and how far a fitted skew-normal is from the exposures that it stands for

With ``--fit``, the likelihoods of 6,000 numbers are the truth, and of the first 255 and 1,023 of them a skew-normal is
fitted by its moments, as in section 4.3 of Carlini et al. 2019 (arXiv 1802.08232), which goes beyond its sample.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from steep.evaluate.canaries import exposure, rivals
from steep.evaluate.heldout import hold_out
from steep.evaluate.perplexity import likelihoods
from steep.models import load_model, load_tokenizer, load_tuned, resolve
from steep.prepare import Prepared, prepare_examples
from steep.recipe import Prepare, Train
from steep.records import CANARIES, Document, document_schema
from steep.train import train_model

POSTS = 60
MAX_LENGTH = 128
TRUTH = 6_000
SAMPLES = (255, 1_023)
BITS = (4, 6, 8, 10)


def prepared(tokenizer: PreTrainedTokenizerBase) -> Prepared:
    with gzip.open(Path(os.environ["STEEP_DATA"]) / "brand" / "18f.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file][:POSTS]
    rows = [Document(text=text, source="blog").row() for text in texts]
    options = Prepare.model_validate({"max_length": MAX_LENGTH, "canaries": {"count": 20}})
    return prepare_examples(pa.Table.from_pylist(rows, document_schema()), options, tokenizer, folder=Path())


def trained(examples: pa.Table, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    base, options = resolve("tiny"), Train(epochs=30, batch_size=4)
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(base, dtype=torch.bfloat16)
        train_model(examples, options, model=model, tokenizer=tokenizer, max_length=MAX_LENGTH, folder=Path(folder))
        return load_tuned(Path(folder), base, dtype=torch.float32)


def density(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-places * places / 2) / math.sqrt(2 * math.pi)


def fitted_bits(sample: NDArray[np.float64], nll: float) -> float:
    """Exposure by the skew-normal of the sample's mean, variance and skewness."""
    mean, deviation = sample.mean(), sample.std()
    skewness = float(np.clip(((sample - mean) ** 3).mean() / deviation**3, -0.99, 0.99))
    size = abs(skewness) ** (2 / 3)
    delta = math.copysign(math.sqrt(math.pi / 2 * size / (size + (2 - math.pi / 2) ** (2 / 3))), skewness)
    scale = deviation / math.sqrt(1 - 2 * delta**2 / math.pi)
    location = mean - scale * delta * math.sqrt(2 / math.pi)
    places = np.linspace(-16, (nll - location) / scale, 20_001)
    shape = delta / math.sqrt(1 - delta**2)
    normal = 0.5 * (1 + np.vectorize(math.erf)(shape * places / math.sqrt(2)))
    return -math.log2(float(np.trapezoid(2 * density(places) * normal, places)))


def print_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, canary: dict[str, str]) -> None:
    examples = hold_out(rivals(canary, TRUTH, "fit")[1:], tokenizer)
    window = max(len(example.input_ids) for example in examples)
    nll = np.array([one.nll for one in likelihoods(model, tokenizer, examples, window=window, stride=window - 1)])
    ordered = np.sort(nll)
    for size in SAMPLES:
        found = {bits: fitted_bits(nll[:size], ordered[round(TRUTH * 2.0**-bits) - 1]) for bits in BITS}
        print(f"  fitted on {size:5}: " + ", ".join(f"{bits} bits -> {one:.1f}" for bits, one in found.items()))


def main() -> None:
    tokenizer = load_tokenizer(resolve("tiny"))
    made = prepared(tokenizer)
    others = made.train.filter(pa.array([source != CANARIES for source in made.train["source"].to_pylist()]))
    for name, examples in (("with 20 canaries", made.train), ("without", others)):
        begin = time.perf_counter()
        model = trained(examples, tokenizer)
        middle = time.perf_counter()
        found = exposure(model, tokenizer, made.canaries)
        end = time.perf_counter()
        verdict = "memorised" if found.memorised else "not memorised"
        print(f"{name}: mean exposure {found.mean:.2f} bits (limit {found.limit:.2f}, p {found.p:.1g}), {verdict}")
        print(
            f"  {found.first} of 20 before all {found.candidates} candidates, highest rank "
            f"{max(one.rank for one in found.exposures)}; "
            f"trained {middle - begin:.0f} s, measured {end - middle:.0f} s"
        )
        if "--fit" in sys.argv:
            print_fit(model, tokenizer, made.canaries[0])


if __name__ == "__main__":
    main()

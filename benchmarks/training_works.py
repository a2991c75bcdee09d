"""What `train.py` measures: works, and for each the settings of steep and of its peers.

A peer is run as its users would run it to be fast: with and without checkpointing, at several batch sizes, packed and
padded. Of Axolotl and LLaMA-Factory there are no settings here. On one GPU, what they add to transformers, PEFT and
Liger's kernels, which "TRL + Liger" measures, is in Axolotl LoRA kernels (`lora_mlp_kernel`, `lora_qkv_kernel`,
`lora_o_kernel`), made after Unsloth's and only in its package, and in LLaMA-Factory Unsloth itself (`use_unsloth`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

STEPS, WARM = 12, 4
TEXTS = 7600
"""Of the short texts, about 217 packed rows of 2,048 tokens."""
NONE, FULL, OWN, OFFLOADING = "none", "full", "own", "offloaded"
"""Checkpointing; `own` is Unsloth's, which moves activations to the host, as `offloaded` does in steep."""


@dataclass(frozen=True)
class Setting:
    """One engine's way to do a work. ``train`` and ``quantization`` are of steep's recipe."""

    engine: str
    batch: int
    checkpointing: str = NONE
    packing: bool = False
    grouped: bool = False
    """Padded texts in batches of similar length."""
    attention: str = "sdpa"
    """Of TRL's model; flex attention skips the blocks between packed texts."""
    weights: str = "bfloat16"
    quantization: str = ""
    """Where it is not the work's."""
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        said = [self.engine, self.checkpointing, str(self.batch)]
        said += ["packed"] * self.packing + ["grouped"] * self.grouped
        said += [self.attention] if self.attention != "sdpa" else []
        said += [self.weights] if self.weights != "bfloat16" else []
        said += [self.quantization] if self.quantization else []
        return "-".join([*said, *(f"{name}_{value}" for name, value in self.train.items())])


@dataclass(frozen=True)
class Work:
    """The same rows of the same model for every setting. ``length`` 0: short texts, in rows of 2,048 tokens."""

    name: str
    settings: tuple[Setting, ...]
    length: int = 2048
    shape: str = "8b"
    method: str = "lora"
    quantization: str = "none"
    steps: int = STEPS
    warm: int = WARM
    beside: str = ""
    """A work with the same rows, whose rows stand for an engine that has none here."""

    @property
    def rows(self) -> int:
        return TEXTS if self.length == 0 else self.steps * max((one.batch for one in self.settings), default=1)


def steep(*batches: int, checkpointing: str = NONE, weights: str = "bfloat16", **train: Any) -> Iterable[Setting]:
    quantization = train.pop("quantization", "")
    for batch in batches:
        yield Setting(
            "steep",
            batch,
            checkpointing,
            True,
            weights=weights,
            quantization=quantization,
            train={"compile": True} | train,
        )


def peer(engine: str, *batches: int, checkpointing: str = NONE, **more: Any) -> Iterable[Setting]:
    for batch in batches:
        yield Setting(engine, batch, checkpointing, **more)


LORA = Work(
    "lora-bf16",
    (
        *steep(8),
        *peer("unsloth", 8),
        *steep(4),
        *peer("unsloth", 4),
        *peer("trl-liger", 8, 4),
        *peer("trl", 4, checkpointing=FULL),
        *steep(8, checkpointing=FULL),
        *peer("unsloth", 8, checkpointing=OWN),
        *peer("trl-liger", 16, checkpointing=FULL),
        *peer("unsloth", 12),
        *peer("trl", 4),
    ),
)
FP8 = Work(
    "lora-fp8",
    (*steep(8, 4, 12, quantization="fp8"), *steep(8, checkpointing=FULL, quantization="fp8")),
    beside=LORA.name,
)
QLORA = Work(
    "qlora-nf4",
    (
        *steep(4, checkpointing=OFFLOADING, fp8=True),
        *peer("unsloth", 4, checkpointing=OWN),
        *steep(4, checkpointing=OFFLOADING),
        *peer("unsloth", 4),
        *steep(4, checkpointing=FULL, fp8=True),
        *peer("trl-liger", 4, checkpointing=FULL),
        *steep(4),
        *peer("unsloth", 8, checkpointing=OWN),
        *peer("trl-liger", 4),
        *peer("trl", 4, checkpointing=FULL),
    ),
    quantization="nf4",
)
SHORT = Work(
    "lora-short",
    (
        *steep(8),
        *peer("trl-liger", 4, packing=True),
        *peer("unsloth", 8, packing=True),
        *steep(4),
        *peer("trl-liger", 64, grouped=True),
        *peer("trl-liger", 64),
        *peer("unsloth", 64),
        *peer("unsloth", 4, packing=True),
        *peer("trl-liger", 4, packing=True, attention="flex_attention"),
        *peer("trl", 32, checkpointing=FULL),
    ),
    length=0,
)
SHORT_FP8 = Work("lora-short-fp8", tuple(steep(8, quantization="fp8")), length=0, beside=SHORT.name)
WIDE = {"weights": "float32"}
EVERY = Work(
    "full-bf16",
    (
        *steep(16, **WIDE),
        *peer("trl-liger", 16, **WIDE),
        *steep(8, **WIDE),
        *peer("trl-liger", 8, **WIDE),
        *peer("trl", 8, checkpointing=FULL, **WIDE),
        *peer("trl-liger", 16, checkpointing=FULL, **WIDE),
    ),
    shape="1b",
    method="full",
)
"""Weights in float32 and arithmetic in bfloat16: TRL's default, and what steep always does."""
ROUNDED = Work(
    "full-bf16-weights",
    (*peer("trl-liger", 16, 8), *peer("unsloth", 16, 8)),
    shape="1b",
    method="full",
    beside=EVERY.name,
)
"""Weights in bfloat16 as well: less memory, and small steps are rounded away."""


def long(length: int, peers: Iterable[Setting], steps: int = 5, warm: int = 2) -> Work:
    return Work(
        f"lora-long-{length}",
        (*steep(1, checkpointing=FULL if length > 16384 else NONE), *peers),
        length,
        steps=steps,
        warm=warm,
    )


OFFLOADED = tuple(peer("unsloth", 1, checkpointing=OWN))
KEPT = tuple(peer("unsloth", 1))
LONG = (
    long(65536, OFFLOADED),
    long(16384, (*OFFLOADED, *KEPT)),
    long(32768, OFFLOADED),
    long(4096, (*OFFLOADED, *KEPT)),
    long(8192, KEPT),
)
LONGEST = long(131072, OFFLOADED, steps=3, warm=1)
WORKS = (LORA, FP8, QLORA, SHORT, SHORT_FP8, EVERY, ROUNDED, *LONG)


def _growth(name: str, length: int, batch: int) -> Work:
    tokens = length * batch
    peers = [*peer("unsloth", batch)] if tokens <= 16384 else []
    peers += peer("unsloth", batch, checkpointing=OWN) if tokens >= 16384 else []
    fp8 = steep(batch, quantization="fp8")
    return Work(name, (*steep(batch), *peers, *fp8), length, steps=8, warm=4)


GROWTH = (
    *(_growth(f"growth-length-{length}", length, 1) for length in (512, 1024, 2048, 4096, 8192, 16384, 32768)),
    *(_growth(f"growth-batch-{batch}", 2048, batch) for batch in (2, 4, 8, 16)),
)
"""Over the length of one row, and over rows of 2,048 tokens; one such row is the first of the second."""
MORE = (*GROWTH, LONGEST)
"""What is measured only where it is asked for."""
QUICK = (
    Work(
        "lora-quick",
        (Setting("steep", 4, weights="float32"), Setting("trl", 4, weights="float32")),
        length=256,
        shape="quick",
    ),
)
QUANTILES = {
    0: 22,
    1: 32,
    5: 39,
    10: 43,
    20: 48,
    30: 52,
    40: 55,
    50: 57,
    60: 60,
    70: 64,
    80: 67,
    90: 72,
    95: 78,
    99: 101,
    99.5: 116,
    99.9: 167,
    100: 192,
}
"""Tokens of 7,600 news items, title and description, by percentile; their mean is 58.4."""


def ordered(works: Iterable[Work]) -> Iterable[tuple[Work, Setting]]:
    """First two settings of each work, then two more of each: where time runs out, no work is without a peer."""
    works = list(works)
    for begin in range(0, max((len(work.settings) for work in works), default=0), 2):
        for work in works:
            yield from ((work, setting) for setting in work.settings[begin : begin + 2])


def short_lengths(count: int) -> list[int]:
    """Drawn with a seed from the percentiles of real news items, with straight lines between them."""
    draw, places = random.Random(0), list(QUANTILES)
    found = []
    for _ in range(count):
        place = draw.uniform(0, 100)
        low = max(one for one in places if one <= place)
        high = min(one for one in places if one >= place)
        share = 0.0 if low == high else (place - low) / (high - low)
        found.append(round(QUANTILES[low] + share * (QUANTILES[high] - QUANTILES[low])))
    return found

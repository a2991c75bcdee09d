"""What makes a training fast on a given machine, each choice with its reason: decided here, applied in `apply`.

Nothing is loaded or measured. Values that a recipe gives are kept; `auto` is decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from steep.recipe import Train
from steep.recipe.train import SUPERVISED

WORTHWHILE = 60.0
"""Seconds of training above which compiling, which takes four to thirteen, pays: it saves a quarter to a half of them
(benchmarks/results/train.json). PyTorch keeps what it compiled in a folder of the machine for the next run."""
SPEED = 3e14
"""Floating-point operations a second that a GPU of this field does while it trains."""


class Choice(NamedTuple):
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    attention: Choice
    """`packed` or the model's own."""
    loss: Choice
    """`chunked` or the trainer's own."""
    adapters: Choice
    """`shared` inputs, or `peft`."""
    frozen: Choice
    """How frozen weights are held and multiplied."""
    compiled: Choice
    """`yes` or `no`."""

    @property
    def packs(self) -> bool:
        return self.attention.what == "packed"

    @property
    def chunks(self) -> bool:
        return self.loss.what == "chunked"

    @property
    def shares(self) -> bool:
        return self.adapters.what == "shared"

    @property
    def compiles(self) -> bool:
        return self.compiled.what == "yes"

    def rows(self) -> Iterator[tuple[str, str]]:
        """Each choice's name, and what was chosen with the reason."""
        for name in self.__dataclass_fields__:
            what, why = getattr(self, name)
            yield name, f"{what} ({why})"


def training_operations(train: Train, parameters: int, tokens: float) -> float:
    """On each device: 2 for each parameter and token forward, 2 for the gradient of the input, and 2 for that of a
    weight that is trained (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
    return (6 if train.method == "full" else 4) * parameters * tokens / (train.devices * train.nodes)


def make_plan(train: Train, quantization: str, *, cuda: bool, operations: float | None) -> Plan:
    """``operations``: of the whole training on each device, where they are known."""
    supervised = train.objective in SUPERVISED
    packed = supervised and train.packing
    return Plan(
        attention=_attention(packed, cuda=cuda),
        loss=Choice("chunked", "logits never exist whole, and only trained positions are computed")
        if supervised
        else Choice("own", f"{train.objective} needs the logits of whole answers"),
        adapters=_adapters(train, quantization),
        frozen=_frozen(train, quantization),
        compiled=_compiled(train, packed=packed, cuda=cuda, operations=operations),
    )


def _attention(packed: bool, *, cuda: bool) -> Choice:
    if not packed:
        return Choice("own", "rows are not packed")
    if cuda:
        return Choice("packed", "one flash or cuDNN kernel for a row; no mask, no padding")
    return Choice("packed", "each document by itself, since a mask over the row would cost more on a CPU")


def _adapters(train: Train, quantization: str) -> Choice:
    if train.method != "lora":
        return Choice("peft", f"method {train.method} has no plain LoRA layers")
    if not train.shares_inputs(quantization):
        return Choice("peft", "DoRA, int8 and FSDP2 take each weight by itself")
    return Choice("shared", "q, k, v and gate, up are one product each, and the adapter is added in its place")


def _frozen(train: Train, quantization: str) -> Choice:
    if train.method == "full":
        return Choice("none", "every weight is trained")
    if quantization == "fp8":
        return Choice("fp8", "products in e4m3: about twice as fast, inputs and gradients are rounded to three bits")
    if quantization == "nf4" and train.fp8:
        return Choice("nf4, fp8", "four bits made e4m3 for a product; inputs and gradients are rounded to three bits")
    if quantization == "none":
        return Choice(train.dtype, "exact")
    return Choice(quantization, "as in QLoRA, made whole for a product")


def _compiled(train: Train, *, packed: bool, cuda: bool, operations: float | None) -> Choice:
    if train.compile != "auto":
        return Choice("yes" if train.compile else "no", "as the recipe says")
    if not cuda:
        return Choice("no", "on a CPU compiling takes longer than it saves")
    if not packed:
        return Choice("no", "rows of changing length would be compiled again and again")
    if train.sharded or train.method in ("adalora", "adaption-prompt"):
        return Choice("no", "not with sharded weights, AdaLoRA or adaption prompts")
    if operations is None:
        return Choice("auto", f"where the training takes above {WORTHWHILE:.0f} s, known after prepare")
    seconds = operations / SPEED
    if seconds < WORTHWHILE:
        return Choice("no", f"about {seconds:,.0f} s of training are too few to earn back compiling")
    return Choice("yes", f"about {seconds:,.0f} s of training earn back compiling")

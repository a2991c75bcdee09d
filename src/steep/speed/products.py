"""Products with frozen weights, forward and for the gradient of the input, by how the weights are held.

No gradient of a frozen weight is ever computed. The twin of each is a plain product with the weights in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from steep.speed import fp8, nf4

if TYPE_CHECKING:
    from torch.nn import Linear


class Kind(NamedTuple):
    """``forward(x, *tensors)`` is (tokens, outputs), ``gradient(dy, *tensors)`` (tokens, inputs)."""

    forward: Callable[..., Tensor]
    gradient: Callable[..., Tensor]


KINDS = {
    "dense": Kind(lambda x, weight: x @ weight.T, lambda dy, weight: dy @ weight),
    "fp8": Kind(fp8.forward, fp8.gradient),
    "nf4": Kind(nf4.forward, nf4.gradient),
    "nf4-fp8": Kind(nf4.forward_in_fp8, nf4.gradient_in_fp8),
}


class Frozen(NamedTuple):
    """The weights of some layers as one, and how they are held."""

    kind: str
    tensors: tuple[Tensor, ...]
    bias: Tensor | None


def frozen(layers: Sequence[Linear], *, in_fp8: bool = False) -> Frozen:
    """Of layers that read the same input. Dense weights become parts of one tensor and take no more room for it."""
    biases = [layer.bias for layer in layers if layer.bias is not None]
    bias = torch.cat(biases) if biases else None
    first = layers[0]
    if isinstance(first, fp8.Fp8Linear):
        return Frozen("fp8", fp8.join(layers), bias)
    if nf4.holds(first):
        return Frozen("nf4-fp8" if in_fp8 else "nf4", nf4.tensors_of(layers), bias)
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else first.weight
    for layer, part in zip(layers, weight.split([layer.out_features for layer in layers]), strict=True):
        layer.weight.data = part
    return Frozen("dense", (weight,), bias)


def adapted(x: Tensor, dropped: Tensor | None, a: Tensor, b: Tensor, weights: Frozen) -> Tensor:
    """``x @ weights.T + (dropped or x) @ a.T @ b.T``: x is (tokens, inputs), a (rank, inputs), b (outputs, rank)."""
    total: Tensor = _Adapted.apply(x, dropped, a, b, weights.kind, *weights.tensors)  # type: ignore[no-untyped-call]
    return total if weights.bias is None else total + weights.bias


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dropped, a, b, kind, *tensors):  # type: ignore[no-untyped-def]
        read = x if dropped is None else dropped
        middle = read @ a.T
        total = KINDS[kind].forward(x, *tensors)
        add_product_(total, middle, b.T)
        ctx.kind, ctx.dropout = kind, dropped is not None
        ctx.save_for_backward(read, middle, a, b, *tensors)
        return total

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        read, middle, a, b, *tensors = ctx.saved_tensors
        dmiddle = dy @ b
        db, da = dy.T @ middle, dmiddle.T @ read
        dx = KINDS[ctx.kind].gradient(dy, *tensors)
        if ctx.dropout:
            return dx, dmiddle @ a, da, db, None, *(None for _ in tensors)
        add_product_(dx, dmiddle, a)
        return dx, None, da, db, None, *(None for _ in tensors)


@torch.library.custom_op("steep::add_product_", mutates_args={"total"})
def add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right`` in its place: written as a sum, the compiler would copy ``total`` first."""
    total.addmm_(left, right)

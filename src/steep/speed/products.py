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
    first, bias = layers[0], _bias(layers)
    if isinstance(first, fp8.Fp8Linear):
        return Frozen("fp8", fp8.join([layer for layer in layers if isinstance(layer, fp8.Fp8Linear)]), bias)
    if nf4.holds(first):
        return Frozen("nf4-fp8" if in_fp8 else "nf4", nf4.tensors_of(layers), bias)
    weight: Tensor = first.weight
    if len(layers) > 1:
        weight = torch.cat(tuple(layer.weight for layer in layers)).detach()
    parts = torch.split(weight, [layer.out_features for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        layer.weight.data = part
    return Frozen("dense", (weight,), bias)


def _bias(layers: Sequence[Linear]) -> Tensor | None:
    """Zero for layers that have none."""
    found = [layer.bias for layer in layers]
    known = next((bias for bias in found if bias is not None), None)
    if known is None:
        return None
    sizes = [layer.out_features for layer in layers]
    return torch.cat([known.new_zeros(n) if b is None else b for b, n in zip(found, sizes, strict=True)]).detach()


def adapted(x: Tensor, dropped: Tensor | None, a: Tensor, bs: Sequence[Tensor], weights: Frozen) -> tuple[Tensor, ...]:
    """Of each layer ``x @ weight.T + (dropped or x) @ a.T @ b.T``: x is (tokens, inputs), a (ranks of all, inputs),
    each of ``bs`` (outputs, rank)."""
    more = (*bs, *weights.tensors)
    found: tuple[Tensor, ...] = _Adapted.apply(x, dropped, a, weights.kind, len(bs), *more)  # type: ignore[no-untyped-call]
    if weights.bias is None:
        return found
    biases = torch.split(weights.bias, [len(b) for b in bs])
    return tuple(one + bias for one, bias in zip(found, biases, strict=True))


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dropped, a, kind, layers, *more):  # type: ignore[no-untyped-def]
        bs, tensors = more[:layers], more[layers:]
        read = x if dropped is None else dropped
        middle = read @ a.T
        total = KINDS[kind].forward(x, *tensors)
        add_product_(total, middle, torch.block_diag(*bs).T)  # type: ignore[no-untyped-call]
        if kind.endswith("fp8"):
            total = fp8.differentiable(total, middle)
        ctx.kind, ctx.dropout, ctx.layers = kind, dropped is not None, layers
        ctx.save_for_backward(read, middle, a, *more)
        return torch.split(total, [len(b) for b in bs], -1)

    @staticmethod
    def backward(ctx, *dys):  # type: ignore[no-untyped-def]
        read, middle, a, *more = ctx.saved_tensors
        bs, tensors = more[: ctx.layers], more[ctx.layers :]
        middles = torch.split(middle, [b.shape[1] for b in bs], -1)
        dmiddle = torch.cat([dy @ b for dy, b in zip(dys, bs, strict=True)], -1)
        dbs = [dy.T @ one for dy, one in zip(dys, middles, strict=True)]
        dx = KINDS[ctx.kind].gradient(torch.cat(dys, -1), *tensors)
        da, ddropped = dmiddle.T @ read, None
        if ctx.dropout:
            ddropped = dmiddle @ a
        else:
            add_product_(dx, dmiddle, a)
        return dx, ddropped, da, None, None, *dbs, *(None for _ in tensors)


@torch.library.custom_op("steep::add_product_", mutates_args={"total"})
def add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right`` in its place: written as a sum, the compiler would copy ``total`` first."""
    total.addmm_(left, right)

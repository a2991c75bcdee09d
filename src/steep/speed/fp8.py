"""Frozen weights in fp8 (e4m3, Micikevicius et al. 2022, arXiv 2209.05433), multiplied in fp8.

A weight has one scale per output; inputs and gradients are rounded as they come, with one scale per token. The weights
are held twice, once turned, since the GPU multiplies e4m3 in one layout only; both are the same numbers, so the
gradient is that of the forward pass. The twin multiplies the rounded numbers in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steep.errors import ModelError

E4M3 = torch.float8_e4m3fn
LARGEST, SMALLEST = torch.finfo(E4M3).max, 1e-30


class Fp8Linear(torch.nn.Linear):
    """A frozen linear layer. ``weight`` is (outputs, inputs), ``scale`` (outputs, 1) in float32, ``turned`` (inputs,
    outputs). e4m3 is held as bytes: PEFT would start adapters in the number format of the weights."""

    scale: Tensor
    turned: Tensor

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        rounded, scale = by_rows(layer.weight.data)
        self.weight = torch.nn.Parameter(rounded.view(torch.uint8), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("turned", rounded.T.contiguous().view(torch.uint8), persistent=False)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, scale and turned weight."""
        return self.weight.view(E4M3), self.scale, self.turned.view(E4M3)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = _Product.apply(x.flatten(0, -2), *self.tensors)  # type: ignore[no-untyped-call]
        total = total.view(*x.shape[:-1], -1)
        return total if self.bias is None else total + self.bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, scale, turned):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(weight, scale, turned)
        return differentiable(forward(x, weight, scale, turned), x)

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        return gradient(dy, *ctx.saved_tensors), None, None, None


def differentiable(total: Tensor, source: Tensor) -> Tensor:
    """``total``, in a form that the compiler of PyTorch 2.11 does not take for one without a gradient: it goes by what
    a product in fp8 says of itself, and would leave out the backward pass without a word."""
    return total + 0 * source[:1, :1] if torch.compiler.is_compiling() else total


def by_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` in e4m3 and the float32 scale of each row, (rows, 1), by which it was divided."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=SMALLEST) / LARGEST
    return (x.float() / scale).to(E4M3), scale


def forward(x: Tensor, weight: Tensor, scale: Tensor, turned: Tensor) -> Tensor:
    """(tokens, outputs), in the number format of ``x``."""
    return product(x, weight, scale)


def gradient(dy: Tensor, weight: Tensor, scale: Tensor, turned: Tensor) -> Tensor:
    """(tokens, inputs): the weights' scales go with ``dy``, so that the turned weights need none."""
    return product_of_gradient(dy, turned, scale)


def product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return scaled_product(*by_rows(x), weight, scale, x.dtype)


def product_of_gradient(dy: Tensor, turned: Tensor, scale: Tensor) -> Tensor:
    ones = torch.ones(turned.shape[0], 1, device=dy.device)
    return scaled_product(*by_rows(dy * scale.T.to(dy.dtype)), turned, ones, dy.dtype)


def scaled_product(x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``(x * x_scale) @ (weight * weight_scale).T``: on a GPU in fp8, elsewhere in float32."""
    if not x.is_cuda:
        return ((x.float() * x_scale) @ (weight.float() * weight_scale).T).to(dtype)
    return torch._scaled_mm(
        x, weight.T, scale_a=x_scale, scale_b=weight_scale.T, out_dtype=torch.bfloat16, use_fast_accum=True
    ).to(dtype)


def join(layers: Sequence[Fp8Linear]) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, scale and turned weight of layers as one; the layers' own become parts of them."""
    weight = torch.cat([layer.weight.data for layer in layers])
    scale = torch.cat([layer.scale for layer in layers])
    turned = torch.cat([layer.turned for layer in layers], 1)
    begin = 0
    for layer in layers:
        part = slice(begin, begin + layer.out_features)
        layer.weight.data, layer.scale, layer.turned = weight[part], scale[part], turned[:, part]
        begin = part.stop
    return weight.view(E4M3), scale, turned.view(E4M3)


def check_gpu(option: str, otherwise: str) -> None:
    """Raises ModelError on a GPU that has no fp8."""
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (9, 0):
        raise ModelError(
            f"{option} needs a GPU of the Hopper generation or newer, and {torch.cuda.get_device_name()} is older: "
            f"{otherwise}"
        )


def check_size(option: str, name: str, layer: torch.nn.Linear, otherwise: str) -> None:
    """Raises ModelError for a layer that products in fp8 do not take."""
    if layer.in_features % 16 or layer.out_features % 16:
        size = f"{layer.in_features} x {layer.out_features}"
        raise ModelError(f"{option} multiplies in steps of 16, and {name} is {size}: {otherwise}")


def hold_in_fp8(model: torch.nn.Module, whole: Sequence[str]) -> None:
    """Put every linear layer's weights into fp8, but for those whose name ends with one of ``whole``.

    Raises ModelError on a GPU that has no fp8, and for sizes that its products do not take.
    """
    check_gpu("model.quantization: fp8", "take nf4, or none")
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, torch.nn.Linear) or name.endswith(tuple(whole)):
            continue
        check_size("model.quantization: fp8", name, layer, "take nf4, or none")
        _replace(model, name, Fp8Linear(layer))
    vars(model)["is_loaded_in_fp8"] = True


def make_whole(model: torch.nn.Module) -> None:
    """Put the rounded weights back into plain linear layers, in float32."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Fp8Linear):
            plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            weight, scale, _ = layer.tensors
            plain.weight = torch.nn.Parameter(weight.float() * scale, requires_grad=False)
            plain.bias = layer.bias
            _replace(model, name, plain)


def _replace(model: torch.nn.Module, name: str, layer: torch.nn.Linear) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)

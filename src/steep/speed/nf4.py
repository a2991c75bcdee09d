"""Frozen weights as bitsandbytes keeps them in nf4 (Dettmers et al. 2023, arXiv 2305.14314), made whole for a moment.

On a GPU one kernel reads a layer's four bits and both levels of its constants and writes bfloat16, or e4m3 in the
layout that the product needs. Nothing is kept for the backward pass, which makes the weight anew: the memory of one
weight serves them all. The twin is bitsandbytes' own dequantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from steep.speed import fp8

BLOCK, OUTER = 64, 256
"""Weights that share a constant, and constants that share another."""
PARTS = 5
"""Tensors of a layer: bits, constants, and of the constants the constants, code and offset (empty where there are
none)."""
FORMS = {"bfloat16": torch.bfloat16, "float32": torch.float32, "e4m3": fp8.E4M3, "turned": fp8.E4M3}


def holds(layer: Any) -> bool:
    """Whether a layer's weights are nf4 ones that can be read here."""
    state = getattr(layer.weight, "quant_state", None)
    return (
        state is not None and state.quant_type == "nf4" and state.blocksize == BLOCK and not layer.in_features % BLOCK
    )


def tensors_of(layers: Sequence[Any]) -> tuple[Tensor, ...]:
    """First the scale that e4m3 needs for each output, (outputs, 1): since -1 and 1 are in nf4's code, the largest
    weight of a block is its constant."""
    found: list[Tensor] = []
    scales = []
    for layer in layers:
        state = layer.weight.quant_state
        none = torch.empty(0, device=layer.weight.device)
        nested = (state.state2.absmax, state.state2.code, state.offset.reshape(1)) if state.nested else (none,) * 3
        part = (layer.weight.data, state.absmax, *nested)
        scales.append(_constants(*part[1:]).view(layer.out_features, -1).amax(1, keepdim=True) / fp8.LARGEST)
        found += part
    return (torch.cat(scales), *found)


def _constants(absmax: Tensor, absmax2: Tensor, code2: Tensor, offset: Tensor) -> Tensor:
    """One for each block, in float32."""
    if not absmax2.numel():
        return absmax
    return code2[absmax.int()] * absmax2.repeat_interleave(OUTER)[: absmax.numel()] + offset


def forward(x: Tensor, scale: Tensor, *parts: Tensor) -> Tensor:
    """As in `steep.speed.products`; so are those that follow."""
    return x @ _whole(parts, scale, x.shape[1], _form(x), 0).T


def gradient(dy: Tensor, scale: Tensor, *parts: Tensor) -> Tensor:
    return dy @ _whole(parts, scale, _inputs(dy, parts), _form(dy), 1)


def forward_in_fp8(x: Tensor, scale: Tensor, *parts: Tensor) -> Tensor:
    return fp8.product(x, _whole(parts, scale, x.shape[1], "e4m3", 0), scale)


def gradient_in_fp8(dy: Tensor, scale: Tensor, *parts: Tensor) -> Tensor:
    return fp8.product_of_gradient(dy, _whole(parts, scale, _inputs(dy, parts), "turned", 1), scale)


def _whole(parts: Sequence[Tensor], scale: Tensor, inputs: int, form: str, use: int) -> Tensor:
    made: Tensor = whole(list(parts), scale, inputs, form, use)
    return made


def _form(x: Tensor) -> str:
    return "float32" if x.dtype == torch.float32 else "bfloat16"


def _inputs(dy: Tensor, parts: Sequence[Tensor]) -> int:
    return 2 * sum(bits.numel() for bits in parts[::PARTS]) // dy.shape[1]


@torch.library.custom_op("steep::whole", mutates_args=())
def whole(parts: Sequence[Tensor], scale: Tensor, inputs: int, form: str, use: int) -> Tensor:
    """The weights of some layers as one: (outputs, inputs), or turned. e4m3 is divided by ``scale``.

    ``use`` tells the forward pass (0) from the backward pass (1): of two equal calls the compiler would make one, and
    keep its result.
    """
    out: Tensor = whole_fake(parts, scale, inputs, form, use)
    make, begin = (_by_kernel if out.is_cuda else _by_lookup), 0
    for place in range(0, len(parts), PARTS):
        layer = parts[place : place + PARTS]
        end = begin + 2 * layer[0].numel() // inputs
        make(layer, scale[begin:end], out[:, begin:end] if form == "turned" else out[begin:end], form)
        begin = end
    return out


@whole.register_fake
def whole_fake(parts: Sequence[Tensor], scale: Tensor, inputs: int, form: str, use: int) -> Tensor:
    outputs = 2 * sum(bits.numel() for bits in parts[::PARTS]) // inputs
    shape = (inputs, outputs) if form == "turned" else (outputs, inputs)
    return torch.empty(shape, dtype=FORMS[form], device=scale.device)


@cache
def nf4_code(device: torch.device) -> Tensor:
    """The sixteen numbers that four bits stand for."""
    from bitsandbytes.functional import get_4bit_type

    code: Tensor = get_4bit_type("nf4", device=device)
    return code


def _by_lookup(layer: Sequence[Tensor], scale: Tensor, out: Tensor, form: str) -> None:
    bits, *constants = layer
    code = nf4_code(bits.device)
    halves = torch.stack([bits.flatten() >> 4, bits.flatten() & 15], dim=1)
    weight = (code[halves.int()].view(-1, BLOCK) * _constants(*constants)[:, None]).view(scale.shape[0], -1)
    out.copy_(weight if form in ("bfloat16", "float32") else (weight / scale).T if form == "turned" else weight / scale)


def _by_kernel(layer: Sequence[Tensor], scale: Tensor, out: Tensor, form: str) -> None:
    from steep.speed.kernels import write_nf4

    write_nf4(layer, scale, out, form)

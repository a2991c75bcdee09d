"""Kernels for GPUs, in Triton, which comes with PyTorch there; imported only where they run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from steep.speed.nf4 import BLOCK, OUTER, nf4_code

ROWS, COLUMNS = 16, 256


@triton.jit  # type: ignore[untyped-decorator]
def _decoded(four, CODE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The numbers of nf4's code by a tree of choices: sixteen entries of a table would have to be fetched."""
    third, second, first, zeroth = (four & 8) != 0, (four & 4) != 0, (four & 2) != 0, (four & 1) != 0
    a = tl.where(first, tl.where(zeroth, CODE[3], CODE[2]), tl.where(zeroth, CODE[1], CODE[0]))
    b = tl.where(first, tl.where(zeroth, CODE[7], CODE[6]), tl.where(zeroth, CODE[5], CODE[4]))
    c = tl.where(first, tl.where(zeroth, CODE[11], CODE[10]), tl.where(zeroth, CODE[9], CODE[8]))
    d = tl.where(first, tl.where(zeroth, CODE[15], CODE[14]), tl.where(zeroth, CODE[13], CODE[12]))
    return tl.where(third, tl.where(second, d, c), tl.where(second, b, a))


@triton.jit  # type: ignore[untyped-decorator]
def _write_nf4(  # type: ignore[no-untyped-def]
    bits, absmax, absmax2, code2, offset, scale, out, rows, columns, row_stride, column_stride,
    CODE: tl.constexpr, BLOCK: tl.constexpr, OUTER: tl.constexpr, NESTED: tl.constexpr, SCALED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of ROWS x COLUMNS weights: each byte holds two neighbours, the first in its upper half."""
    BLOCKS: tl.constexpr = COLUMNS // BLOCK
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    inside = (row[:, None] < rows) & (block[None, :] < columns // BLOCK)
    at = row[:, None].to(tl.int64) * (columns // BLOCK) + block[None, :]
    constant = tl.load(absmax + at, mask=inside, other=0)
    if NESTED:
        outer = tl.load(absmax2 + at // OUTER, mask=inside, other=0)
        constant = tl.load(code2 + constant.to(tl.int32)) * outer + tl.load(offset)
    if SCALED:
        constant = constant / tl.load(scale + row, mask=row < rows, other=1.0)[:, None]
    pair = at[:, :, None] * (BLOCK // 2) + tl.arange(0, BLOCK // 2)[None, None, :]
    byte = tl.load(bits + pair, mask=inside[:, :, None], other=0).to(tl.int32)
    both = tl.join(_decoded(byte >> 4, CODE), _decoded(byte & 15, CODE)) * constant[:, :, None, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    to = out + row[:, None].to(tl.int64) * row_stride + column[None, :].to(tl.int64) * column_stride
    weight = tl.reshape(both, (ROWS, COLUMNS)).to(out.dtype.element_ty)
    tl.store(to, weight, mask=(row[:, None] < rows) & (column[None, :] < columns))


def write_nf4(layer: Sequence[Tensor], scale: Tensor, out: Tensor, form: str) -> None:
    """Fill ``out`` with a layer's weights; see `steep.speed.nf4.whole`."""
    turned = out.T if form == "turned" else out
    rows, columns = turned.shape
    height, width = (64, 64) if form == "turned" else (ROWS, COLUMNS)
    _write_nf4[triton.cdiv(rows, height), triton.cdiv(columns, width)](
        *layer, scale, out, rows, columns, *turned.stride(),
        _code(), BLOCK, OUTER, bool(layer[2].numel()), form in ("e4m3", "turned"), height, width,
    )  # fmt: skip


@cache
def _code() -> tuple[float, ...]:
    return tuple(nf4_code(torch.device("cpu")).tolist())

"""Kernels for GPUs, in Triton, which comes with PyTorch there; imported only where they run."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from steep.speed.nf4 import BLOCK, OUTER, nf4_code

ROWS, COLUMNS = 64, 128


@triton.jit  # type: ignore[untyped-decorator]
def _write_nf4(  # type: ignore[no-untyped-def]
    bits, absmax, absmax2, code2, offset, code, scale, out, rows, columns, row_stride, column_stride,
    BLOCK: tl.constexpr, OUTER: tl.constexpr, NESTED: tl.constexpr, SCALED: tl.constexpr,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """A tile of ROWS x 2 HALF weights: each byte holds two neighbours, the first in its upper half."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    pair = tl.program_id(1) * HALF + tl.arange(0, HALF)[None, :]
    inside = (row < rows) & (2 * pair < columns)
    at = row.to(tl.int64) * (columns // 2) + pair
    byte = tl.load(bits + at, mask=inside, other=0).to(tl.int32)
    block = 2 * at // BLOCK
    constant = tl.load(absmax + block, mask=inside, other=0)
    if NESTED:
        outer = tl.load(absmax2 + block // OUTER, mask=inside, other=0)
        constant = tl.load(code2 + constant.to(tl.int32)) * outer + tl.load(offset)
    if SCALED:
        constant = constant / tl.load(scale + row, mask=row < rows, other=1.0)
    first = tl.load(code + (byte >> 4)) * constant
    second = tl.load(code + (byte & 15)) * constant
    both = tl.reshape(tl.join(first, second), (ROWS, 2 * HALF))
    column = tl.program_id(1) * 2 * HALF + tl.arange(0, 2 * HALF)[None, :]
    to = out + row.to(tl.int64) * row_stride + column.to(tl.int64) * column_stride
    tl.store(to, both.to(out.dtype.element_ty), mask=(row < rows) & (column < columns))


def write_nf4(layer: Sequence[Tensor], scale: Tensor, out: Tensor, form: str) -> None:
    """Fill ``out`` with a layer's weights; see `steep.speed.nf4.whole`."""
    turned = out.T if form == "turned" else out
    rows, columns = turned.shape
    _write_nf4[triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS)](
        *layer, nf4_code(out.device), scale, out, rows, columns, *turned.stride(),
        BLOCK, OUTER, bool(layer[2].numel()), form in ("e4m3", "turned"), ROWS, COLUMNS // 2,
    )  # fmt: skip

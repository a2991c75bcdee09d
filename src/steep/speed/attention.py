"""Causal attention over packed rows that never crosses from one document to another.

A packed row holds several documents; the collator's ``cu_seq_lens_q`` says where each begins. On CUDA one call serves
the whole row: cuDNN's where all documents are of one length, which it knows as a batch, and else the variable-length
flash attention (Dao 2023, arXiv 2307.08691) that comes with PyTorch. On the CPU each document is attended to by
itself: a block-diagonal mask over the row costs 4.5 times as much, because it computes what it then hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from steep.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "steep_packed"
DENSE_SIZES, DENSE_FROM = (64, 128), 256
"""Sizes of a head, and length of the documents from which on, cuDNN is faster."""


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make this model attend within documents only; every batch must then bring ``cu_seq_lens_q``."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
    model.set_attn_implementation(NAME)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function in transformers' form: (1, heads, tokens, size) in, (1, tokens, heads, size) out.

    ``max_length_q`` may be a tensor on the host, whose value no compiled code depends on. Raises ValueError where the
    batch says nothing of its documents: attending over all of it would leak silently, and ModelError where the model's
    attention is more than causal.
    """
    starts: Tensor | None = kwargs.get("cu_seq_lens_q")
    if starts is None or query.shape[0] != 1:
        raise ValueError("packed attention needs one flattened row with cu_seq_lens_q (position ids of its documents)")
    _only_causal(kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    # under autocast the rotary embedding leaves float32 behind, while values come straight from their projection
    query, key = query.to(value.dtype), key.to(value.dtype)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _in_one_call(query, key, value, starts, torch.as_tensor(kwargs["max_length_q"]), scale), None
    return _one_by_one(query, key, value, starts, scale), None


def _only_causal(kwargs: dict[str, Any]) -> None:
    window = kwargs.get("sliding_window")
    cut = window is not None and int(kwargs["max_length_q"]) > window
    for name, found in (("sliding_window", cut), ("softcap", kwargs.get("softcap")), ("s_aux", kwargs.get("s_aux"))):
        if found is not None and found is not False:
            raise ModelError(f"packed attention does not know this model's {name}: set train.packing to false")


def _in_one_call(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: Tensor, scale: float) -> Tensor:
    query, key, value = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    found: Tensor = causal_attention(query, key, value, starts, longest, scale)[0]
    return found.unsqueeze(0)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # else compiled anew for each number of documents
def _one_by_one(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    return per_document(query, key, value, starts.tolist(), scale)


def per_document(query: Tensor, key: Tensor, value: Tensor, starts: list[int], scale: float | None) -> Tensor:
    """The plain twin: one causal attention per document."""
    outputs = [
        scaled_dot_product_attention(
            query[:, :, begin:end],
            key[:, :, begin:end],
            value[:, :, begin:end],
            is_causal=True,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for begin, end in pairwise(starts)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


@torch.library.custom_op("steep::causal_attention", mutates_args=())
def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """(tokens, heads, size) each, keys and values with as many heads or fewer; returns that and the log of the scores'
    sum, (heads * tokens). One kernel for the whole row, of bfloat16 or float16 on CUDA."""
    most = int(longest)
    if _as_batch(query, starts, most):
        found = torch.ops.aten._scaled_dot_product_cudnn_attention(
            *(_batch(part, most) for part in (query, key, value)), None, True, 0.0, True, False, scale=scale
        )
        return found[0].transpose(1, 2).reshape(query.shape).contiguous(), found[1].flatten()
    found = torch.ops.aten._flash_attention_forward(
        query, key, value, starts, starts, most, most, 0.0, True, False, scale=scale
    )
    return found[0], found[1].flatten()


@causal_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query), query.new_empty(query.shape[0] * query.shape[1], dtype=torch.float32)


@torch.library.custom_op("steep::causal_attention_backward", mutates_args=())
def _backward(
    grad: Tensor, saved: Sequence[Tensor], starts: Tensor, longest: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``saved``: query, key, value, output, and the log of the scores' sum."""
    query, key, value, output, summed = saved
    most, (tokens, heads, _) = int(longest), query.shape
    unused = torch.zeros((), dtype=torch.int64, device=query.device)  # random numbers of a dropout that there is not
    if _as_batch(query, starts, most):
        parts = (_batch(part, most) for part in (grad.contiguous(), query, key, value, output))
        found = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            *parts,
            summed.view(tokens // most, heads, most, 1),
            *(unused, unused, None, None, None, most, most, 0.0, True),
            scale=scale,
        )
        dq, dk, dv = (one.transpose(1, 2).flatten(0, 1).contiguous() for one in found)
        return dq, dk, dv
    state = torch.zeros(2, dtype=torch.uint64, device=query.device)
    dq, dk, dv = torch.ops.aten._flash_attention_backward(
        *(grad.contiguous(), query, key, value, output, summed.view(heads, tokens)),
        *(starts, starts, most, most, 0.0, True, state, unused),
        scale=scale,
    )
    return dq, dk, dv


@_backward.register_fake
def _(
    grad: Tensor, saved: Sequence[Tensor], starts: Tensor, longest: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = saved[:3]
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.scale = inputs[-1]
    ctx.save_for_backward(*inputs[:3], *output, *inputs[3:5])


def _differentiate(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    *saved, starts, longest = ctx.saved_tensors
    return (*_backward(grad, saved, starts, longest, ctx.scale), None, None, None)


causal_attention.register_autograd(_differentiate, setup_context=_keep)


def _as_batch(query: Tensor, starts: Tensor, longest: int) -> bool:
    """Whether all documents are as long as the longest, and cuDNN knows the head's size."""
    equal = longest * (len(starts) - 1) == query.shape[0]
    return equal and longest >= DENSE_FROM and query.shape[-1] in DENSE_SIZES


def _batch(part: Tensor, length: int) -> Tensor:
    """(tokens, heads, size) as (documents, heads, length, size)."""
    return part.view(-1, length, *part.shape[1:]).transpose(1, 2)

"""Causal attention over packed rows that never crosses from one document to another.

A packed row holds several documents; the collator's ``cu_seq_lens_q`` says where each begins. On CUDA one call of
PyTorch's variable-length flash attention serves the whole row. On the CPU each document is attended to by itself: a
block-diagonal mask over the row costs 4.5 times as much, because it computes what it then hides.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from steep.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "steep_packed"


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

    Raises ValueError where the batch says nothing of its documents: attending over all of it would leak silently, and
    ModelError where the model's attention is more than causal.
    """
    starts: Tensor | None = kwargs.get("cu_seq_lens_q")
    if starts is None or query.shape[0] != 1:
        raise ValueError("packed attention needs one flattened row with cu_seq_lens_q (position ids of its documents)")
    _only_causal(kwargs)
    scale: float | None = kwargs.get("scaling")
    # under autocast the rotary embedding leaves float32 behind, while values come straight from their projection
    query, key = query.to(value.dtype), key.to(value.dtype)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _flash(query, key, value, starts, kwargs["max_length_q"], scale), None
    return per_document(query, key, value, starts.tolist(), scale), None


def _only_causal(kwargs: dict[str, Any]) -> None:
    window = kwargs.get("sliding_window")
    cut = window is not None and kwargs["max_length_q"] > window
    for name, found in (("sliding_window", cut), ("softcap", kwargs.get("softcap")), ("s_aux", kwargs.get("s_aux"))):
        if found is not None and found is not False:
            raise ModelError(f"packed attention does not know this model's {name}: set train.packing to false")


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


def _flash(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, scale: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]  # torch 2.11 has no enable_gqa here: keys and values are repeated
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    query, key, value = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    output = varlen_attn(query, key, value, starts, starts, longest, longest, scale=scale, window_size=(-1, 0))
    assert isinstance(output, Tensor)  # a pair only where return_aux is given
    return output.unsqueeze(0)

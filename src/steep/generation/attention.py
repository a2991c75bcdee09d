"""Attention of one new token per row, without a copy of keys and values for each head.

Heads that share keys and values (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245) are given to PyTorch
as queries of one head. transformers 5.17 repeats keys and values for each head instead where there is a mask: with 32
heads on 8 it writes and reads four times what is there, in every layer and step. 5.23 does as we do here, so this can
go when it is the oldest that is supported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "steep_grouped"


@contextmanager
def grouped_attention(model: PreTrainedModel) -> Iterator[None]:
    """For a model that attends through PyTorch's own function; another choice is left as it is."""
    before = model.config._attn_implementation
    if before != "sdpa":
        yield
        return
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention function in transformers' form: (rows, heads, 1, size) in, (rows, 1, heads, size) out.

    All that is not plain attention of one token per row, with a mask that the heads share, goes to transformers' own
    function.
    """
    rows, heads, tokens, size = query.shape
    more = any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "position_bias"))
    if more or tokens > 1 or attention_mask is None or heads == key.shape[1] or attention_mask.shape[1] > 1:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found
    grouped = query.reshape(rows, key.shape[1], -1, size)
    output = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"))
    return output.reshape(rows, 1, heads, value.shape[-1]), None

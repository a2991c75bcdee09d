from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from steep.errors import ModelError
from steep.speed.attention import packed_attention

HEADS, SIZE = 4, 8


def parts(kv_heads, tokens):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(1, heads, tokens, SIZE, generator=generator).requires_grad_()
        for heads in (HEADS, kv_heads, kv_heads)
    ]


def eager(query, key, value, lengths):
    """transformers' eager attention with a block-diagonal causal mask."""
    from transformers.models.llama.modeling_llama import eager_attention_forward

    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = (documents[:, None] == documents[None]).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))[None, None]
    module = SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], training=False)
    return eager_attention_forward(module, query, key, value, mask, scaling=0.3)[0]


def packed(query, key, value, lengths, **more):
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    known = {"cu_seq_lens_q": starts, "max_length_q": max(lengths), "scaling": 0.3}
    return packed_attention(torch.nn.Identity(), query, key, value, None, **known, **more)[0]


@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("lengths", [[5, 9, 3], [1, 1, 6, 1], [12], [1]])
def test_packed_attention_and_its_gradients_equal_eager_attention_with_a_block_diagonal_mask(kv_heads, lengths):
    ours, twins = parts(kv_heads, sum(lengths)), parts(kv_heads, sum(lengths))
    found, expected = packed(*ours, lengths), eager(*twins, lengths)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    gradients = (torch.autograd.grad((out * weights).sum(), of) for out, of in ((found, ours), (expected, twins)))
    for ours_grad, twins_grad in zip(*gradients, strict=True):
        torch.testing.assert_close(ours_grad, twins_grad, rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_say_where_documents_begin_is_refused():
    with pytest.raises(ValueError, match="needs one flattened row with cu_seq_lens_q"):
        packed_attention(torch.nn.Identity(), *parts(2, 6), None, scaling=0.3)


def test_rows_that_are_not_flattened_are_refused():
    query, key, value = (part.repeat(2, 1, 1, 1) for part in parts(2, 6))
    with pytest.raises(ValueError, match="needs one flattened row"):
        packed(query, key, value, [6])


@pytest.mark.parametrize("more", [{"softcap": 50.0}, {"s_aux": torch.zeros(HEADS)}, {"sliding_window": 4}])
def test_attention_that_is_more_than_causal_is_refused(more):
    with pytest.raises(ModelError, match=f"does not know this model's {next(iter(more))}: set train.packing to false"):
        packed(*parts(2, 6), [6], **more)


def test_a_sliding_window_that_no_document_reaches_changes_nothing():
    row = parts(2, 9)
    assert torch.equal(packed(*row, [4, 5], sliding_window=5), packed(*row, [4, 5]))

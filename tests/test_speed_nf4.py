"""Weights of four bits made whole, and their products, against bitsandbytes' own."""

from __future__ import annotations

import pytest
import torch

from steep.speed import fp8, nf4
from steep.speed.products import KINDS, frozen

bnb = pytest.importorskip("bitsandbytes")
INPUTS = 192


def layers(outputs=(128, 65, 2), *, nested=True):
    torch.manual_seed(0)
    return [
        bnb.nn.Linear4bit(INPUTS, size, False, torch.float32, nested, "nf4").requires_grad_(False).to("cpu")
        for size in outputs
    ]


def dequantised(given):
    from bitsandbytes.functional import dequantize_4bit

    return torch.cat([dequantize_4bit(layer.weight.data, layer.weight.quant_state) for layer in given])


def whole(given, form):
    scale, *parts = nf4.tensors_of(given)
    return nf4.whole(parts, scale, INPUTS, form, 0), scale


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("outputs", [(128, 65, 2), (1,), (400, 400)])
def test_weights_are_made_whole_exactly(outputs, nested):
    given = layers(outputs, nested=nested)
    assert nf4.holds(given[0])
    expected = dequantised(given)
    assert torch.equal(whole(given, "float32")[0], expected)
    assert torch.equal(whole(given, "bfloat16")[0], expected.bfloat16())


@pytest.mark.parametrize("nested", [True, False])
def test_in_e4m3_they_are_scaled_by_the_largest_of_each_row_and_turned_they_are_the_same(nested):
    given = layers(nested=nested)
    expected = dequantised(given)
    found, scale = whole(given, "e4m3")
    rounded, own = fp8.by_rows(expected)
    torch.testing.assert_close(scale, own, rtol=1e-6, atol=0)
    assert (found.float() - rounded.float()).abs().max() <= 32  # a tie of two neighbours may fall to either
    assert ((found.float() * scale - expected).abs() <= expected.abs() * 2**-4 + scale * 2**-9).all()
    turned, _ = whole(given, "turned")
    assert turned.is_contiguous()
    assert torch.equal(turned.float().T, found.float())


def test_what_the_compiler_is_told_of_their_sizes_is_true():
    scale, *parts = nf4.tensors_of(layers())
    for form in nf4.FORMS:
        torch.library.opcheck(nf4.whole, (parts, scale, INPUTS, form, 0))


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("tokens", [1, 13])
def test_products_are_those_with_the_dequantised_weights(tokens, nested):
    given = layers(nested=nested)
    joined, weight = frozen(given), dequantised(given)
    assert joined.kind == "nf4"
    torch.manual_seed(1)
    x, dy = torch.randn(tokens, INPUTS), torch.randn(tokens, len(weight))
    forward, gradient = KINDS["nf4"]
    torch.testing.assert_close(forward(x, *joined.tensors), x @ weight.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient(dy, *joined.tensors), dy @ weight, rtol=1e-6, atol=1e-6)
    half = forward(x.bfloat16(), *joined.tensors)
    assert torch.equal(half, x.bfloat16() @ weight.bfloat16().T)


def test_in_fp8_products_are_those_with_weights_and_inputs_rounded_once():
    given = layers()
    joined = frozen(given, in_fp8=True)
    assert joined.kind == "nf4-fp8"
    codes, scale = whole(given, "e4m3")
    weight = codes.float() * scale
    torch.manual_seed(1)
    x, dy = torch.randn(13, INPUTS), torch.randn(13, len(weight)) * 1e-9
    forward, gradient = KINDS["nf4-fp8"]
    rounded, by = fp8.by_rows(x)
    torch.testing.assert_close(forward(x, *joined.tensors), (rounded.float() * by) @ weight.T, rtol=1e-5, atol=1e-5)
    found = gradient(dy, *joined.tensors)
    assert torch.cosine_similarity(found.flatten(), (dy @ weight).flatten(), 0) > 0.995
    assert found.norm() / (dy @ weight).norm() == pytest.approx(1, abs=0.01)


def test_other_four_bits_are_not_taken_for_nf4():
    fp4 = bnb.nn.Linear4bit(INPUTS, 8, False, torch.float32, quant_type="fp4").to("cpu")
    narrow = bnb.nn.Linear4bit(32, 8, False, torch.float32, quant_type="nf4").to("cpu")
    assert not any(nf4.holds(layer) for layer in (fp4, narrow, torch.nn.Linear(64, 8)))

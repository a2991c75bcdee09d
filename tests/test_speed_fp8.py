"""Weights in fp8: the numbers of their twin, which multiplies what was rounded in float32."""

from __future__ import annotations

import copy

import pytest
import torch

from steep.errors import ModelError
from steep.models import load_model, quantization_of
from steep.speed import fp8
from steep.speed.fp8 import Fp8Linear, hold_in_fp8, join, make_whole
from steep.speed.lora import share_inputs

EXACT = {"rtol": 1e-5, "atol": 1e-6}


def linear(outputs=48, inputs=64, *, bias=False, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


def rounded(x):
    """To e4m3 and back, row by row."""
    codes, scale = fp8.by_rows(x)
    return codes.float() * scale


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_rows_are_rounded_to_three_bits_whatever_their_size(size):
    x = torch.randn(50, 200, generator=torch.Generator().manual_seed(0)) * size
    x[3] = 0
    codes, scale = fp8.by_rows(x)
    assert codes.dtype == torch.float8_e4m3fn
    assert codes.float().abs().amax(1)[[0, 1, 2, 4]].tolist() == [448] * 4
    least = scale * 2**-10  # half of the smallest step there is
    assert ((codes.float() * scale - x).abs() <= (x.abs() * 2**-4).maximum(least) * 1.0001).all()
    assert (codes[3].float() == 0).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (1, 33)])
def test_a_layer_multiplies_rounded_inputs_with_rounded_weights(shape, bias):
    plain = linear(bias=bias)
    layer, x = Fp8Linear(plain), torch.randn(*shape, 64, generator=torch.Generator().manual_seed(1))
    expected = rounded(x) @ rounded(plain.weight).T + (plain.bias if bias else 0)
    torch.testing.assert_close(layer(x), expected, **EXACT)
    if bias:
        plain.bias.data = plain.bias.data.bfloat16()
    x = x.bfloat16()
    expected = rounded(x.float()) @ rounded(plain.weight).T + (plain.bias if bias else 0)
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x).float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("size", [1.0, 1e-9, 1e-20])
def test_the_gradient_is_that_of_the_rounded_weights_however_small_it_is(size):
    plain = linear()
    x = torch.randn(9, 64, requires_grad=True)
    dy = torch.randn(9, 48, generator=torch.Generator().manual_seed(2)) * size
    Fp8Linear(plain)(x).backward(dy)
    expected = dy @ rounded(plain.weight)
    assert torch.cosine_similarity(x.grad.flatten() / size, expected.flatten() / size, 0) > 0.995
    assert x.grad.norm() / expected.norm() == pytest.approx(1, abs=0.01)
    with_scales = rounded(dy * fp8.by_rows(plain.weight)[1].T) @ fp8.by_rows(plain.weight)[0].float()
    torch.testing.assert_close(x.grad / size, with_scales / size, **EXACT)


def test_the_turned_weights_are_the_same_numbers():
    layer = Fp8Linear(linear())
    weight, scale, turned = layer.tensors
    assert torch.equal(turned.float().T, weight.float())
    assert torch.equal(weight.float() * scale, rounded(linear().weight))
    assert turned.is_contiguous()
    assert not layer.weight.requires_grad


def test_adapters_start_in_float32_as_they_would_beside_plain_weights():
    from peft import LoraConfig, get_peft_model

    found = []
    for layer in (Fp8Linear(linear()), linear()):
        torch.manual_seed(0)
        tuned = get_peft_model(torch.nn.Sequential(layer), LoraConfig(target_modules=["0"]))
        found.append(tuned.base_model.model[0].lora_A["default"].weight)
    assert found[0].dtype == torch.float32
    assert torch.equal(*found)


def test_products_of_nf4_in_fp8_are_refused_on_a_gpu_that_is_too_old(monkeypatch, tiny_model):
    too_old(monkeypatch)
    with pytest.raises(ModelError, match=r"train\.fp8 needs a GPU of the Hopper generation .*: set it to false"):
        share_inputs(tiny_model, in_fp8=True)


def test_joined_layers_are_parts_of_one_and_compute_what_they_did():
    layers = [Fp8Linear(linear(outputs, seed=outputs)) for outputs in (48, 16, 32)]
    x = torch.randn(5, 64, requires_grad=True)
    expected = [layer(x) for layer in layers]
    (before,) = torch.autograd.grad(sum(one.sum() for one in expected), x)
    weight, scale, turned = join(layers)
    assert (weight.shape, scale.shape, turned.shape) == ((96, 64), (96, 1), (64, 96))
    torch.testing.assert_close(fp8.forward(x, weight, scale, turned), torch.cat(expected, 1), **EXACT)
    for layer, one in zip(layers, expected, strict=True):
        assert layer.weight.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
        assert layer.turned.untyped_storage().data_ptr() == turned.untyped_storage().data_ptr()
        torch.testing.assert_close(layer(x), one, **EXACT)
    (after,) = torch.autograd.grad(sum(layer(x).sum() for layer in layers), x)
    torch.testing.assert_close(after, before, **EXACT)


def test_a_model_is_held_in_fp8_but_for_its_output_layer_and_made_whole_again(tiny_model):
    before, ids = copy.deepcopy(tiny_model), torch.arange(5, 25)[None]
    hold_in_fp8(tiny_model, ["lm_head"])
    assert quantization_of(tiny_model) == "fp8"
    kinds = {name: type(one) for name, one in tiny_model.named_modules() if isinstance(one, torch.nn.Linear)}
    assert len(kinds) == 15
    assert {name for name, kind in kinds.items() if kind is torch.nn.Linear} == {"lm_head"}
    found = tiny_model(input_ids=ids).logits
    make_whole(tiny_model)
    assert not any(isinstance(one, Fp8Linear) for one in tiny_model.modules())
    for name, weight in before.named_parameters():
        expected = rounded(weight) if "proj" in name else weight
        assert torch.equal(tiny_model.get_parameter(name), expected), name
    whole = tiny_model(input_ids=ids).logits
    assert 0 < (found - whole).norm() / whole.norm() < 0.1  # of a whole model inputs are not rounded


def test_sizes_that_its_products_do_not_take_are_refused_by_name():
    with pytest.raises(ModelError, match=r"fp8 multiplies in steps of 16, and 1 is 64 x 40: take nf4, or none"):
        hold_in_fp8(torch.nn.Sequential(linear(), linear(40)), ["lm_head"])
    with pytest.raises(ModelError, match=r"0 is 24 x 48"):
        hold_in_fp8(torch.nn.Sequential(linear(48, 24)), ["lm_head"])


def too_old(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Old GPU")


def test_a_gpu_that_is_too_old_is_refused(monkeypatch):
    too_old(monkeypatch)
    with pytest.raises(ModelError, match="needs a GPU of the Hopper generation or newer, and Old GPU is older"):
        hold_in_fp8(torch.nn.Sequential(linear()), [])


def test_a_model_is_loaded_in_fp8(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), dtype=torch.float32, quantization="fp8")
    assert quantization_of(loaded) == "fp8"
    assert isinstance(loaded.model.layers[1].mlp.down_proj, Fp8Linear)

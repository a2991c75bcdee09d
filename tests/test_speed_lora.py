"""Layers that share an input against PEFT's own forward, and their products against plain ones."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from steep.errors import ModelError
from steep.speed.fp8 import hold_in_fp8
from steep.speed.lora import share_inputs
from steep.speed.products import Frozen, adapted, frozen

SMALL = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
CONFIGS = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
IDS = torch.randint(5, 150, (2, 13), generator=torch.Generator().manual_seed(0))


def drawn(parameters, spread):
    generator = torch.Generator().manual_seed(1)
    for name, parameter in parameters:
        if "norm" not in name:
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * spread


def based(family="llama", held="none"):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[family](**SMALL))
    drawn(model.named_parameters(), 0.1)
    if held == "fp8":
        hold_in_fp8(model, ["lm_head"])
    if held == "nf4":
        model.is_loaded_in_4bit = True
        bnb = pytest.importorskip("bitsandbytes")
        for name, layer in [*model.named_modules()]:
            if isinstance(layer, torch.nn.Linear) and "proj" in name:
                four = bnb.nn.Linear4bit(
                    layer.in_features, layer.out_features, layer.bias is not None, torch.float32, quant_type="nf4"
                )
                four.load_state_dict(layer.state_dict())
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, four.to("cpu"))
    return model


def with_adapter(model, **options):
    """B is not zero, so that A has a gradient."""
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    tuned = get_peft_model(model, LoraConfig(**wanted))
    drawn(((name, p) for name, p in tuned.named_parameters() if "lora_" in name), 0.1)
    return tuned.train()


def loss_and_gradients(model):
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_same(found, expected):
    """The loss to a millionth; through two layers, gradients to three of each tensor's length."""
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        assert one.norm() > 0, name
        assert (found[name] - one).norm() <= (1e-6 if name == "loss" else 3e-6) * one.norm(), name


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("held", ["none", "nf4"])
def test_loss_and_gradients_are_those_of_peft(family, held):
    model = with_adapter(based(family, held))
    expected = loss_and_gradients(model)
    shared = share_inputs(model)
    assert [len(one.layers) for one in shared] == [3, 1, 2, 1] * 2
    assert_same(loss_and_gradients(model), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["k_proj"]},
        {"target_modules": ["v_proj", "up_proj", "down_proj"], "r": 3, "lora_alpha": 5},
        {"r": 1},
        {"r": 16, "lora_alpha": 5, "use_rslora": True},
    ],
    ids=["q and v", "k alone", "odd rank", "rank 1", "rslora"],
)
def test_so_they_are_for_chosen_layers_and_any_rank_and_scale(options):
    model = with_adapter(based("qwen2"), **options)
    expected = loss_and_gradients(model)
    assert share_inputs(model)
    assert_same(loss_and_gradients(model), expected)


def test_a_bias_that_only_some_of_the_layers_have_stays_where_it_is():
    base = based("qwen2")
    for layer in base.get_decoder().layers:
        layer.self_attn.k_proj.bias = None
    model = with_adapter(base)
    expected = loss_and_gradients(model)
    share_inputs(model)
    assert_same(loss_and_gradients(model), expected)


def test_of_fp8_weights_the_sum_is_rounded_like_that_of_peft():
    """Gradients are rounded together for layers that share an input, where PEFT's layers round each its own."""
    model = with_adapter(based(held="fp8"))
    expected = loss_and_gradients(model)
    share_inputs(model)
    found = loss_and_gradients(model)
    torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-5, atol=0)
    for name, one in expected.items():
        assert torch.cosine_similarity(found[name].flatten(), one.flatten(), 0) > 0.995, name


def test_products_in_fp8_of_other_sizes_are_refused_by_name():
    bnb = pytest.importorskip("bitsandbytes")
    model = based(held="nf4")
    attention = model.model.layers[0].self_attn
    attention.k_proj = bnb.nn.Linear4bit(64, 40, False, torch.float32, quant_type="nf4").to("cpu")
    tuned = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    with pytest.raises(ModelError, match=r"train.fp8 multiplies in steps of 16, and .*k_proj is 64 x 40: set it to"):
        share_inputs(tuned.get_base_model(), in_fp8=True)


def test_nf4_layers_whose_blocks_lie_across_rows_stay_with_peft():
    bnb = pytest.importorskip("bitsandbytes")
    model = based()
    model.is_loaded_in_4bit = True
    attention = model.get_decoder().layers[0].self_attn
    attention.o_proj = bnb.nn.Linear4bit(32, 128, False, torch.float32, quant_type="nf4").to("cpu")
    tuned = with_adapter(model)
    shared = [layer for one in share_inputs(tuned) for layer in one.layers]
    assert attention.o_proj not in shared
    assert attention.q_proj in shared


def test_weights_are_held_once_and_left_in_place():
    model = with_adapter(based("qwen2"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attention = model.get_decoder().layers[0].self_attn
    shared = share_inputs(model)
    storages = {getattr(attention, name).weight.untyped_storage().data_ptr() for name in ("q_proj", "k_proj", "v_proj")}
    assert len(storages) == 1
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert "forward" in vars(attention.q_proj)
    for one in shared:
        one.take_out()
    assert not any("forward" in vars(layer) for one in shared for layer in one.layers)


def test_a_disabled_adapter_leaves_the_base_model():
    base = based("qwen2")
    expected = base(input_ids=IDS).logits
    model = with_adapter(base)
    share_inputs(model)
    with torch.no_grad(), model.disable_adapter():
        assert torch.equal(model(input_ids=IDS).logits, expected)
    assert (model(input_ids=IDS).logits - expected).abs().max() > 0.01


def test_dropout_is_for_training_alone():
    model = with_adapter(based(), lora_dropout=0.5)
    model.eval()
    expected = model(input_ids=IDS).logits
    share_inputs(model)
    torch.testing.assert_close(model(input_ids=IDS).logits, expected, rtol=1e-5, atol=1e-5)
    model.train()
    assert (model(input_ids=IDS).logits - expected).abs().max() > 0.01
    assert not torch.equal(model(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_dropout_takes_parts_of_the_adapters_input_and_of_its_gradient():
    model = with_adapter(based(), lora_dropout=0.25)
    (shared, *_) = share_inputs(model)
    x = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(2))
    ours, twins = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.manual_seed(3)
    found = [layer(ours) for layer in shared.layers]
    sum((one * (place + 1)).square().sum() for place, one in enumerate(found)).backward()
    gradients = [layer.lora_A["default"].weight.grad for layer in shared.layers]
    torch.manual_seed(3)
    mask = torch.nn.functional.dropout(torch.ones(9, 64), 0.25)[None]
    assert mask.min() == 0
    a = [layer.lora_A["default"].weight.detach().requires_grad_() for layer in shared.layers]
    b = [layer.lora_B["default"].weight for layer in shared.layers]
    weights = [layer.get_base_layer().weight for layer in shared.layers]
    expected = [twins @ w.T + (twins * mask) @ a1.T @ b1.T * 2 for w, a1, b1 in zip(weights, a, b, strict=True)]
    sum((one * (place + 1)).square().sum() for place, one in enumerate(expected)).backward()
    for one, other in zip(
        (*found, ours.grad, *gradients), (*expected, twins.grad, *(one.grad for one in a)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_layers_that_read_different_tensors_are_refused():
    model = with_adapter(based())
    shared = share_inputs(model)[0]
    x = torch.randn(1, 3, 64)
    shared.layers[0](x)
    with pytest.raises(ModelError, match=r"not read one tensor: name one of each in train\.lora\.target_modules, or"):
        shared.layers[1](x.clone())


# --------------------------------------------------------------------------------------------------------- products


def factors(tokens, inputs, outputs, rank):
    generator = torch.Generator().manual_seed(4)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).bfloat16()

    bs = [draw(each, rank) for each in outputs]
    return draw(tokens, inputs), draw(len(outputs) * rank, inputs) / 8, bs, [draw(each, inputs) / 8 for each in outputs]


def plainly(x, a, bs, weights):
    middles = (x @ a.T).split(bs[0].shape[1], -1)
    return [x @ w.T + middle @ b.T for w, middle, b in zip(weights, middles, bs, strict=True)]


def results(function, dtype, x, a, bs, weights):
    """Outputs and the gradients of x, a and all b, in float64."""
    x, a, *bs = (one.to(dtype).requires_grad_() for one in (x, a, *bs))
    found = function(x, a, bs, [one.to(dtype) for one in weights])
    generator = torch.Generator().manual_seed(5)
    grads = [torch.randn(one.shape, generator=generator, dtype=torch.float64).bfloat16().to(dtype) for one in found]
    return [one.double() for one in (*found, *torch.autograd.grad(found, (x, a, *bs), grads))]


def ours(x, a, bs, weights):
    return adapted(x, None, a, bs, Frozen("dense", (torch.cat(weights),), None))


SIZES = [(17, 64, (64, 32, 32), 8), (50, 37, (29, 3), 5), (1, 64, (64, 16, 16), 4), (9, 100, (7,), 1)]


@pytest.mark.parametrize("sizes", SIZES, ids=["three layers", "sizes that divide nothing", "one token", "rank 1"])
def test_in_bfloat16_the_error_is_at_most_half_again_that_of_plain_products(sizes):
    given = factors(*sizes)
    exact, twin = results(plainly, torch.float64, *given), results(plainly, torch.bfloat16, *given)
    for one, other, true in zip(results(ours, torch.bfloat16, *given), twin, exact, strict=True):
        assert (one - true).norm() <= 1.5 * (other - true).norm()
    for one, true in zip(results(ours, torch.float32, *given), exact, strict=True):
        torch.testing.assert_close(one, true, rtol=1e-5, atol=1e-4)


def test_frozen_weights_are_given_no_gradient():
    layers = [torch.nn.Linear(16, size) for size in (8, 4)]
    joined = frozen(layers)
    x, a, bs = torch.randn(3, 16), torch.randn(4, 16, requires_grad=True), [torch.randn(8, 2), torch.randn(4, 2)]
    for layer in layers:
        layer.requires_grad_(requires_grad=False)
    found = adapted(x, None, a, bs, joined)
    for one, plain in zip(found, copy.deepcopy(layers), strict=True):
        begin = 0 if plain.out_features == 8 else 2
        expected = plain(x) + x @ a[begin : begin + 2].T @ bs[begin // 2].T
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)
    sum(one.sum() for one in found).backward()
    assert a.grad.abs().max() > 0
    assert joined.tensors[0].grad is None

"""On a GPU the operations of `steep.speed` against their twins; needs one of the Hopper generation or newer."""

from __future__ import annotations

import copy
import os
from itertools import accumulate

import pytest
import torch

from steep.models import new_model
from steep.preflight import gpus
from steep.recipe import Architecture, Train

HALF = torch.bfloat16


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Other tests do not see it; so this one can only be given it where CUDA has not been asked for yet."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(os.environ, "TORCHDYNAMO_DISABLE", "0")
    if not gpus():
        pytest.skip("needs a GPU")
    if not torch.cuda.is_available():
        pytest.skip("CUDA was initialised without a GPU: run tests/gpu by itself")
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("needs a GPU of the Hopper generation or newer")
    torch.manual_seed(0)
    torch._dynamo.reset()


def error(found, exact):
    return float((found.double() - exact.double()).norm() / exact.double().norm())


# -------------------------------------------------------------------------------------------------------- attention

DOCUMENTS = {
    "equal": [512] * 4,
    "one": [2048],
    "mixed": [300, 1, 700, 47, 1000],
    "an empty one": [300, 0, 212],
    "one token": [1],
}


@pytest.mark.parametrize("sizes", [(128, 8, 2), (64, 4, 4), (96, 4, 1)], ids=["128", "64", "96"])
@pytest.mark.parametrize("lengths", DOCUMENTS.values(), ids=DOCUMENTS)
def test_attention_errs_no_more_than_half_again_as_much_as_its_twin(lengths, sizes):
    from steep.speed.attention import DENSE_SIZES, _as_batch, causal_attention, per_document

    size, heads, kv_heads = sizes
    tokens, starts = sum(lengths), torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device="cuda")
    given = [torch.randn(tokens, n, size, device="cuda", dtype=HALF) for n in (heads, kv_heads, kv_heads)]
    grad = torch.randn(tokens, heads, size, device="cuda", dtype=HALF)
    if len(set(lengths)) == 1 and max(lengths) > 1:
        assert _as_batch(given[0], starts, max(lengths)) == (size in DENSE_SIZES)

    def twin(dtype):
        parts = [part.to(dtype).requires_grad_() for part in given]
        turned = (part.transpose(0, 1)[None].repeat_interleave(heads // part.shape[1], 1) for part in parts)
        found = per_document(*turned, sorted(set(starts.tolist())), size**-0.5)[0]
        return [found, *torch.autograd.grad(found, parts, grad.to(dtype))]

    parts = [part.clone().requires_grad_() for part in given]
    found = causal_attention(*parts, starts, torch.tensor(max(lengths)), size**-0.5)[0]
    ours = [found, *torch.autograd.grad(found, parts, grad)]
    for one, half, exact in zip(ours, twin(HALF), twin(torch.float64), strict=True):
        if exact.norm() < 1e-6:  # a single token attends to itself alone: no gradient of query and key
            assert one.norm() < 1e-2
        else:
            assert error(one, exact) <= 1.5 * error(half, exact) + 1e-6


# ----------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("inputs", [4096, 192])
def test_the_kernel_makes_nf4_weights_whole_exactly(nested, inputs):
    bnb = pytest.importorskip("bitsandbytes")
    from steep.speed import nf4

    layers = [
        bnb.nn.Linear4bit(inputs, outputs, False, HALF, nested, "nf4").to(HALF).cuda() for outputs in (1024, 256, 1000)
    ]
    states = ((layer.weight.data, layer.weight.quant_state) for layer in layers)
    expected = torch.cat([bnb.functional.dequantize_4bit(bits, state) for bits, state in states])
    scale, *parts = nf4.tensors_of(layers)
    assert torch.equal(nf4.whole(parts, scale, inputs, "bfloat16", 0), expected)
    codes = nf4.whole(parts, scale, inputs, "e4m3", 0)
    assert error(codes.float() * scale, expected) < 0.03
    assert torch.equal(nf4.whole(parts, scale, inputs, "turned", 1).float().T, codes.float())
    on_cpu = nf4.whole([part.cpu() for part in parts], scale.cpu(), inputs, "e4m3", 0)
    differing = (on_cpu.float() != codes.float().cpu()).float().mean()
    assert differing < 1e-3  # ties may fall to either neighbour


@pytest.mark.parametrize("tokens", [1, 777])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_products_in_fp8_are_those_of_their_twin_on_the_cpu(tokens, compiled, size):
    """Compiled too: a gradient that is zero or missing was dropped without a word by PyTorch 2.11's compiler."""
    from steep.speed.fp8 import Fp8Linear

    plain = torch.nn.Linear(512, 384, bias=False, dtype=HALF)
    on_cpu = Fp8Linear(plain)
    x, dy = torch.randn(tokens, 512, dtype=HALF), torch.randn(tokens, 384, dtype=HALF) * size
    found = []
    for layer, device in ((on_cpu, "cpu"), (copy.deepcopy(on_cpu).cuda(), "cuda")):
        read = x.to(device).requires_grad_()
        call = torch.compile(layer) if compiled and device == "cuda" else layer
        y = call(read * 1)
        assert y.requires_grad
        y.backward(dy.to(device))
        found.append((y.detach().cpu(), read.grad.cpu()))
    for twin, ours in zip(*found, strict=True):
        assert ours.norm() > 0
        assert error(ours / max(size, 1e-9), twin / max(size, 1e-9)) < 0.01


# -------------------------------------------------------------------------------------------------- loss and adapters


@pytest.mark.parametrize("tokens", [1, 77, 5000])
@pytest.mark.parametrize("trains_head", [False, True])
def test_the_compiled_loss_errs_no_more_than_half_again_as_much_as_its_twin(tokens, trains_head):
    from steep.records import IGNORE
    from steep.speed.loss import linear_cross_entropy, plain_cross_entropy

    hidden = torch.randn(tokens, 256, device="cuda", dtype=HALF)
    weight = (torch.randn(32_000, 256, device="cuda") * 0.05).to(HALF)
    targets = torch.randint(0, 32_000, (tokens,), device="cuda")
    targets[1::3] = IGNORE

    def results(function, dtype, **options):
        read, head = hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(trains_head)
        loss = function(read, head, targets, **options)
        loss.backward()
        return [loss, read.grad, *([head.grad] if trains_head else [])]

    def exactly(read, head, targets):
        return torch.nn.functional.cross_entropy(read @ head.T, targets, ignore_index=IGNORE)

    found = results(linear_cross_entropy, HALF, compiled=True)
    exact, twin = results(exactly, torch.float64), results(plain_cross_entropy, HALF)
    for ours, plain, true in zip(found, twin, exact, strict=True):
        assert error(ours, true) <= 1.5 * error(plain, true) + 1e-5


@pytest.mark.parametrize("way", [False, "selective", True])
@pytest.mark.parametrize("held", ["none", "fp8", "nf4", "nf4, fp8"])
def test_compiled_adapters_train_as_others_do(tokenizer, tmp_path, held, way):
    """Losses and gradients of a few steps of different documents, with a single compilation."""
    from peft import LoraConfig, get_peft_model
    from torch._dynamo import config

    from steep.models import load_model
    from steep.speed.apply import fast_layers, loss_and_attention
    from steep.speed.filling import filled
    from steep.speed.plan import make_plan
    from test_speed_filling import row

    shape = Architecture(
        vocab_size=400, hidden_size=256, intermediate_size=512, num_attention_heads=4, num_hidden_layers=2
    )
    new_model(shape, tokenizer, seed=0).save_pretrained(tmp_path)
    quantization, in_fp8 = held.partition(",")[0], "," in held
    steps = [
        {name: on_gpu(value) for name, value in row(*lengths).items()} for lengths in ((90, 30, 7), (128,), (5,) * 20)
    ]

    def trained(*, compiled, shared=True):
        torch.manual_seed(0)
        base = load_model(str(tmp_path), dtype=HALF, quantization=quantization)
        options = Train(compile=compiled, fp8=in_fp8, lora={"use_dora": not shared})
        plan = make_plan(options, quantization, cuda=True, operations=None)
        losses = []
        with loss_and_attention(base, plan):
            tuned = get_peft_model(base, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")).train()
            for name, parameter in tuned.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.05)
            with fast_layers(base, plan, way), config.patch(error_on_recompile=compiled):
                for batch in steps:
                    loss = tuned(**filled(batch, 128)).loss
                    loss.backward()
                    losses.append(float(loss))
        return losses, {name: p.grad for name, p in tuned.named_parameters() if p.requires_grad}

    losses, gradients = trained(compiled=True)
    for others, twins in (trained(compiled=False), trained(compiled=False, shared=False)):
        assert losses == pytest.approx(others, rel=0.01)
        for name, one in twins.items():
            assert gradients[name].norm() > 0
            assert torch.cosine_similarity(gradients[name].flatten(), one.flatten(), 0) > 0.95, name


def on_gpu(value):
    return value.cuda() if isinstance(value, torch.Tensor) else value

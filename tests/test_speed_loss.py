from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from steep.errors import ModelError
from steep.records import IGNORE
from steep.speed import loss as module
from steep.speed.loss import linear_cross_entropy, plain_cross_entropy, use_linear_loss

VOCABULARY = 211


@pytest.fixture(params=[1, 7, 1000], ids=["one row a chunk", "chunks that do not divide", "one chunk"], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setitem(module.LOGITS, "cpu", request.param * VOCABULARY)


def batch(dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(2, 23, 48, generator=generator).to(dtype).requires_grad_()
    weight = (torch.randn(VOCABULARY, 48, generator=generator) / 4).to(dtype).requires_grad_()
    targets = torch.randint(VOCABULARY, (2, 23), generator=generator)
    targets[torch.rand(2, 23, generator=generator) < 0.4] = IGNORE
    return hidden, weight, targets


def results(function, hidden, weight, targets, *count):
    """Loss and gradients, in float64."""
    value = function(hidden, weight, targets, *count)
    return [x.double() for x in (value, *torch.autograd.grad(value * 3, (hidden, weight)))]


def exact(hidden, weight, targets):
    logits = (hidden.double() @ weight.double().T).flatten(0, 1)
    return cross_entropy(logits, targets.flatten(), ignore_index=IGNORE)


@pytest.mark.parametrize("count", [(), (100,), (torch.tensor(100),)])
def test_in_float32_loss_and_gradients_are_those_of_the_plain_twin(count):
    for found, expected in zip(
        results(linear_cross_entropy, *batch(), *count), results(plain_cross_entropy, *batch(), *count), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_in_bfloat16_the_error_is_at_most_half_again_that_of_the_plain_twin():
    expected = results(exact, *batch(torch.bfloat16))
    found, plain = (results(f, *batch(torch.bfloat16)) for f in (linear_cross_entropy, plain_cross_entropy))
    for ours, twins, true in zip(found[1:], plain[1:], expected[1:], strict=True):
        assert (ours - true).norm() <= 1.5 * (twins - true).norm()
    assert (found[0] - expected[0]).abs() <= 1.5 * (plain[0] - expected[0]).abs() + 1e-6


@pytest.mark.parametrize("count", [(), (0,), (torch.tensor(0),)])
@pytest.mark.parametrize("function", [linear_cross_entropy, plain_cross_entropy])
def test_where_nothing_is_trained_the_loss_is_zero_and_so_are_the_gradients(function, count):
    hidden, weight, targets = batch()
    for found in results(function, hidden, weight, torch.full_like(targets, IGNORE), *count):
        assert found.abs().max() == 0


def test_a_frozen_output_layer_gets_no_gradient_and_the_hidden_states_the_same_one():
    hidden, weight, targets = batch()
    linear_cross_entropy(hidden, weight.detach(), targets).backward()
    expected = results(plain_cross_entropy, *batch())[1]
    torch.testing.assert_close(hidden.grad.double(), expected / 3, rtol=1e-6, atol=1e-6)


def test_under_autocast_the_products_are_in_bfloat16_and_gradients_in_the_dtype_of_the_weights():
    hidden, weight, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, targets)
    found.backward()
    half = [x.detach().bfloat16().requires_grad_() for x in (hidden, weight)]
    expected = linear_cross_entropy(*half, targets)
    expected.backward()
    assert found == expected
    assert (hidden.grad.dtype, weight.grad.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(weight.grad, half[1].grad.float(), rtol=1e-2, atol=1e-4)


def test_a_model_with_linear_loss_has_the_loss_and_gradients_it_had(tiny_model):
    ids = torch.randint(5, 300, (3, 17), generator=torch.Generator().manual_seed(0))
    ids = ids.to(tiny_model.device)
    labels = torch.where(ids % 3 == 0, IGNORE, ids)
    plain = copy.deepcopy(tiny_model)
    use_linear_loss(tiny_model)
    for model in (tiny_model, plain):
        model(input_ids=ids, labels=labels).loss.backward()
    for (name, found), expected in zip(tiny_model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-5, atol=1e-6, msg=name)


def test_without_labels_the_model_gives_logits_as_before(tiny_model):
    ids = torch.arange(5, 25, device=tiny_model.device)[None]
    expected = tiny_model(input_ids=ids).logits
    use_linear_loss(tiny_model)
    assert torch.equal(tiny_model(input_ids=ids).logits, expected)


def test_a_model_that_does_more_to_its_logits_is_refused(tiny_model):
    tiny_model.config.final_logit_softcapping = 30.0
    with pytest.raises(ModelError, match="this model also has final_logit_softcapping"):
        use_linear_loss(tiny_model)

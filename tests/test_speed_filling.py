"""A filled row trains what the row trains, whatever its length was."""

from __future__ import annotations

import copy

import pytest
import torch

from steep.records import IGNORE
from steep.speed.attention import use_packed_attention
from steep.speed.filling import filled
from steep.speed.loss import use_linear_loss

TOKENS = 40


def row(*lengths):
    """As TRL's collator makes it."""
    ids = torch.randint(5, 300, (1, sum(lengths)), generator=torch.Generator().manual_seed(len(lengths)))
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    labels = ids.clone()
    labels[0, starts[:-1].long()] = IGNORE
    longest = max(lengths)
    return {
        "input_ids": ids,
        "labels": labels,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": longest,
        "max_length_k": longest,
    }


ROWS = [(7, 12, 3), (1,), (25, 5), (39,), (TOKENS,), (30, 10)]


@pytest.mark.parametrize("lengths", ROWS)
def test_a_filled_row_has_always_the_same_size_and_begins_with_the_row(lengths):
    given = row(*lengths)
    found, many = filled(given, TOKENS), sum(lengths)
    for name in ("input_ids", "labels", "position_ids"):
        assert found[name].shape == (1, TOKENS)
        assert found[name].dtype == given[name].dtype
        assert torch.equal(found[name][:, :many], given[name])
    assert found["cu_seq_lens_q"].tolist() == given["cu_seq_lens_q"].tolist() + [TOKENS] * (many < TOKENS)
    assert found["cu_seq_lens_q"].dtype == torch.int32
    assert int(found["max_length_q"]) == max(*lengths, TOKENS - many)
    assert (found["labels"][0, many:] == IGNORE).all()
    assert found["position_ids"][0, many:].tolist() == list(range(TOKENS - many))


def test_the_row_that_was_given_stays_as_it_was():
    given, again = row(7, 12), row(7, 12)
    filled(given, TOKENS)
    assert given.keys() == again.keys()
    assert all(torch.equal(torch.as_tensor(given[name]), torch.as_tensor(again[name])) for name in again)


@pytest.mark.parametrize("lengths", ROWS)
def test_loss_and_gradients_are_those_of_the_row(tiny_model, lengths):
    use_linear_loss(tiny_model)
    use_packed_attention(tiny_model)
    tiny_model.config.use_cache = False
    twin, given = copy.deepcopy(tiny_model), row(*lengths)
    twin.__dict__.pop("forward")
    use_linear_loss(twin)
    losses = [model(**batch).loss for model, batch in ((twin, given), (tiny_model, filled(given, TOKENS)))]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    if lengths == (1,):  # nothing of a single token is trained
        assert losses[0] == 0
        return
    for loss in losses:
        loss.backward()
    for (name, found), expected in zip(tiny_model.named_parameters(), twin.parameters(), strict=True):
        assert (found.grad - expected.grad).norm() <= 1e-6 * expected.grad.norm(), name

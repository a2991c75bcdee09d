from __future__ import annotations

import copy

import pytest
import torch

from steep.train.optimizers import MuonAdamW


def step(model, optimizer, seed):
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(seed)).to(model.device)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def make(model):
    return MuonAdamW(model, lr=1e-2, weight_decay=0.1, beta2=0.95)


def test_every_weight_is_in_one_part_and_muon_has_the_matrices_of_the_layers(tiny_model):
    optimizer = make(tiny_model)
    parts = {
        name: {id(p) for group in part.param_groups for p in group["params"]} for name, part in optimizer.parts.items()
    }
    names = {name: id(p) for name, p in tiny_model.named_parameters()}
    assert parts["muon"] == {names[name] for name in names if "proj" in name}
    assert parts["adamw"] == set(names.values()) - parts["muon"]


def test_a_scheduler_reaches_both_parts(tiny_model):
    optimizer = make(tiny_model)
    before = copy.deepcopy(tiny_model.state_dict())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    step(tiny_model, optimizer, seed=0)
    assert [group["lr"] for part in optimizer.parts.values() for group in part.param_groups] == [0.0, 0.0]
    assert scheduler.get_last_lr() == [0.0, 0.0]
    for name, weight in tiny_model.state_dict().items():
        assert torch.equal(weight, before[name]), name


@pytest.mark.parametrize("part", ["proj", "norm", "embed"])
def test_a_step_moves_every_kind_of_weight(tiny_model, part):
    before = copy.deepcopy(tiny_model.state_dict())
    step(tiny_model, make(tiny_model), seed=0)
    moved = [not torch.equal(weight, before[name]) for name, weight in tiny_model.state_dict().items() if part in name]
    assert moved
    assert all(moved)


def test_a_saved_and_loaded_state_goes_on_with_the_same_steps(tiny_model, tmp_path):
    optimizer = make(tiny_model)
    for seed in range(2):
        step(tiny_model, optimizer, seed)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    other = copy.deepcopy(tiny_model)
    loaded = make(other)
    loaded.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for model, stepper in ((tiny_model, optimizer), (other, loaded)):
        torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: 0.5)
        step(model, stepper, seed=2)
    for name, weight in tiny_model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name

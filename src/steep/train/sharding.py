"""A model of which each process holds a part (FSDP2): its weights and its optimizer's state as one, and back.

What is written is what one process would write, under the same names, so that a training goes on with another number
of processes. accelerate writes parts, or another file than it writes without FSDP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from steep.runs import is_main

if TYPE_CHECKING:
    from transformers import Trainer

WRAPPED = "_checkpoint_wrapped_module"
"""What activation checkpointing adds to a name."""
OPTIMIZER = "optimizer.pt"
"""As transformers calls it."""


def use_sharding(trainer: Trainer) -> None:
    """FSDP also between processes on a CPU, where accelerate leaves it out; gradients summed in float32."""
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    state = trainer.accelerator.state
    if not trainer.is_fsdp_enabled:
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        state.distributed_type = DistributedType.FSDP
        trainer.is_fsdp_enabled = True
    if trainer.args.bf16:
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, in every process; a collective call where each holds a part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def trained_parameters(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name.replace(f".{WRAPPED}", ""), parameter


@contextmanager
def unwrapped(model: torch.nn.Module) -> Iterator[None]:
    """Modules under the names that they have without activation checkpointing: by them PEFT finds its layers."""
    places = [
        (parent, name, wrapper)
        for parent in model.modules()
        for name, wrapper in parent.named_children()
        if hasattr(wrapper, WRAPPED)
    ]
    for parent, name, wrapper in places:
        setattr(parent, name, getattr(wrapper, WRAPPED))
    try:
        yield
    finally:
        for parent, name, wrapper in places:
            setattr(parent, name, wrapper)


def trained_weights(model: Any) -> dict[str, Tensor]:
    """What is trained, in the main process's memory; nothing in the others, which must call it as well."""
    found = {}
    for name, parameter in trained_parameters(model):
        weight = whole(parameter.detach())
        if is_main():
            found[name] = weight.cpu()
    return found


def load_trained(model: Any, checkpoint: Path) -> None:
    """Take the trained weights of a checkpoint's safetensors; PEFT leaves its adapter's name out of theirs."""
    from safetensors import safe_open

    places = dict(trained_parameters(model))
    places |= {name.replace(".default", ""): parameter for name, parameter in places.items()}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors, torch.no_grad():
            for name in tensors.keys():  # noqa: SIM118
                places[name].copy_(_like(places[name], tensors.get_tensor(name)))


def _like(place: Tensor, value: Tensor) -> Tensor:
    """The value as the place is held: this process's part of it."""
    if not isinstance(place, DTensor):
        return value
    return distribute_tensor(value.to(place.device), place.device_mesh, place.placements, src_data_rank=None)


def save_optimizer(optimizer: Any, folder: Path) -> None:
    """As torch.save of the state of an optimizer in one process. All processes must call it."""
    found = optimizer.state_dict()
    state = {index: {key: _host(value) for key, value in held.items()} for index, held in found["state"].items()}
    if is_main():
        torch.save({**found, "state": state}, folder / OPTIMIZER)


def _host(value: Any) -> Any:
    return whole(value).cpu() if isinstance(value, Tensor) else value


def load_optimizer(optimizer: Any, folder: Path) -> None:
    """The parameters' order is that of the model, whatever their number of owners, so states are found by it."""
    found = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: {key: _part(parameters[index], value) for key, value in held.items()}
        for index, held in found["state"].items()
    }
    optimizer.load_state_dict({**found, "state": state})


def _part(parameter: Tensor, value: Any) -> Any:
    """Of what an optimizer keeps for each number; a count of steps is everyone's."""
    return _like(parameter, value) if isinstance(value, Tensor) and value.shape == parameter.shape else value

"""Weights on disk, read back and compared: an adapter that is empty, cut or unchanged is found when it is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from steep.errors import ModelError
from steep.recipe import Train
from steep.runs import is_main
from steep.train.adapters import PISSA, save_adapter
from steep.train.sharding import trained_parameters

if TYPE_CHECKING:
    from transformers import Trainer

    from steep.train.objectives import Setting

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def save(trainer: Trainer, options: Train, setting: Setting, begun: dict[str, int]) -> None:
    """Leave ``model/`` or ``adapter/`` with the tokenizer; ``begun`` is the `trainable_state` before training.

    Raises ModelError where nothing was learned, or what is on the disk is not what was trained.
    """
    if trainable_state(trainer.model) == begun:  # in all processes, since each may hold a part
        raise ModelError(
            "the trained weights are what they were before training: nothing was learned. "
            "Raise train.learning_rate, or look at the gradients in metrics.jsonl"
        )
    into = setting.folder / ("model" if options.method == "full" else "adapter")
    if options.method == "full" or options.sharded:
        trainer.save_model(str(into))
    elif is_main():
        save_adapter(trainer.model, options, setting.folder, into)
    if is_main():
        check_written(
            into, trainer.model, converted=options.method == "lora" and options.lora.init_lora_weights == PISSA
        )
        setting.tokenizer.save_pretrained(into)


def trainable_state(model: Any) -> dict[str, int]:
    """A number for each trained tensor that changes when it does: the sum of its bits taken as integers.

    It is the same however the tensor is divided among processes, all of which must call it then.
    """
    return {name: _sum_of_bits(parameter.detach()) for name, parameter in trained_parameters(model)}


def _sum_of_bits(tensor: Tensor) -> int:
    part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    found = part.contiguous().view(INTEGERS[part.element_size()]).sum(dtype=torch.int64).cpu()
    if isinstance(tensor, DTensor):
        dist.all_reduce(found)
    return int(found)


def check_written(folder: Path, model: Any, *, converted: bool = False) -> None:
    """Compare the weights in a folder with those in memory, tensor by tensor.

    ``converted``: they were written in another form, so that only their being there and being numbers is looked at.
    Raises ModelError for a missing, empty or different tensor.
    """
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no weights: they were not written; is the disk full?")
    expected = {} if converted else _expected(folder, model)
    found = 0
    for path in files:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                found += 1
                _compare(path, name, tensors.get_tensor(name), expected.get(name))
    if not found:
        raise ModelError(f"{folder} holds weights without a single tensor: nothing was saved")
    if missing := set(expected) - set(_names(files)):
        raise ModelError(f"{folder} lacks {len(missing)} of {len(expected)} tensors, such as {min(missing)}")


def _names(files: list[Path]) -> Iterator[str]:
    from safetensors import safe_open

    for path in files:
        with safe_open(path, framework="pt") as tensors:
            yield from tensors.keys()


def _expected(folder: Path, model: Any) -> dict[str, Tensor]:
    """What must be in the files, by the names there. Nothing for a model that several devices share."""
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return {}
    if not (folder / "adapter_config.json").exists():
        return dict(model.named_parameters())  # which names tied tensors once, as the files do
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(model)
    return state


def _compare(path: Path, name: str, written: Tensor, expected: Tensor | None) -> None:
    if written.is_floating_point() and not written.isfinite().all():
        raise ModelError(f"{path}: {name} holds values that are no numbers")
    if expected is not None and not torch.equal(written, expected.detach().to(written.device, written.dtype)):
        raise ModelError(f"{path}: {name} is not what was trained: it was damaged while it was written")

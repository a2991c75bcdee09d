"""Several processes that train one model: what the trainer is told, who of them writes, and what they agree on.

Adapters are small, so each process keeps the whole model and gradients are averaged (DDP). Where every weight is
trained, weights, gradients and the optimizer's state take 16 bytes a number, and each process keeps its part of them
(FSDP2, Zhao et al. 2023, arXiv 2304.11277): more is sent between the GPUs, and a model fits that fits none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from steep.errors import UsageError
from steep.recipe import Train
from steep.runs import is_main as is_main

if TYPE_CHECKING:
    from transformers import TrainingArguments

T = TypeVar("T")

FSDP = {
    "version": 2,
    "reshard_after_forward": True,
    "cpu_ram_efficient_loading": True,
    "state_dict_type": "FULL_STATE_DICT",
}
LOADING = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
"""By which transformers knows that one process of a machine reads the weights for all of them."""


def parallel_arguments(options: Train) -> dict[str, Any]:
    """Of transformers' TrainingArguments."""
    if options.devices * options.nodes == 1:
        return {}
    if not options.sharded:
        return {"ddp_find_unused_parameters": False, "ddp_broadcast_buffers": False}
    # FSDP's own checkpointing does not gather a layer's weights a third time; gradients that waited for the last batch
    # of a step would be whole ones, for which no process has room
    return {
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
        "fsdp": True,
        "fsdp_config": {**FSDP, "activation_checkpointing": options.checkpointed == 1},
        "gradient_checkpointing": False,
    }


def for_one_device(arguments: TrainingArguments) -> TrainingArguments:
    """A process trains on one GPU, however many it sees: transformers would give each a copy of the model in turn."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def join(options: Train) -> None:
    """Meet the other processes of this training; raises UsageError where their number is not the recipe's.

    Tensors on the CPU go by gloo and those on a GPU by NCCL, so that agreeing on a flag does not wait for a GPU.
    """
    asked, here = options.devices * options.nodes, int(os.environ.get("WORLD_SIZE", "1"))
    if asked != here:
        raise UsageError(
            f"train.devices x train.nodes is {asked}, and the processes here are {here}: `steep run` and "
            "`steep launch` start as many as the recipe says"
        )
    if here == 1:
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    if options.sharded:
        os.environ.update(LOADING)


def wait_for_all() -> None:
    if dist.is_initialized():
        anywhere(False)


def anywhere(flag: bool) -> bool:
    """Whether it is true in any process: what one of them decides alone, the others would wait for."""
    if not dist.is_initialized():
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def by_main(work: Callable[[], T]) -> T:
    """What ``work`` returns in the main process, in all of them; only there it is done."""
    if not dist.is_initialized():
        return work()
    found = [work() if is_main() else None]
    dist.broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]

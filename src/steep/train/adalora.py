"""AdaLoRA's ranks: they move at every step, and what decides of them survives an interruption.

PEFT leaves the call to the training loop, and saves an adapter whose ranks are cut to size: training cannot go on from
that, so a checkpoint also holds the matrices whole and the running means of their importance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from steep.errors import ModelError

if TYPE_CHECKING:
    from peft import PeftModel

    from steep.recipe import AdaLora

STATE = "adalora.pt"
MEANS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class Ranks(TrainerCallback):  # type: ignore[misc]
    """Distributes the ranks after each optimizer step, while the gradients are still there."""

    def __init__(self, options: AdaLora) -> None:
        self.options = options

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        config = _plain(model).peft_config["default"]
        config.total_step = state.max_steps
        config.tinit, config.tfinal = schedule(self.options, state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """PEFT adds its penalty to the loss of every batch in every process: together they are to weigh as one."""
        places = args.gradient_accumulation_steps * args.world_size
        _plain(model).peft_config["default"].orth_reg_weight = self.options.orth_reg_weight / places

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        _plain(model).peft_config["default"].orth_reg_weight = self.options.orth_reg_weight

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        _plain(model).base_model.update_and_allocate(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            save(_plain(model), Path(args.output_dir) / f"checkpoint-{state.global_step}")


@contextmanager
def without_penalty(model: Any) -> Iterator[None]:
    """The loss of the text alone, which other methods can be compared by."""
    configs = getattr(_plain(model), "peft_config", {})
    weight = getattr(configs.get("default"), "orth_reg_weight", None)
    if weight is None:
        yield
        return
    configs["default"].orth_reg_weight = 0.0
    yield
    configs["default"].orth_reg_weight = weight


def schedule(options: AdaLora, steps: int) -> tuple[int, int]:
    """``tinit`` and ``tfinal`` for a run of so many steps. Raises ModelError where they leave no step between them."""
    tinit = steps // 10 if options.tinit is None else options.tinit
    tfinal = 3 * steps // 10 if options.tfinal is None else options.tfinal
    if tinit + tfinal >= steps:
        raise ModelError(
            f"train.adalora: ranks move between tinit ({tinit}) and the last tfinal ({tfinal}) of {steps} steps, "
            "which leaves none: lower them, or train longer"
        )
    return tinit, tfinal


def _plain(model: Any) -> PeftModel:
    """The PEFT model under what accelerate wrapped around it."""
    plain: PeftModel = getattr(model, "module", model)
    return plain


def save(model: PeftModel, checkpoint: Path) -> None:
    allocator = model.base_model.rankallocator
    state = {name: getattr(allocator, name) for name in MEANS}
    state["weights"] = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    state["rank_pattern"] = model.peft_config["default"].rank_pattern
    torch.save(state, checkpoint / STATE)


def load(model: PeftModel, checkpoint: Path) -> None:
    """Bring a model back to what `save` saw, in place of the adapter of the checkpoint."""
    state = torch.load(checkpoint / STATE, map_location=next(model.parameters()).device, weights_only=True)
    for name in MEANS:
        setattr(model.base_model.rankallocator, name, state[name])
    model.peft_config["default"].rank_pattern = state["rank_pattern"]
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state["weights"].items():
            parameters[name].copy_(value)

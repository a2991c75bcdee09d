"""A plan applied to one model, in one visible order; afterwards the model is as it was, only its weights differ.

Only instances change: a forward is wrapped or given to one module, no class is patched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from torch.utils.checkpoint import checkpoint

from steep.speed.attention import use_packed_attention
from steep.speed.lora import share_inputs
from steep.speed.loss import use_linear_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from steep.speed.plan import Plan


@contextmanager
def loss_and_attention(model: PreTrainedModel, plan: Plan) -> Iterator[None]:
    """What has to be in place before a trainer is made."""
    forward, training = vars(model).get("forward"), model.training
    attention, use_cache = model.config._attn_implementation, model.config.use_cache
    model.config.use_cache = False  # of keys and values, which only generation needs
    if plan.chunks:
        use_linear_loss(model, compiled=plan.compiles)
    if plan.packs:
        use_packed_attention(model)
    try:
        yield
    finally:
        vars(model).pop("forward", None)
        if forward is not None:
            model.forward = forward
        model.set_attn_implementation(attention)
        model.config.use_cache = use_cache
        model.train(training)


@contextmanager
def fast_layers(model: PreTrainedModel, plan: Plan, checkpointing: bool | str) -> Iterator[None]:
    """What needs the adapters in place: inputs that they share, activations that are computed again, compiled code."""
    layers = model.get_decoder().layers
    shared = share_inputs(model, in_fp8=plan.frozen.what == "nf4, fp8") if plan.shares else []
    again = layers[::2] if checkpointing == "selective" else layers if checkpointing in (True, "offloaded") else []
    parts = [*layers, model.get_decoder().norm] if plan.compiles else []
    if plan.compiles:
        model.enable_input_require_grads()  # else the first layer, whose input needs no gradient, is compiled apart
        for part in parts:
            part.compile()
        for layer in again:  # around compiled code: inside of it, layers that share an input would not be compiled
            layer._compiled_call_impl = partial(checkpoint, layer._compiled_call_impl, use_reentrant=False)
    elif again:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in layers:
            layer.gradient_checkpointing = layer in again
    try:
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None
        model.disable_input_require_grads()  # which checkpointing has enabled as well
        for one in shared:
            one.take_out()
        model.gradient_checkpointing_disable()

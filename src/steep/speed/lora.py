"""LoRA (Hu et al. 2021, arXiv 2106.09685) without waste.

Layers that read the same tensor (q, k, v; gate, up) become one product each of the frozen weights, of A and of B, and
the low-rank part is added to the frozen one in its place. The twin is PEFT's own forward; parameters and their names
stay PEFT's.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steep.errors import ModelError
from steep.speed import fp8, nf4
from steep.speed.products import adapted, frozen

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from transformers import PreTrainedModel

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Names of the layers that read one tensor, in the order in which transformers calls them."""


class SharedInput:
    """Adapted layers that read the same tensor; all are computed when the first of them is called."""

    def __init__(self, layers: list[LoraLayer], *, in_fp8: bool) -> None:
        self.layers = layers
        self.weights = frozen([layer.get_base_layer() for layer in layers], in_fp8=in_fp8)
        self.read: Tensor | None = None
        self.waiting: list[Tensor] = []
        for place, layer in enumerate(layers):
            layer.shared_input, layer.shared_place = self, place
            layer.forward = MethodType(_forward, layer)

    def take_out(self) -> None:
        for layer in self.layers:
            del layer.forward, layer.shared_input, layer.shared_place

    def forward(self, place: int, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self.layers[place]
        if layer.disable_adapters:
            found: Tensor = type(layer).forward(layer, x, *args, **kwargs)
            return found
        if place == 0:
            self.read, self.waiting = x, list(self.together(x))
        elif x is not self.read:
            raise ModelError(
                "this model's q, k, v or gate, up do not read one tensor: name one of each in "
                "train.lora.target_modules, or set train.lora.use_dora, which computes each layer by itself"
            )
        if place == len(self.layers) - 1:
            self.read = None
        return self.waiting.pop(0)

    def together(self, x: Tensor) -> tuple[Tensor, ...]:
        """What each layer makes of ``x``, (…, tokens, inputs)."""
        first, flat = self.layers[0], x.flatten(0, -2)
        a = torch.cat([layer.lora_A["default"].weight for layer in self.layers]) * first.scaling["default"]
        bs = [layer.lora_B["default"].weight.to(x.dtype) for layer in self.layers]
        dropout = first.lora_dropout["default"]
        dropped = None if isinstance(dropout, torch.nn.Identity) or not first.training else dropout(flat)
        found = adapted(flat, dropped, a.to(x.dtype), bs, self.weights)
        return tuple(one.view(*x.shape[:-1], -1) for one in found)


def _forward(layer: LoraLayer, *args: Any, **kwargs: Any) -> Tensor:
    """One function for all layers, by which the compiler knows that they have one code."""
    found: Tensor = layer.shared_input.forward(layer.shared_place, *args, **kwargs)
    return found


def share_inputs(model: PreTrainedModel, *, in_fp8: bool = False) -> list[SharedInput]:
    """Compute a model's plain LoRA layers together, in place of PEFT's forward, until each is taken out again."""
    if in_fp8:
        fp8.check_gpu("train.fp8", "set it to false")
        for name, layer in model.named_modules():
            if _is_plain(layer):
                fp8.check_size("train.fp8", name, layer.get_base_layer(), "set it to false")
    return [SharedInput(layers, in_fp8=in_fp8) for layers in _groups(model)]


def _groups(model: PreTrainedModel) -> Iterator[list[LoraLayer]]:
    for block in model.get_decoder().layers:
        named = {name.rpartition(".")[2]: layer for name, layer in block.named_modules() if _is_plain(layer)}
        for names in TOGETHER:
            if layers := [named[name] for name in names if name in named]:
                yield layers


def _is_plain(layer: Any) -> bool:
    """Whether an adapted layer is LoRA alone, beside weights that can be read here."""
    from peft.tuners.lora import Linear, Linear4bit

    if not isinstance(layer, Linear | Linear4bit):
        return False
    base = layer.get_base_layer()
    return not hasattr(base.weight, "quant_state") or nf4.holds(base)

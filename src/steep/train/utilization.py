"""How much of a GPU's arithmetic a training uses."""

from __future__ import annotations

from typing import Any

import torch

DENSE_BF16 = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""FLOP/s of dense bfloat16 products, as the vendor gives them, by a part of the device's name."""


def peak_flops() -> float:
    """Of this process's GPU; 0 where it is not known."""
    if not torch.cuda.is_available():
        return 0.0
    name = torch.cuda.get_device_name()
    return next((flops for part, flops in DENSE_BF16.items() if part in name), 0.0)


def flops_per_token(model: Any) -> float:
    """2 for each weight forward, 2 for the gradient of its input, and 2 more for its own gradient where it is trained.

    Attention's share, small at usual lengths, is left out, and what is computed twice counts once.
    """
    plain = getattr(model, "module", model)
    matrices = [p for p in plain.parameters() if p.ndim == 2 and not _is_embedding(plain, p)]
    return float(sum((6 if p.requires_grad else 4) * _numbers(p) for p in matrices))


def _is_embedding(model: Any, parameter: torch.nn.Parameter) -> bool:
    """A matrix of which rows are only read; tied to the output layer, it is multiplied with after all."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return parameter is model.get_input_embeddings().weight and (head is None or parameter is not head.weight)


def _numbers(parameter: torch.nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())

"""How many prompts are answered at the same time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from steep.sizes import answer_budget, answer_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(slots=True)
class Room:
    """At most ``rows`` prompts, and at most ``budget`` bytes for what they hold: see `steep.sizes.answer_bytes`."""

    rows: float
    budget: float
    per_token: int
    per_row: int

    @classmethod
    def of(cls, model: PreTrainedModel, batch_size: int | None) -> Room:
        """What is free now. A ``batch_size`` is taken at its word."""
        config, size = model.config.get_text_config(), model.dtype.itemsize
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        key = head * (getattr(config, "num_key_value_heads", None) or heads)
        token, row = answer_bytes(config.num_hidden_layers, key, config.vocab_size, size)
        if batch_size is not None:
            return cls(batch_size, math.inf, token, row)
        return cls(math.inf, answer_budget(_free(model.device)), token, row)

    def holds(self, rows: int, tokens: int) -> bool:
        """Whether so many rows of so many tokens each may be answered together; one may always be tried."""
        needed = rows * (tokens * self.per_token + self.per_row)
        return rows <= 1 or (rows <= self.rows and needed <= self.budget)

    def halve(self, rows: int) -> None:
        """So many rows did not fit."""
        self.rows = max(1, rows // 2)


def _free(device: torch.device) -> int | None:
    """Bytes that CUDA or PyTorch's own pool have free; None where there is no GPU."""
    if device.type != "cuda":
        return None
    pooled = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + pooled

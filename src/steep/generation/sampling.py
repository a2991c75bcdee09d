"""How the next token is chosen: the likeliest, or one drawn with numbers that belong to the prompt and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steep.errors import UsageError
from steep.sizes import SORTED


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest."""

    temperature: float
    top_p: float
    seed: int

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UsageError(
                f"temperature {self.temperature} is below 0; 0 is greedy, 1 is the model's own distribution"
            )
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p} is not above 0 and at most 1")

    def draws(self, key: int, steps: int) -> list[float]:
        """One uniform number for each step, from a generator of the row's own."""
        if self.temperature == 0:
            return [0.0] * steps
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + key) % 2**63)
        return torch.rand(steps, generator=generator, dtype=torch.float64).tolist()

    def choose(self, logits: Tensor, draws: Sequence[float]) -> Tensor:
        """The next token of each row: (rows, vocabulary) and a draw for each row in, (rows) out."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        given = torch.tensor(draws, dtype=torch.float64, device=logits.device)
        rows = max(1, SORTED // logits.shape[-1])
        parts = zip(torch.split(logits, rows), torch.split(given, rows), strict=True)
        return torch.cat([self._sample(part, draw) for part, draw in parts])

    def _sample(self, logits: Tensor, draws: Tensor) -> Tensor:
        """Inverse transform sampling."""
        probabilities = torch.softmax(logits.double() / self.temperature, dim=-1)
        ordered, tokens = probabilities.sort(descending=True, stable=True)
        cumulative = ordered.cumsum(dim=-1)
        # the nucleus: the likeliest tokens until together they hold top_p
        kept = (cumulative - ordered < self.top_p).sum(dim=-1, keepdim=True)
        mass = cumulative.gather(-1, kept - 1)
        rank = (cumulative <= draws.unsqueeze(-1) * mass).sum(dim=-1, keepdim=True).minimum(kept - 1)
        return tokens.gather(-1, rank).squeeze(-1)

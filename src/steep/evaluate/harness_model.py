"""A loaded model as lm-evaluation-harness sees it: its own wrapper, with steep's progress in place of its bars.

This module imports lm-evaluation-harness (1.3 s beside torch), so it is itself imported only where a task is run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

# read at import: some metrics are programs of the hub, which the package `evaluate` would fetch and run
os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")

from lm_eval.models.huggingface import HFLM

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class HarnessModel(HFLM):  # type: ignore[misc]
    """``cut`` counts the requests whose beginning does not fit the model: their question was not seen whole."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, update: Callable[..., None]
    ) -> None:
        # a tokenizer without a padding token would be given one
        super().__init__(pretrained=model, tokenizer=deepcopy(tokenizer), backend="causal", batch_size=batch_size)
        self.cut = 0
        self._update, self._requests = update, 0
        self.set_cache_hook(self)

    def add_partial(self, *answered: Any) -> None:
        """Called for each request that is answered, so that it could be kept."""
        self._update()

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        self._expect(requests)
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        self._expect(requests)
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        self._expect(requests)
        return super().generate_until(requests, disable_tqdm=True)

    def _expect(self, requests: Sequence[Any]) -> None:
        self._requests += len(requests)
        self._update(0, total=self._requests)

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> Any:
        longest = self.max_length + 1
        self.cut += sum(len(context) + len(answer) > longest for _, context, answer in requests)
        return super()._loglikelihood_tokens(requests, True, override_bs)

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
        if left_truncate_len is None:
            return ids, mask
        self.cut += int((mask.sum(dim=1) > left_truncate_len).sum())
        return ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log of lm-evaluation-harness, which tells each prompt that it cuts."""
    log = logging.getLogger("lm_eval")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)

"""The loss head alone, forward and backward, against TRL's and against plain PyTorch, in turn in one process.

python benchmarks/loss.py [TOKENS SIZE VOCABULARY]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE, _ChunkedLogProbFunction

from steep.speed.loss import linear_cross_entropy, plain_cross_entropy

ROUNDS = 15


def trl(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    outputs = ("log_probs", "entropy", "is_top1")  # what SFTTrainer asks for
    per_token = _ChunkedLogProbFunction.apply(
        hidden, weight, None, targets, 1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, outputs
    )
    return -per_token[0].mean()


ENGINES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "steep": linear_cross_entropy,
    "trl": trl,
    "plain": plain_cross_entropy,
}


def seconds(engine: Callable[[Tensor, Tensor, Tensor], Tensor], *inputs: Tensor) -> float:
    begin = time.perf_counter()
    engine(*inputs).backward()
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main(tokens: int = 1024, size: int = 320, vocabulary: int = 8192) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    hidden = torch.randn(tokens, size, device=device, dtype=torch.bfloat16, requires_grad=True)
    weight = (torch.randn(vocabulary, size, device=device, dtype=torch.bfloat16) / 16).requires_grad_()
    targets = torch.randint(vocabulary, (tokens,), device=device)
    times: dict[str, list[float]] = {name: [] for name in ENGINES}
    for _ in range(ROUNDS):
        for name, engine in ENGINES.items():
            times[name].append(seconds(engine, hidden, weight, targets))
    best = statistics.median(times["steep"])
    print(f"{tokens} tokens, size {size}, vocabulary {vocabulary}, {device}, torch {torch.__version__}")
    for name, found in times.items():
        low, median, high = (1e3 * value for value in statistics.quantiles(found, n=4))
        print(f"{name:6} {median:8.1f} ms ({low:.1f} to {high:.1f}), {median / best / 1e3:.2f} x steep")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""Cross-entropy straight from hidden states, so that the logits of a whole batch never exist.

Loss and gradients are made together, a chunk of positions at a time: three matrix products, nothing computed twice, and
only positions that are trained count. TRL's chunked head also measures entropy and accuracy and computes the logits a
second time for the gradient: for `tiny` on two CPU cores it takes five times as long (``benchmarks/loss.py``).
"""

from __future__ import annotations

from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steep.errors import ModelError
from steep.records import IGNORE
from steep.sizes.training import TRAINED_HEAD
from steep.sizes.training import TRAINED_LOGITS as LOGITS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def use_linear_loss(model: PreTrainedModel, *, compiled: bool = False) -> None:
    """Make this model compute its loss by `linear_cross_entropy` wherever it is given labels; ``compiled``: with one
    kernel for the logits' softmax, where there would be six."""
    _only_linear(model)
    original = model.forward

    @wraps(original)
    def forward(*args: Any, labels: Tensor | None = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        if labels is None:
            return original(*args, **kwargs)
        from transformers.modeling_outputs import CausalLMOutputWithPast

        hidden = model.get_decoder()(*args, **kwargs).last_hidden_state
        head = model.get_output_embeddings()
        loss = _within(
            head, partial(linear_cross_entropy, compiled=compiled), hidden[:, :-1], labels[:, 1:], num_items_in_batch
        )
        return CausalLMOutputWithPast(loss=loss)

    model.forward = forward


def _within(head: Any, loss: Any, hidden: Tensor, targets: Tensor, count: Any) -> Tensor:
    """The loss by a call of the output layer: where devices share its weight, such a call is what gathers it."""
    own = vars(head).get("forward")
    head.forward = lambda hidden: loss(hidden, head.weight, targets, count)
    try:
        found: Tensor = head(hidden)
    finally:
        del head.forward
        if own is not None:
            head.forward = own
    return found


def _only_linear(model: PreTrainedModel) -> None:
    scales = ("final_logit_softcapping", "logit_scale", "logits_scaling")
    found = [name for name in scales if getattr(model.config, name, None) not in (None, 1)]
    if model.get_output_embeddings().bias is not None:
        found.append("a bias of the output layer")
    if found:
        raise ModelError(f"steep's loss is for Llama's plain output layer; this model also has {', '.join(found)}")


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, count: Tensor | int | None = None, *, compiled: bool = False
) -> Tensor:
    """Negative log-likelihood of ``targets`` under ``softmax(hidden @ weight.T)``, summed and divided by ``count``.

    ``hidden`` is (…, tokens, size), ``weight`` (vocabulary, size), ``targets`` (…, tokens) with -100 where nothing is
    trained; ``count`` is the number of trained positions here where not given. The twin is `plain_cross_entropy`.
    """
    trained = targets != IGNORE
    if torch.is_autocast_enabled(hidden.device.type):
        hidden, weight = (x.to(torch.get_autocast_dtype(hidden.device.type)) for x in (hidden, weight))
    total: Tensor = _LinearCrossEntropy.apply(hidden[trained], weight, targets[trained], compiled)  # type: ignore[no-untyped-call]
    return total / _at_least_one(trained.sum() if count is None else count)


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, count: Tensor | int | None = None) -> Tensor:
    """The plain twin of `linear_cross_entropy`, which holds all logits."""
    logits = torch.nn.functional.linear(hidden, weight).float().flatten(0, -2)
    total = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE, reduction="sum")
    return total / _at_least_one((targets != IGNORE).sum() if count is None else count)


def _at_least_one(count: Tensor | int) -> Tensor | int:
    """A batch in which nothing is trained has the loss 0, not 0 / 0."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def _in_place(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss of (rows, vocabulary) logits, and its gradient, softmax - one-hot, where they were."""
    logits, wanted = logits.float(), targets[:, None]
    normaliser = logits.logsumexp(-1, keepdim=True)
    total = (normaliser - logits.gather(1, wanted)).sum()
    return total, logits.sub_(normaliser).exp_().scatter_add_(1, wanted, -torch.ones_like(normaliser))


def _in_one_kernel(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same in a form that the compiler makes one pass of."""
    scores, wanted = logits.float(), targets[:, None]
    normaliser = scores.logsumexp(-1, keepdim=True)
    total = (normaliser - scores.gather(1, wanted)).sum()
    one_hot = torch.arange(logits.shape[1], device=logits.device) == wanted
    return total, ((scores - normaliser).exp() - one_hot.float()).to(logits.dtype)


@cache
def _compiled() -> Any:
    return torch.compile(_in_one_kernel, dynamic=True)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, compiled: bool) -> Tensor:
        place = hidden.device.type
        limit = LOGITS[place] * (TRAINED_HEAD[place] if ctx.needs_input_grad[1] else 1)
        rows = max(1, limit // weight.shape[0])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        loss_and_gradient = _compiled() if compiled else _in_place
        for begin in range(0, len(hidden), rows):
            chunk = slice(begin, begin + rows)
            logits = hidden[chunk] @ weight.T
            if hidden_grad is None and weight_grad is None:
                total += torch.nn.functional.cross_entropy(logits.float(), targets[chunk], reduction="sum")
                continue
            found, grad = loss_and_gradient(logits, targets[chunk])
            total += found
            grad = grad.to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[chunk] = grad @ weight
            if weight_grad is not None:
                weight_grad += grad.T @ hidden[chunk]
            del logits, found, grad  # else they are still held while those of the next chunk are made
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return (
            None if hidden_grad is None else hidden_grad * grads[0].to(hidden_grad.dtype),
            None if weight_grad is None else (weight_grad * grads[0]).to(ctx.weight_dtype),
            None,
            None,
        )

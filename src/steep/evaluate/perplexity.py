"""How well a model predicts the held-out text: perplexity, and bits per byte, which compares across tokenizers.

Long texts are read in overlapping windows; every token is scored once, with as much context as its window has before
it. Texts are batched by length, and logits are made for a few positions at a time, on the cache of those before: a
vocabulary of 128,000 over 4,096 positions would need 2 GiB in float32 for one text alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from steep.errors import ModelError
from steep.evaluate.heldout import HeldOut
from steep.evaluate.ledger import Ledger
from steep.generation import Prefix, decode
from steep.records import IGNORE
from steep.terminal import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 4096
"""Tokens in one forward pass, padding included."""
LOGITS = 2**26
"""Logits at a time: 256 MiB in float32."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Negative log-likelihood in nats of one example's text, its tokens, and its bytes in UTF-8."""

    nll: float
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one example; ``targets[i]`` is the token to be predicted at place i, or `IGNORE`."""

    example: int
    input_ids: list[int]
    targets: list[int]


def corpus_perplexity(likelihoods: Sequence[Likelihood]) -> float:
    """exp of the mean per token, so that a long text weighs more than a short one."""
    mean = sum(one.nll for one in likelihoods) / sum(one.tokens for one in likelihoods)
    return math.exp(min(mean, 700.0))  # a float ends at exp(709.8)


def bits_per_byte(likelihoods: Sequence[Likelihood]) -> float:
    return sum(one.nll for one in likelihoods) / math.log(2) / sum(one.bytes for one in likelihoods)


def likelihoods(  # noqa: PLR0913
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[HeldOut],
    *,
    window: int,
    stride: int,
    prefix: Sequence[int] = (),
    ledger: Ledger | None = None,
    step: str = "perplexity",
) -> list[Likelihood]:
    """Score the text of every example in windows of at most ``window`` tokens that move by ``stride``.

    ``prefix``: tokens that the model has before each window, in place of BOS; they are read once. What ``ledger`` knows
    of the ``step`` is not computed again.
    """
    ledger = ledger or Ledger()
    found = [one for number, example in enumerate(examples) for one in windows(number, example, window, stride)]
    known = ledger.known(step)
    todo = [number for number in range(len(found)) if number not in known]
    model.eval()
    shared = Prefix(model, prefix[:-1])
    with torch.no_grad(), progress(step, total=len(found)) as update:
        update(len(known))
        for batch in batches(found, todo, len(prefix)):
            behind = [_behind(prefix, found[number], tokenizer.bos_token_id) for number in batch]
            scored = _score(model, behind, shared)
            ledger.write(step, dict(zip(batch, scored, strict=True)))
            update(len(batch))
    nll = [0.0] * len(examples)
    for number, value in ledger.known(step).items():
        nll[found[number].example] += value
    return [_likelihood(tokenizer, example, value) for example, value in zip(examples, nll, strict=True)]


def _behind(prefix: Sequence[int], one: Window, bos: int | None) -> Window:
    """A window with the last token of the prefix before it, which is not scored but predicts its first."""
    if not prefix:
        return one
    rest = one.input_ids[1:] if one.input_ids[:1] == [bos] else one.input_ids
    ids = [prefix[-1], *rest]
    return Window(one.example, ids, [IGNORE] * (len(ids) - len(one.targets)) + one.targets)


def _likelihood(tokenizer: PreTrainedTokenizerBase, example: HeldOut, nll: float) -> Likelihood:
    if not math.isfinite(nll):
        raise ModelError(
            f"the model gives document {example.document_id} no finite probability, so its weights are broken; if "
            "training made them, its loss is not finite either: lower train.learning_rate"
        )
    text = decode(tokenizer, [example.input_ids[place] for place in example.scored])
    return Likelihood(nll, len(example.scored), len(text.encode("utf-8", "replace")))


def windows(number: int, example: HeldOut, window: int, stride: int) -> Iterator[Window]:
    """Cut an example so that each scored token is a target once, in the first window that reaches it."""
    ids = example.input_ids[: example.scored[-1] + 1] if example.scored else []
    scored, reached = set(example.scored), 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        places = range(begin + 1, end)
        targets = [ids[place] if place >= reached and place in scored else IGNORE for place in places]
        if any(target != IGNORE for target in targets):
            yield Window(number, ids[begin : end - 1], targets)
        reached = end
        if end == len(ids):
            return


def batches(found: Sequence[Window | HeldOut], todo: Sequence[int], prefix: int = 0) -> Iterator[list[int]]:
    """Which windows go together: those of like length, the longest first, as what does not fit fails at once.

    ``prefix``: tokens that will stand before each of them.
    """
    batch: list[int] = []
    for number in sorted(todo, key=lambda number: len(found[number].input_ids), reverse=True):
        if batch and (prefix + len(found[batch[0]].input_ids)) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _score(model: PreTrainedModel, batch: Sequence[Window], shared: Prefix) -> list[float]:
    """The negative log-likelihood of each window's targets, behind what they share.

    Padding on the right needs no attention mask: no token sees what comes after it.
    """
    width = max(len(one.input_ids) for one in batch)
    ids = torch.tensor([one.input_ids + [0] * (width - len(one.input_ids)) for one in batch], device=model.device)
    padded = [one.targets + [IGNORE] * (width - len(one.targets)) for one in batch]
    targets = torch.tensor(padded, device=model.device)
    nll = torch.zeros(len(batch), dtype=torch.float64, device=model.device)
    step = max(1, LOGITS // (len(batch) * model.config.vocab_size))
    cache = shared.cache(len(batch), width) if shared.length else None
    for start in range(0, width, step):
        part = slice(start, start + step)
        output = model(input_ids=ids[:, part], past_key_values=cache, use_cache=step < width)
        cache = output.past_key_values
        nll += cross_entropy(
            output.logits.float().transpose(1, 2), targets[:, part], ignore_index=IGNORE, reduction="none"
        ).sum(dim=1, dtype=torch.float64)
    return nll.tolist()

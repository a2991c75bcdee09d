"""Whether a model remembers the canaries that were planted among its training examples.

A canary's number is compared with others of the same form, drawn at random, in the same sentence. A model that never
saw it ranks it anywhere among them; one that remembers it ranks it first. Exposure says that in bits (Carlini et al.
2019, arXiv 1802.08232, section 4.2): log2 of how many numbers there are, minus log2 of the rank.

The rank among 255 others stands for the rank among all, so exposure ends at 8 bits where the whole range would give
29.7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING

from steep.evaluate.heldout import hold_out
from steep.evaluate.ledger import Ledger
from steep.evaluate.perplexity import likelihoods
from steep.records import CANARY_NUMBERS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CANDIDATES = 255
"""Other numbers that each canary is compared with."""
FALSE_ALARMS = 0.001
"""Of 1,000 models that never saw a canary, the verdict takes so many at most for one that remembers them."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """Of one canary. Without memory, ``bits`` is above x with a probability of at most 2**-x."""

    document_id: str
    rank: int
    """Among itself and the candidates; 1 where none of them is as likely."""
    bits: float
    """log2 of (candidates + 1) / rank; where the rank is 1, a lower bound."""


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Of all canaries of a run."""

    exposures: list[Exposure]
    candidates: int
    """Other numbers that each of them was compared with."""
    first: int
    """Canaries that are likelier than all their candidates."""
    mean: float
    """Of the exposures, in bits; 1.4 is expected without memory."""
    limit: float
    """The mean from which on the verdict is ``memorised``."""
    p: float
    """Probability of such a mean or a higher one without memory."""
    false_alarms: float
    """The probability that belongs to ``limit``."""
    memorised: bool


def exposure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    canaries: Sequence[Mapping[str, str]],
    *,
    candidates: int = CANDIDATES,
    seed: int = 0,
    ledger: Ledger | None = None,
) -> CanaryCheck:
    """Rank every canary, a row of ``canaries.json``, among numbers that were not planted.

    What ``ledger`` knows of the step `canaries` is not computed again.
    """
    rows = [row for number, canary in enumerate(canaries) for row in rivals(canary, candidates, f"{seed}:{number}")]
    examples = hold_out(rows, tokenizer)
    window = max(len(example.input_ids) for example in examples)
    found = likelihoods(model, tokenizer, examples, window=window, stride=window - 1, ledger=ledger, step="canaries")
    size = candidates + 1
    ranks = [_rank([one.nll for one in found[start : start + size]]) for start in range(0, len(found), size)]
    return judge([canary["document_id"] for canary in canaries], ranks, candidates)


def judge(document_ids: Sequence[str], ranks: Sequence[int], candidates: int) -> CanaryCheck:
    """The verdict on canaries by their ranks.

    Without memory, canary and candidates are draws from one range, so rank / (candidates + 1) is a p-value, uniform on
    its steps, and exposure is its -log2. Their sum is Fisher's test of combined p-values (Statistical Methods for
    Research Workers, 1932, section 21.1): in nats it is at most Gamma distributed with as many degrees as canaries. The
    steps make it rarer than that, never more frequent.
    """
    size = candidates + 1
    exposures = [Exposure(name, rank, math.log2(size / rank)) for name, rank in zip(document_ids, ranks, strict=True)]
    mean = fmean(one.bits for one in exposures)
    limit = mean_limit(len(exposures))
    return CanaryCheck(
        exposures=exposures,
        candidates=candidates,
        first=ranks.count(1),
        mean=mean,
        limit=limit,
        p=_gamma_tail(mean * len(exposures) * math.log(2), len(exposures)),
        false_alarms=FALSE_ALARMS,
        memorised=mean >= limit,
    )


def mean_limit(canaries: int) -> float:
    """The mean exposure, in bits, that models without memory reach in `FALSE_ALARMS` of all cases; by bisection."""
    low, high = 0.0, 1 - math.log(FALSE_ALARMS)  # for one canary, -log(FALSE_ALARMS) nats; for more of them, less
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _gamma_tail(middle * canaries, canaries) > FALSE_ALARMS else (low, middle)
    return high / math.log(2)


def _gamma_tail(nats: float, degrees: int) -> float:
    """Probability that as many exponential variables of mean 1 sum up to more: that of fewer Poisson events."""
    if nats <= 0:
        return 1.0
    return min(1.0, math.fsum(math.exp(k * math.log(nats) - nats - math.lgamma(k + 1)) for k in range(degrees)))


def rivals(canary: Mapping[str, str], candidates: int, seed: str) -> list[dict[str, str]]:
    """The canary, and the same example with other numbers in the place of its own."""
    own = int(canary["secret"])
    drawn = Random(seed).sample(CANARY_NUMBERS, candidates + 1)
    others = [number for number in drawn if number != own][:candidates]
    parts = {name: canary[name] for name in ("prompt", "completion", "text") if name in canary}
    return [
        {name: part.replace(canary["secret"], str(number)) for name, part in parts.items()}
        | {"document_id": canary["document_id"]}
        for number in (own, *others)
    ]


def _rank(nll: Sequence[float]) -> int:
    """Of the first. One that is as likely stands before it, or a model for which all are alike would remember all."""
    return 1 + sum(value <= nll[0] for value in nll[1:])

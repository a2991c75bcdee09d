"""Does the base model know the held-out text already? On a text that it has read before, little is proven.

The sign is Min-K% Prob (Shi et al. 2024, arXiv 2310.16789): text that a model has read holds few tokens that surprise
it. Its mean over the held-out texts is set against that of general passages, which no model has read, cut to the same
lengths. `benchmarks/familiarity.py` tries the rule on the model that ships, whose training text is known: of abstracts,
guides and books that it has read the gap is 1.6, 2.3 and 1.0 nats, of other abstracts, news, a blog and other books
0.3, -0.4, -0.3 and 0.0. Bits per byte are told beside it and do not tell the two apart, as they follow the kind of
text: 1.37 for books that it has read, 1.21 for abstracts that it has not.

What it cannot show: that a model has read these very texts, and not others like them; a text that was read once among
trillions of tokens leaves hardly a trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from steep.errors import ModelError
from steep.evaluate.general import Passage
from steep.evaluate.heldout import hold_out
from steep.generation import decode
from steep.significance import difference

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST = 160
"""Held-out texts of which familiarity is measured."""
SHORTEST = 100
"""Bytes of a text of which it can be measured."""
LEAST_LIKELY = 0.2
"""Share of a text's tokens that Min-K% Prob looks at; Shi et al. found 20 % the best."""
FAMILIAR = 0.7
"""Nats by which the least likely tokens of known text are likelier than those of general text."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Familiarity:
    """The base model on the beginnings of held-out texts, each against a general passage cut to the same length."""

    texts: int
    bits_per_byte: float
    general_bits_per_byte: float
    min_k: float
    """Mean log-probability in nats of each text's least likely fifth of tokens, averaged over the texts."""
    general_min_k: float
    gap: float
    """The first minus the second."""
    low: float | None
    """Bounds of the 95 % interval of the gap."""
    high: float | None
    known: bool
    """The gap is at least `FAMILIAR`, and no accident."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities in nats of a text's tokens, and its bytes in UTF-8."""

    log_probabilities: Floats
    bytes: int

    @property
    def min_k(self) -> float:
        count = max(1, math.ceil(len(self.log_probabilities) * LEAST_LIKELY))
        return float(np.sort(self.log_probabilities)[:count].mean())


def matched(texts: Sequence[str], passages: Sequence[Passage]) -> list[tuple[str, str, str]]:
    """A held-out text, a general one, and the latter's id, both cut to the same length in bytes, up to a blank.

    At most `MOST` texts, evenly spread over all that are long enough, each with the next passage in turn. A model
    predicts the later tokens of a text better than the first: so the text of one kind must not be the longer one.
    """
    enough = [text for text in texts if len(text.encode("utf-8", "replace")) >= SHORTEST]
    chosen = [enough[place * len(enough) // MOST] for place in range(MOST)] if len(enough) > MOST else enough
    return [_cut_alike(text, passages[place % len(passages)]) for place, text in enumerate(chosen)]


def _cut_alike(text: str, passage: Passage) -> tuple[str, str, str]:
    length = min(len(text.encode("utf-8", "replace")), len(passage.text.encode("utf-8", "replace")))
    return _beginning(text, length), _beginning(passage.text, length), passage.id


def _beginning(text: str, length: int) -> str:
    """As many whole words as fit, or characters where no blank is near, as in Chinese."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= length:
        return text
    cut = raw[:length].decode("utf-8", "ignore")
    words = cut.rsplit(None, 1)[0]
    return words if 2 * len(words) > len(cut) else cut


def score_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int
) -> list[Scored]:
    """The probability of each token of each text, of which a model sees at most ``window`` tokens, BOS included."""
    rows = [{"document_id": str(number), "text": text} for number, text in enumerate(texts)]
    found = []
    model.eval()
    with torch.no_grad():
        for one in hold_out(rows, tokenizer):
            places = [place for place in one.scored if place < window]
            values = _log_probabilities(model, one.input_ids[:window])[[place - 1 for place in places]]
            text = decode(tokenizer, [one.input_ids[place] for place in places])
            found.append(Scored(values, len(text.encode("utf-8", "replace"))))
    return found


def _log_probabilities(model: PreTrainedModel, input_ids: Sequence[int]) -> Floats:
    """Of each token but the first."""
    ids = torch.tensor([input_ids], device=model.device)
    logits = model(input_ids=ids[:, :-1]).logits[0].float()
    chosen = logits.gather(-1, ids[0, 1:, None])[:, 0] - logits.logsumexp(-1)
    if not torch.isfinite(chosen).all():
        raise ModelError("the model gives a text no finite probability, so its weights are broken")
    values: Floats = chosen.double().cpu().numpy()
    return values


def familiarity(texts: Sequence[Scored], general: Sequence[Scored], passages: Sequence[str]) -> Familiarity:
    """``texts`` and ``general`` as `matched` pairs them; ``passages`` are the ids, one of which may come again."""
    own, other = (np.array([[one.min_k, 1.0] for one in scored]) for scored in (texts, general))
    gap = difference(own, other, _mean, better=None, groups=passages)
    value = float(_mean(own.sum(axis=0)) - _mean(other.sum(axis=0)))
    return Familiarity(
        texts=len(texts),
        bits_per_byte=_bits_per_byte(texts),
        general_bits_per_byte=_bits_per_byte(general),
        min_k=float(_mean(own.sum(axis=0))),
        general_min_k=float(_mean(other.sum(axis=0))),
        gap=value,
        low=gap.low if gap else None,
        high=gap.high if gap else None,
        known=value >= FAMILIAR and gap is not None and gap.low > 0,
    )


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _bits_per_byte(scored: Sequence[Scored]) -> float:
    nats = -sum(float(one.log_probabilities.sum()) for one in scored)
    return nats / math.log(2) / sum(one.bytes for one in scored)


def familiarity_warning(found: Familiarity) -> str | None:
    if not found.known:
        return None
    return (
        f"the base model may have read the held-out text before: what surprises it most there is {found.gap:.1f} nats "
        f"likelier than in general text of the same length (from {FAMILIAR} on, it is told). Text of a uniform kind "
        "looks alike; hold out text that was written after the base model"
    )

"""What becomes of a sequence that is longer than `prepare.max_length`: arithmetic on token ids and labels alone.

Prepare counts with it, `steep show` shows it and training reads it, so what is counted is what is trained. Whatever is
done, a prompt is never left without its answer, nor an answer without its prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from steep.errors import UsageError
from steep.recipe.train import PREFERENCES
from steep.records import IGNORE

if TYPE_CHECKING:
    from steep.recipe import Prepare


@dataclass(frozen=True, slots=True)
class Encoded:
    """``labels`` equal ``input_ids`` where a token is trained and `IGNORE` elsewhere; both have the same length.

    ``dropped`` counts the tokens that ``max_length`` cut off. ``ends`` is False where the text goes on after what is
    left of it here: such a sequence does not end with EOS, since its text did not end there.
    """

    input_ids: list[int]
    labels: list[int]
    dropped: int = 0
    ends: bool = True

    @property
    def trained(self) -> int:
        """How many tokens are trained. The first token has no predecessor and never is."""
        return len(self.labels) - self.labels.count(IGNORE) - (self.labels[:1] not in ([], [IGNORE]))

    @property
    def prompt(self) -> int:
        """How many tokens, BOS among them, stand before the first trained one."""
        return next((place for place, label in enumerate(self.labels) if label != IGNORE), len(self.labels))

    def part(self, *slices: slice, dropped: int = 0, ends: bool = True) -> Encoded:
        ids = [token for part in slices for token in self.input_ids[part]]
        return Encoded(ids, [label for part in slices for label in self.labels[part]], dropped, ends)


@dataclass(frozen=True, slots=True)
class Fit:
    """How long a sequence may be (in tokens; None is no limit), and what becomes of longer ones; see `Prepare`."""

    max_length: int | None
    overlength: str = "truncate"
    truncation_side: str = "right"

    @classmethod
    def of(cls, options: Prepare, objective: str) -> Fit:
        """Pre-training cuts nothing: packing splits texts over rows. Raises UsageError where pairs would be split."""
        if objective == "pretrain":
            return cls(None)
        if objective in PREFERENCES and options.overlength == "split":
            raise UsageError(
                f"prepare.overlength: {objective} compares whole answers, which cannot be split: take truncate or drop"
            )
        return cls(options.max_length, options.overlength, options.truncation_side)


@dataclass(frozen=True, slots=True)
class Fitted:
    """An example as training reads it.

    ``sequences``: one; several where it was split; of a pair the chosen and the rejected one; none where ``fault`` says
    why. ``dropped`` counts the tokens that are in none of them.
    """

    sequences: list[Encoded]
    dropped: int = 0
    fault: str | None = None
    split: bool = False
    too_long: bool = False
    """Whether `overlength: drop` left it out."""


def fit_sequence(whole: Encoded, fit: Fit, bos: int | None) -> Fitted:
    """``bos`` is the token that stays at the beginning when what follows it is cut."""
    limit, excess = fit.max_length, _excess(fit, whole)
    if limit is None or not excess:
        return Fitted([whole]) if whole.trained else _fault("nothing is left to train", whole)
    if fit.overlength == "drop":
        return replace(_fault(_too_long(limit), whole), too_long=True)
    if fit.overlength == "split":
        return _split(whole, limit, bos)
    if fit.truncation_side == "left":
        cut = _without_beginning(whole, excess, bos)
        return Fitted([cut], excess) if _has_prompt(cut, whole, bos) else _fault(_no_prompt(limit), whole)
    cut = whole.part(slice(limit), dropped=excess, ends=False)
    return Fitted([cut], excess) if cut.trained else _fault(_no_completion(limit), whole)


def fit_pair(chosen: Encoded, rejected: Encoded, fit: Fit, bos: int | None) -> Fitted:
    """Both begin with the same prompt, and keep the same part of it. Answers are never split."""
    limit, excess = fit.max_length, _excess(fit, chosen, rejected)
    if limit is None or not excess:
        return Fitted([chosen, rejected])
    if fit.overlength == "drop":
        return replace(_fault(_too_long(limit), chosen, rejected), too_long=True)
    if fit.truncation_side == "left":
        cut = [_without_beginning(whole, excess, bos) for whole in (chosen, rejected)]
        return (
            Fitted(cut, 2 * excess) if _has_prompt(cut[0], chosen, bos) else _fault(_no_prompt(limit), chosen, rejected)
        )
    over = [_excess(fit, whole) for whole in (chosen, rejected)]
    cut = [
        whole.part(slice(limit), dropped=lost, ends=not lost)
        for whole, lost in zip((chosen, rejected), over, strict=True)
    ]
    if chosen.prompt >= limit:
        return _fault(_no_completion(limit), chosen, rejected)
    if cut[0].input_ids == cut[1].input_ids:
        return _fault(f"chosen and rejected are the same up to max_length {limit}", chosen, rejected)
    return Fitted(cut, sum(over))


def _too_long(limit: int) -> str:
    return f"longer than max_length {limit}"


def _no_completion(limit: int) -> str:
    return f"prompt fills max_length {limit}: nothing is left to train"


def _no_prompt(limit: int) -> str:
    return f"completion fills max_length {limit}: nothing is left of the prompt"


def _fault(reason: str, *wholes: Encoded) -> Fitted:
    return Fitted([], sum(len(whole.input_ids) for whole in wholes), reason)


def _excess(fit: Fit, *wholes: Encoded) -> int:
    longest = max(len(whole.input_ids) for whole in wholes)
    return 0 if fit.max_length is None else max(0, longest - fit.max_length)


def _kept(whole: Encoded, bos: int | None) -> int:
    """How many tokens at the beginning are BOS, which stays."""
    return int(bos is not None and whole.input_ids[:1] == [bos])


def _without_beginning(whole: Encoded, excess: int, bos: int | None) -> Encoded:
    kept = _kept(whole, bos)
    return whole.part(slice(kept), slice(kept + excess, None), dropped=excess)


def _has_prompt(cut: Encoded, whole: Encoded, bos: int | None) -> bool:
    """Whether something but BOS is still only read, where something was. Of a text, nothing was."""
    kept = _kept(whole, bos)
    return whole.prompt <= kept or IGNORE in cut.labels[kept:]


def _split(whole: Encoded, limit: int, bos: int | None) -> Fitted:
    prompt = whole.prompt if whole.prompt > _kept(whole, bos) else 0
    room = limit - prompt
    if room < 1:
        return _fault(_no_completion(limit), whole)
    end, pieces = len(whole.input_ids), list[Encoded]()
    for start, stop in _even(prompt, end, room):
        piece = whole.part(slice(prompt), slice(start, stop), ends=stop == end)
        pieces += [piece] if piece.trained else []  # of a conversation, a piece may hold only what others say
    lost = end - prompt - sum(len(piece.input_ids) - prompt for piece in pieces)
    return Fitted(pieces, lost, split=True)


def _even(start: int, end: int, room: int) -> Iterator[tuple[int, int]]:
    """As few pieces as there is room for, of lengths that differ by 1 at most: no last one of a single token."""
    count = ceil((end - start) / room)
    borders = [start + (end - start) * number // count for number in range(count + 1)]
    yield from pairwise(borders)

"""The decoding loop: rows that have ended leave the batch, and waiting prompts take their place.

`model.generate` computes every row to the end of the longest one, and starts the next batch when the last row has
ended. Here a row costs what its own answer is long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from steep.generation.attention import grouped_attention
from steep.generation.cache import Part, Prefix, filled, join
from steep.generation.decoding import decode
from steep.generation.memory import Room
from steep.generation.sampling import Sampling
from steep.sizes import PREFILL

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.cache_utils import Cache

ENDED = 8
"""One row in so many may have ended before the batch is made anew, which copies its keys and values once."""
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's, which plans anew for every width, and the width changes with each token."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The answer to the prompt at ``index``, without EOS and padding.

    ``finished``: the model ended it, not the limit. ``dropped``: tokens of the prompt that did not fit the model.
    """

    index: int
    token_ids: list[int]
    text: str
    finished: bool
    dropped: int = 0


@dataclass(slots=True)
class Row:
    """A prompt, its answer so far, and whether the model has ended it."""

    index: int
    prompt: list[int]
    limit: int
    dropped: int = 0
    draws: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    finished: bool = False

    @property
    def ended(self) -> bool:
        return self.finished or len(self.tokens) == self.limit

    @property
    def longest(self) -> int:
        return len(self.prompt) + self.limit

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.tokens)

    @property
    def last(self) -> int:
        return (self.tokens or self.prompt)[-1]

    @property
    def draw(self) -> float:
        """That of the next token; a row that has ended needs none."""
        return self.draws[min(len(self.tokens), self.limit - 1)]

    def behind(self, prefix: Sequence[int]) -> Row:
        return replace(self, prompt=[*prefix, *self.prompt])


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """EOS as the tokenizer and the model's generation config know it (Llama 3 has several)."""
    known = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])}
    return sorted(number for number in ids if number is not None)


class Batches:
    """The rows that are being answered, with their cache, and those that wait, the longest last."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        room: Room,
        prefix: Sequence[int],
    ) -> None:
        self.model, self.tokenizer, self.sampling, self.room = model, tokenizer, sampling, room
        self.stop = frozenset(stop_ids(model, tokenizer))
        self.prefix = Prefix(model, prefix)
        self.waiting: list[Row] = []
        self.rows: list[Row] = []
        self.cache = self.prefix.cache(0, 0)
        self.mask = torch.ones(0)

    def answers(self, rows: Sequence[Row]) -> Iterator[Generated]:
        """Each row's answer when it has ended.

        The longest begin, so what does not fit fails at once; what does not fit a GPU is tried again with half as many
        rows, which go on from the tokens that they have.
        """
        self.waiting = sorted(rows, key=lambda row: (row.longest, len(row.prompt)))
        for row in self.waiting:
            row.draws = self.sampling.draws(row.index, row.limit)
        with grouped_attention(self.model):
            while self.waiting or self.rows:
                yield from [self._answer(row) for row in self._advance()]

    def _answer(self, row: Row) -> Generated:
        return Generated(row.index, row.tokens, decode(self.tokenizer, row.tokens), row.finished, row.dropped)

    def _advance(self) -> list[Row]:
        """Go on, and give the rows that ended."""
        alive = [row for row in self.rows if not row.ended]
        newcomers = self._admitted(alive) if self._due(len(alive)) else []
        try:
            return self._renew(newcomers) if self._due(len(alive)) else self._step()
        except torch.OutOfMemoryError:
            if len(alive) + len(newcomers) <= 1:
                raise
        # not in `except`, whose traceback holds on to what was being computed
        self.room.halve(len(alive) + len(newcomers))
        self.waiting += alive
        self.rows, self.cache = [], self.prefix.cache(0, 0)
        torch.cuda.empty_cache()
        return []

    def _due(self, alive: int) -> bool:
        """Whether the batch is to be made anew: rows have ended, or the columns of those that have are in the way."""
        full = filled(self.cache) == self.mask.shape[-1]
        return full or (len(self.rows) - alive) * ENDED >= len(self.rows)

    def _admitted(self, alive: Sequence[Row]) -> list[Row]:
        """Those of the waiting that now have room."""
        found: list[Row] = []
        longest = max((row.longest for row in alive), default=0)
        for row in reversed(self.waiting):
            longest = max(longest, row.longest)
            if not self.room.holds(len(alive) + len(found) + 1, self.prefix.length + longest):
                break
            found.append(row)
        return sorted(found, key=lambda row: row.length, reverse=True)

    def _renew(self, newcomers: list[Row]) -> list[Row]:
        """Let the ended rows go, and begin with others."""
        kept = [place for place, row in enumerate(self.rows) if not row.ended]
        begun = [self._prefill(rows) for rows in _chunks(newcomers)]
        alive = [self.rows[place] for place in kept]
        held = [row.length - 1 for row in alive] + [row.length for row in newcomers]
        if held:
            self._join([Part(self.cache, kept), *(part for part, _ in begun)], held, alive + newcomers)
        self.rows = alive + newcomers
        del self.waiting[len(self.waiting) - len(newcomers) :]
        return self._append(newcomers, [token for _, tokens in begun for token in tokens])

    def _join(self, parts: Sequence[Part], held: Sequence[int], rows: Sequence[Row]) -> None:
        shared, width = self.prefix.length, self.prefix.length + max(held)
        columns = shared + max(row.longest for row in rows)
        self.cache = join([part for part in parts if part.rows], shared, width, columns)
        self.mask = _mask(shared, width, held, columns).to(self.model.device)

    def _prefill(self, rows: Sequence[Row]) -> tuple[Part, list[int]]:
        """Read prompts, and what they were answered before memory ran out; the next token of each."""
        width, shared = max(row.length for row in rows), self.prefix.length
        gaps = [width - row.length for row in rows]
        ids = [[0] * gap + row.prompt + row.tokens for gap, row in zip(gaps, rows, strict=True)]
        places = torch.arange(width) - torch.tensor(gaps).unsqueeze(-1)
        cache = self.prefix.cache(len(rows), width)
        mask = _mask(shared, shared + width, [row.length for row in rows], shared + width)
        tokens = self._next(rows, torch.tensor(ids), shared + places.clamp(min=0), mask.to(self.model.device), cache)
        return Part(cache, list(range(len(rows)))), tokens

    def _step(self) -> list[Row]:
        """One token more for each row."""
        ids = torch.tensor([[row.last] for row in self.rows])
        places = torch.tensor([[self.prefix.length + row.length - 1] for row in self.rows])
        mask = self.mask[:, : filled(self.cache) + 1]
        return self._append(self.rows, self._next(self.rows, ids, places, mask, self.cache))

    @torch.no_grad()
    def _next(self, rows: Sequence[Row], ids: Tensor, places: Tensor, mask: Tensor, cache: Cache) -> list[int]:
        with sdpa_kernel(KERNELS):
            output = self.model(
                input_ids=ids.to(self.model.device),
                position_ids=places.to(self.model.device),
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        tokens: list[int] = self.sampling.choose(output.logits[:, -1], [row.draw for row in rows]).tolist()
        return tokens

    def _append(self, rows: Sequence[Row], tokens: Sequence[int]) -> list[Row]:
        """Give each row its token; those that end with it."""
        going = [(row, token) for row, token in zip(rows, tokens, strict=True) if not row.ended]
        for row, token in going:
            if token in self.stop:
                row.finished = True
            else:
                row.tokens.append(token)
        return [row for row, _ in going if row.ended]


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows that are read together, when the longest come first."""
    begin = 0
    while begin < len(rows):
        size = max(1, PREFILL // rows[begin].length)
        yield rows[begin : begin + size]
        begin += size


def _mask(prefix: int, width: int, held: Sequence[int], columns: int) -> Tensor:
    """What each row may look at: the prefix, its own columns that end at ``width``, and those to come."""
    places = torch.arange(columns)
    return ((places < prefix) | (places >= width - torch.tensor(held).unsqueeze(-1))).long()

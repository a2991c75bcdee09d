"""Keys and values of prompts that are answered together, and of a prefix that all of them share.

All rows of a batch end in the same column, as with padding on the left, and those of the prefix begin in the first:

    prefix | nothing | prompt and answer so far | free columns

A step writes one column. Only when rows leave or join is anything copied; transformers' own dynamic cache copies all of
it in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Columns(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values: tensors (rows, heads, columns, size) of which the first ``filled`` columns count."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns, self.filled = columns, 0

    def take(self, rows: int, like: Sequence[Tensor]) -> None:
        """Memory for so many rows. Zeros: what no row looks at is still multiplied, by 0, and may not be NaN."""
        self.keys, self.values = (one.new_zeros(rows, one.shape[1], self.columns, one.shape[3]) for one in like)
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def put(self, keys: Tensor, values: Tensor, rows: slice, begin: int) -> None:
        end = begin + keys.shape[2]
        self.keys[rows, :, begin:end] = keys
        self.values[rows, :, begin:end] = values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns and give all that are filled, as transformers asks for it."""
        if not self.is_initialized:
            self.take(len(key_states), (key_states, value_states))
        self.put(key_states, value_states, slice(None), self.filled)
        self.filled += key_states.shape[2]
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]

    def get_seq_length(self) -> int:
        return self.filled


def filled(cache: Cache) -> int:
    return int(cache.get_seq_length())


class Prefix:
    """What the model makes of tokens that stand before every prompt; ``length`` is 0 where there are none."""

    def __init__(self, model: PreTrainedModel, token_ids: Sequence[int] = ()) -> None:
        self.length = len(token_ids)
        self._layers: list[Columns] = [
            Columns(self.length) for _ in range(model.config.get_text_config().num_hidden_layers)
        ]
        if token_ids:
            ids = torch.tensor([list(token_ids)], device=model.device)
            with torch.no_grad():
                model(input_ids=ids, past_key_values=Cache(layers=self._layers), use_cache=True, logits_to_keep=1)

    def cache(self, rows: int, columns: int) -> Cache:
        """A cache for so many rows that begin with the prefix, with so many columns for what follows."""
        layers = [Columns(self.length + columns) for _ in self._layers]
        if self.length:
            for number, layer in enumerate(layers):
                self.write(layer, number, rows)
        return Cache(layers=layers)

    def write(self, layer: Columns, number: int, rows: int) -> None:
        ours = self._layers[number]
        layer.take(rows, (ours.keys, ours.values))
        layer.put(ours.keys, ours.values, slice(None), 0)
        layer.filled = self.length


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a cache that go on."""

    cache: Cache
    rows: list[int]


def join(parts: Sequence[Part], prefix: int, width: int, columns: int) -> Cache:
    """One cache of the rows of several, ``width`` columns filled of which the first ``prefix`` are shared.

    Layer by layer, and each source is given up when it is copied: one layer at a time is held twice.
    """
    layers = []
    for number in range(len(parts[0].cache.layers)):
        layer, sources = Columns(columns), [part.cache.layers[number] for part in parts]
        layer.take(sum(len(part.rows) for part in parts), (sources[0].keys, sources[0].values))
        layer.filled, begin = width, 0
        for part, source in zip(parts, sources, strict=True):
            _copy(source, part.rows, layer, slice(begin, begin + len(part.rows)), prefix)
            begin += len(part.rows)
            source.keys = source.values = None
        layers.append(layer)
    return Cache(layers=layers)


def _copy(source: Columns, chosen: list[int], target: Columns, rows: slice, prefix: int) -> None:
    """The shared columns to the left, and as many of the others as there is room for to the right."""
    index = torch.tensor(chosen, device=source.keys.device)
    own = min(source.filled, target.filled) - prefix
    for begin, end, place in ((0, prefix, 0), (source.filled - own, source.filled, target.filled - own)):
        part = slice(begin, end)
        target.put(source.keys[:, :, part][index], source.values[:, :, part][index], rows, place)

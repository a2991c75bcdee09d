"""Words of many texts at once, as numbers: for the steps that count and compare them.

A word is what stands between white space; a Chinese or Japanese character is one by itself. numpy splits all texts of a
batch in one go. A number of 64 bits stands for each word and each run of words; equal ones have equal numbers, and so,
once in 2**64 pairs, have different ones: that much is given away for 150 MB a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Values = NDArray[np.float64]
Number = NDArray[np.uint64]

AT_ONCE = 1 << 18
"""Characters of the texts that are split together: more would not fit into the caches of a core."""

_CHINESE_OR_JAPANESE = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in _CHINESE_OR_JAPANESE)
_HAS_THOSE = re.compile(f"[{_CLASS}]")
_WORD = re.compile(rf"[{_CLASS}]|[^\s{_CLASS}]+")

_CHARACTERS = 0x110000
_BASE = 0x9E3779B97F4A7C15
_SEPARATOR, _PART, _WHOLE = 0, 1, 2


def count_words(text: str) -> int:
    if text.isascii() or not _HAS_THOSE.search(text):
        return len(text.split())
    return len(_WORD.findall(text))


def parts(texts: Sequence[Sized], at_once: int = AT_ONCE) -> Iterator[slice]:
    """Cuts a sequence into parts that are together no longer than that; a longer text is a part by itself."""
    first = size = 0
    for place, text in enumerate(texts):
        if size and size + len(text) > at_once:
            yield slice(first, place)
            first, size = place, 0
        size += len(text)
    if texts:
        yield slice(first, len(texts))


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, one after the other."""

    codes: NDArray[np.uint32]
    """The characters of the texts, with a line break between one text and the next."""
    offsets: Whole
    """Where each text begins in `codes`."""
    starts: Whole
    """Where each word begins in `codes`."""
    ends: Whole
    """Where it ends."""
    bounds: Whole
    """Of text i the words are those from bounds[i] to bounds[i + 1]."""

    @property
    def counts(self) -> Whole:
        return np.diff(self.bounds)

    @property
    def text(self) -> Whole:
        """Of each word the place of its text."""
        return np.repeat(np.arange(len(self.offsets)), self.counts)

    @property
    def lengths(self) -> Whole:
        """Of each word the number of its characters."""
        return self.ends - self.starts

    def holds(self, kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each word whether one of its characters is of the kind, which blanks are not."""
        return np.logical_or.reduceat(kind[self.codes], self.starts) if len(self.starts) else np.zeros(0, bool)

    def per_text(self, values: NDArray[np.generic]) -> Whole:
        """Of each text the sum of whole numbers that stand for its words."""
        sums = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
        return np.diff(sums[self.bounds])


def split(texts: Sequence[str], kinds: NDArray[np.uint8]) -> Words:
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds[codes]
    begins = kind > _SEPARATOR
    finishes = begins.copy()
    joined = (kind[1:] & kind[:-1]) == _PART
    begins[1:] &= ~joined
    finishes[:-1] &= ~joined
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    starts = np.flatnonzero(begins)
    return Words(codes, offsets[:-1], starts, np.flatnonzero(finishes) + 1, np.searchsorted(starts, offsets))


def numbers(words: Words, values: Number) -> Number:
    """A number for each word, of the values of its characters and their order."""
    found = np.empty(len(words.starts), np.uint64)
    cuts = np.searchsorted(words.starts, np.arange(0, len(words.codes) + AT_ONCE, AT_ONCE))
    for begin, end in pairwise(np.unique(cuts)):  # in steps, for the sake of books that are one text
        first = words.starts[begin]
        starts, ends = words.starts[begin:end] - first, words.ends[begin:end] - first
        sums, powers = _sums(values[words.codes[first : first + ends[-1]]])
        found[begin:end] = (sums[ends] - sums[starts]) * powers[starts]
    return found


class Runs:
    """Numbers for all runs of so many words; element i stands for the run that begins with word i."""

    def __init__(self, words: Number) -> None:
        self._sums, self._powers = _sums(words)

    def of(self, length: int) -> Number:
        count = max(0, len(self._sums) - length)
        found: Number = (self._sums[length:] - self._sums[:count]) * self._powers[:count]
        return found


@cache
def between_blanks() -> NDArray[np.uint8]:
    """Kinds of characters for `split`: whatever is no white space is part of a word."""
    return _kinds(~np.strings.isspace(_every_character()))


@cache
def letters_and_digits() -> NDArray[np.uint8]:
    """Kinds of characters for `split`: all but letters and digits separates words."""
    return _kinds(np.strings.isalnum(_every_character()))


@cache
def letters() -> NDArray[np.bool_]:
    return np.strings.isalpha(_every_character())


@cache
def exact() -> Number:
    """Values of characters for `numbers`."""
    return scattered(np.arange(_CHARACTERS))


@cache
def without_case() -> Number:
    """Values of characters for `numbers`: the same for a capital and a small letter."""
    return exact()[np.strings.lower(_every_character()).view(np.uint32)]


def scattered(values: Whole) -> Number:
    """Numbers in which every bit depends on all bits of the value (splitmix64)."""
    mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _kinds(in_words: NDArray[np.bool_]) -> NDArray[np.uint8]:
    kinds = np.where(in_words, _PART, _SEPARATOR).astype(np.uint8)
    for first, last in _CHINESE_OR_JAPANESE:
        kinds[first : last + 1][in_words[first : last + 1]] = _WHOLE
    return kinds


def _every_character() -> NDArray[np.str_]:
    return np.arange(_CHARACTERS, dtype=np.uint32).view("U1")


def _sums(values: Number) -> tuple[Number, Number]:
    """Running sums of the values, each times a power of its place; and what takes that power out again.

    All modulo 2**64: the number of a run is a polynomial whose coefficients are its values, so that it does not depend
    on where the run stands.
    """
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(_BASE, len(values)), out=sums[1:])
    return sums, _powers(pow(_BASE, -1, 1 << 64), len(sums))


def _powers(base: int, count: int) -> Number:
    return _kept_powers(base)[:count] if count <= 2 * AT_ONCE else _new_powers(base, count)


@cache
def _kept_powers(base: int) -> Number:
    return _new_powers(base, 2 * AT_ONCE)


def _new_powers(base: int, count: int) -> Number:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)

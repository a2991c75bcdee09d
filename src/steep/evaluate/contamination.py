"""Held-out texts that stand in the training text as well: what a model has read, it need not have understood.

A text counts as leaked where a share of its distinct word n-grams stands somewhere in the training text, as GPT-3's
test sets were examined (Brown et al. 2020, arXiv 2005.14165, appendix C). Unlike Jaccard similarity this finds a text
that is only a part of a long training document. Words are those of `steep.duplicates`: case, punctuation and white
space do not count.

Of 1,000 abstracts whose copies in the training text had 2, 5, 7 and 10 % of their words replaced, 8-grams with a
threshold of 0.5 find 100, 95, 73 and 25 %; with 0.2, they find 100, 100, 100 and 99 %. Of 551 copies with a Jaccard
similarity of at least 0.5 they find 99.8 and 100 %. No abstract without a copy has a share above 0.04
(`benchmarks/checks.py`).

The training text is read as a stream, 20 MB a second on one core. Memory is that of the held-out texts and of the
longest training document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import daft
import numpy as np
from daft import col
from daft.functions import hash, list_map, split
from numpy.typing import NDArray

from steep.duplicates.sketches import normal_form, without_punctuation
from steep.evaluate.portions import portions
from steep.terminal import progress

AT_ONCE = 1 << 21
"""Characters of training text that are looked at together."""
TELLING = 64
"""An n-gram of more held-out texts than this, or of more training documents, such as a site's footer or a template's
instruction, tells nothing of any one and is not counted, unless a text has no others."""
SIEVE = 24
"""Bits of a hash that are looked up first: nearly all of the training text's n-grams end there."""

Whole = NDArray[np.int64]
Number = NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out text that stands in the training text."""

    text: int
    """Its place among the held-out texts."""
    share: float
    """Of its distinct n-grams, how many stand in the training text (0 to 1)."""
    document_id: str
    """The training document that holds most of them ..."""
    document_share: float
    """... and how many it holds."""
    words: int
    """Length of the longest stretch that it has in common with that document ..."""
    stretch: str
    """... and the stretch: its words, without case and punctuation."""


@dataclass(frozen=True, slots=True)
class _Words:
    """Hashes of the words of several texts; those of text i lie from bounds[i] to bounds[i + 1]."""

    hashes: Number
    bounds: Whole

    def of(self, text: int) -> Number:
        return self.hashes[self.bounds[text] : self.bounds[text + 1]]


@dataclass(frozen=True, slots=True)
class _Grams:
    """Hashes of runs of n words, with the text of each and the word at which it begins, counted over all texts."""

    hashes: Number
    text: Whole
    place: Whole


@dataclass(slots=True)
class _Source:
    """The best document for one text so far, by how many n-grams they share; their longest common stretch."""

    count: int
    document_id: str
    start: int
    words: int


def leaks(held_out: Sequence[str], training: Iterable[tuple[str, str]], *, ngram: int, threshold: float) -> list[Leak]:
    """The held-out texts of which at least ``threshold`` (0 to 1) of the n-grams stand in the training text.

    ``training`` gives pairs of document id and text. A text of fewer than ``ngram`` words is one n-gram as a whole:
    it equals another such text or shares nothing. A text without words is never leaked. In the order of `held_out`.
    """
    search = _Search(held_out, ngram)
    with progress("contamination") as update:
        for documents in portions(training, lambda document: len(document[1]), AT_ONCE):
            search.read(documents)
            update(len(documents))
    return search.leaks(held_out, threshold)


class _Search:
    """What is known of the held-out texts' n-grams, document by document of the training text."""

    def __init__(self, held_out: Sequence[str], ngram: int) -> None:
        self.ngram = ngram
        self.words = _words(held_out)
        grams = _grams(self.words, ngram)
        self.hashes, self.number = np.unique(grams.hashes, return_inverse=True)
        self.bounds = np.searchsorted(grams.text, np.arange(len(held_out) + 1))
        self.documents = np.zeros(len(self.hashes), np.int64)
        self.sources: dict[int, _Source] = {}
        self._gram, self._owner = _owners(self.number, grams.text)
        self._first = np.searchsorted(self._gram, np.arange(len(self.hashes) + 1))
        self._sieve = np.zeros(1 << SIEVE, bool)
        self._sieve[_head(self.hashes)] = True

    def read(self, documents: Sequence[tuple[str, str]]) -> None:
        words = _words([text for _, text in documents])
        grams = _grams(words, self.ngram)
        number, hit = self._find(grams.hashes)
        rows, places = grams.text[hit], grams.place[hit]
        pairs = np.unique(np.stack([rows, number]), axis=1)
        self.documents += np.bincount(pairs[1], minlength=len(self.documents))
        for text, row, count in self._best(pairs):
            if text not in self.sources or count > self.sources[text].count:
                here = slice(*np.searchsorted(rows, [row, row + 1]))
                begin = words.bounds[row]
                self.sources[text] = self._source(
                    text, count, documents[row][0], number[here], places[here] - begin, words.of(row)
                )

    def _find(self, hashes: Number) -> tuple[Whole, Whole]:
        """Numbers of the n-grams that are known, and where they stand."""
        likely = np.flatnonzero(self._sieve[_head(hashes)])  # none where no n-gram is known
        at = np.minimum(np.searchsorted(self.hashes, hashes[likely]), len(self.hashes) - 1)
        hit = self.hashes[at] == hashes[likely]
        return at[hit], likely[hit]

    def _best(self, pairs: Whole) -> Iterator[tuple[int, int, int]]:
        """Of each held-out text that some document shares n-grams with: the document that shares most, how many."""
        counts = np.diff(self._first)[pairs[1]]
        begins = np.repeat(self._first[pairs[1]] - np.cumsum(counts) + counts, counts)
        texts = self._owner[begins + np.arange(counts.sum())]
        shared, count = np.unique(np.stack([texts, np.repeat(pairs[0], counts)]), axis=1, return_counts=True)
        order = np.lexsort((shared[1], -count, shared[0]))
        _, best = np.unique(shared[0][order], return_index=True)
        for place in order[best].tolist():
            yield int(shared[0][place]), int(shared[1][place]), int(count[place])

    def _source(self, text: int, count: int, name: str, number: Whole, places: Whole, document: Number) -> _Source:
        own = self.number[self.bounds[text] : self.bounds[text + 1]]
        distinct, first = np.unique(own, return_index=True)
        at = np.minimum(np.searchsorted(distinct, number), len(distinct) - 1)
        both = distinct[at] == number
        shift = _diagonal(places[both] - first[at[both]], places[both])
        return _Source(count, name, *_common(self.words.of(text), document, shift))

    def leaks(self, held_out: Sequence[str], threshold: float) -> list[Leak]:
        shares = self._shares(len(held_out))
        counted = np.bincount(self._owner, minlength=len(held_out))
        leaked = [text for text in sorted(self.sources) if shares[text] >= threshold]
        found = []
        for text, spelled in zip(leaked, _spelled([held_out[text] for text in leaked]), strict=True):
            one = self.sources[text]
            stretch = " ".join(spelled[one.start : one.start + one.words])
            share = one.count / int(counted[text])
            found.append(Leak(text, float(shares[text]), one.document_id, share, one.words, stretch))
        return found

    def _shares(self, texts: int) -> NDArray[np.float64]:
        """How much of each held-out text's n-grams that tell stands in the training text."""
        telling = (self.documents <= TELLING)[self._gram]
        kept = telling | ~np.isin(self._owner, self._owner[telling])
        gram, owner = self._gram[kept], self._owner[kept]
        shares: NDArray[np.float64] = np.bincount(owner, self.documents[gram] > 0, texts) / np.maximum(
            np.bincount(owner, minlength=texts), 1
        )
        return shares


def _words(texts: Sequence[str]) -> _Words:
    words = without_punctuation(normal_form(col("text")))
    hashes = list_map(split(words, " "), hash(daft.element())).alias("hashes")
    table = daft.from_pydict({"text": list(texts)}).select(hashes, (words != "").alias("any")).to_arrow()
    lists = table["hashes"].combine_chunks()
    counts = np.diff(lists.offsets.to_numpy())
    some = table["any"].to_numpy()  # a text without words is split into one empty word
    bounds = np.concatenate(([0], np.cumsum(counts * some)))
    return _Words(lists.flatten().to_numpy()[np.repeat(some, counts)], bounds)


def _spelled(texts: Sequence[str]) -> list[list[str]]:
    words = split(without_punctuation(normal_form(col("text"))), " ").alias("words")
    found: list[list[str]] = daft.from_pydict({"text": list(texts)}).select(words).to_pydict()["words"]
    return found


def _grams(words: _Words, length: int) -> _Grams:
    """Runs of so many words; a text that has fewer is one run."""
    counts = np.diff(words.bounds)
    text = np.repeat(np.arange(len(counts)), counts)
    left = words.bounds[1:][text] - np.arange(len(text))  # words from this one to the end of its text
    hashes = np.zeros(len(text), np.uint64)
    for ahead in range(min(length, int(counts.max(initial=0)))):
        inside = len(text) - ahead
        rolled = hashes[:inside] * _BASE + words.hashes[ahead:]
        hashes[:inside] = np.where(left[:inside] > ahead, rolled, hashes[:inside])
    place = np.flatnonzero((left >= length) | (left == counts[text]))
    return _Grams(hashes[place], text[place], place)


def _owners(number: Whole, text: Whole) -> tuple[Whole, Whole]:
    """Pairs of an n-gram that counts and a text that holds it, in the order of n-grams."""
    gram, owner = np.unique(np.stack([number, text]), axis=1)
    telling = np.bincount(gram)[gram] <= TELLING
    kept = telling | ~np.isin(owner, owner[telling])
    return gram[kept], owner[kept]


def _head(hashes: Number) -> Number:
    return hashes >> np.uint64(64 - SIEVE)


def _diagonal(shifts: Whole, places: Whole) -> int:
    """The shift at which most places follow each other without a gap."""
    order = np.lexsort((places, shifts))
    shifts, places = shifts[order], places[order]
    breaks = np.flatnonzero((np.diff(shifts) != 0) | (np.diff(places) != 1)) + 1
    lengths = np.diff(np.concatenate(([0], breaks, [len(places)])))
    return int(shifts[np.concatenate(([0], breaks))[lengths.argmax()]])


def _common(text: Number, document: Number, shift: int) -> tuple[int, int]:
    """Start in the text and length of the longest run of equal words where word i + shift stands beside word i."""
    begin, end = max(0, -shift), min(len(text), len(document) - shift)
    differ = np.flatnonzero(text[begin:end] != document[begin + shift : end + shift])
    edges = np.concatenate(([-1], differ, [end - begin]))
    longest = int(np.diff(edges).argmax())
    return int(begin + edges[longest] + 1), int(edges[longest + 1] - edges[longest] - 1)

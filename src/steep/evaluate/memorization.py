"""Whether answers repeat the training text word for word: the longest run of tokens of each that stands in it.

All places of a chunk of training text walk down the tree of the answers' suffixes together, one token a step, and those
that leave it drop out (`_walk`). A node of the tree is a number that stands for one sequence of tokens and no other, so
the result is exact; hashes, which would have to be verified, are not used. For T training tokens and A answer tokens
that is O((T s + A r) log A), where s is how far a place gets on average (a few tokens), and r the longest run; 2,000
answers of 128 tokens against 10 million training tokens take 2 s and 160 MB on one core, and 4 s where all of them are
memorised (`benchmarks/checks.py`).

What stands in the model's own prompt can be copied from there: a run counts from where the prompt's text ends. So a
base model that sees training examples in its prompt, and repeats them, is not said to have memorised them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.portions import portions
from steep.terminal import progress

AT_ONCE = 1 << 21
"""Training tokens that are looked at together; a longer text is looked at as a whole."""
TABLE = 1 << 20
"""Tokens of prompts that are compared with their answers together."""
SIEVE = 22
"""Bits of a key that are looked up first."""
NOWHERE = -1

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """The longest part of one answer that stands in the training text and goes beyond what its prompt says."""

    length: int
    """Tokens of the run; 0 where not even one stands in the training text without standing in the prompt."""
    start: int
    """Its first token, counted from the answer's beginning."""
    row: int | None
    """The first training text that holds it, counted as they were given."""
    copied: int
    """How many tokens at its beginning stand in the prompt in this order as well."""
    prompt_known: bool
    """Whether the whole prompt stands in one training text."""

    @property
    def memorised(self) -> int:
        """The tokens of the run that the prompt does not explain."""
        return self.length - self.copied


@dataclass(frozen=True, slots=True)
class Memorization:
    """The runs of one model's answers in a few figures."""

    answers: int
    long_enough: int
    """Answers of at least `min_tokens` tokens: no other can hold such a run."""
    min_tokens: int
    memorised: int
    """Answers with a run of at least `min_tokens` tokens."""
    share: float
    """Of all answers."""
    longest: int
    """Tokens of the longest run."""
    median: float
    """Tokens of the run of the middle answer."""
    known_prompts: int
    """Answers whose prompt stands in the training text as well."""
    new_after_known: float | None
    """Of the tokens of these answers, the share outside of their runs; null where there are none."""
    new_after_other: float | None
    """The same of the other answers."""


def longest_runs(
    answers: Sequence[Sequence[int]], training: Iterable[Sequence[int]], *, prompts: Sequence[Sequence[int]]
) -> list[Run]:
    """The longest run of each answer, exact, and never across two training texts.

    All are token ids of one tokenizer. ``prompts`` are what the model saw before each answer, without BOS: a training
    text has it at its beginning only. The training texts are read once, as a stream.
    """
    search = _Search(answers, prompts)
    first = 0
    with progress("memorization") as update:
        for texts in portions(training, len, AT_ONCE):
            search.read(first, texts)
            first += len(texts)
            update(len(texts))
    return search.runs(len(answers))


def memorization(runs: Sequence[Run], answers: Sequence[Sequence[int]], min_tokens: int) -> Memorization:
    """Sum up the runs of these answers; ``min_tokens`` make a run a memorised one."""
    lengths = [len(answer) for answer in answers]
    found = [run.memorised for run in runs]
    memorised = sum(length >= min_tokens for length in found)
    return Memorization(
        answers=len(runs),
        long_enough=sum(length >= min_tokens for length in lengths),
        min_tokens=min_tokens,
        memorised=memorised,
        share=memorised / len(runs) if runs else 0.0,
        longest=max(found, default=0),
        median=float(np.median(found)) if runs else 0.0,
        known_prompts=sum(run.prompt_known for run in runs),
        new_after_known=_new(runs, lengths, known=True),
        new_after_other=_new(runs, lengths, known=False),
    )


def _new(runs: Sequence[Run], lengths: Sequence[int], *, known: bool) -> float | None:
    chosen = [(run.length, length) for run, length in zip(runs, lengths, strict=True) if run.prompt_known == known]
    total = sum(length for _, length in chosen)
    return 1 - sum(length for length, _ in chosen) / total if total else None


def memorization_warning(tuned: Memorization, base: Memorization | None = None) -> str | None:
    """What a reader must know, if there is anything. The base model, which never saw the text, shows what is chance."""
    if not tuned.long_enough:
        return (
            f"memorisation was not measured: no answer has {tuned.min_tokens} tokens; raise max_new_tokens of the step "
            "that generates, or lower memorization.min_tokens"
        )
    if not tuned.memorised or (base and tuned.share <= base.share):
        return None
    contrast = f", of the base model's {base.memorised} of {base.answers}" if base else ""
    return (
        f"the tuned model repeats its training text: {tuned.memorised} of {tuned.answers} answers hold "
        f"{tuned.min_tokens} tokens or more of it word for word{contrast}; the longest run has {tuned.longest} tokens"
    )


def _in_prompts(answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]]) -> Whole:
    """For each token of all answers how many from there on stand in the answer's prompt in this order."""
    found = [np.zeros(0, np.int32)]
    width = max(map(len, prompts), default=0) + 1
    for start in range(0, len(answers), at_once := max(1, TABLE // width)):
        some = slice(start, start + at_once)
        lengths = [len(answer) for answer in answers[some]]
        table = _common_runs(_padded(answers[some], -1), _padded(prompts[some], -2))
        found.append(table[np.arange(table.shape[1]) < np.array(lengths)[:, None]])
    return np.concatenate(found)


def _common_runs(answers: NDArray[np.int32], prompts: NDArray[np.int32]) -> NDArray[np.int32]:
    """[answers, tokens]: the longest run from each token on that stands in the same row of the prompts."""
    found = np.zeros_like(answers)
    runs = np.zeros((len(prompts), prompts.shape[1] + 1), np.int32)
    for place in range(answers.shape[1] - 1, -1, -1):
        runs[:, :-1] = (runs[:, 1:] + 1) * (prompts == answers[:, place, None])
        found[:, place] = runs.max(axis=1)
    return found


def _padded(rows: Sequence[Sequence[int]], padding: int) -> NDArray[np.int32]:
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[padding] * (width - len(row))] for row in rows], np.int32).reshape(len(rows), width)


class _Search:
    """What was found so far of answers, by their longest run, and of prompts, that must stand in a text as a whole.

    All are parts of one array of tokens. Tokens are counted anew from 0, those that no part has are `unknown`.
    """

    def __init__(self, answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]]) -> None:
        parts = [*answers, *prompts]
        bounds = np.cumsum([0, *map(len, parts)])
        ids = np.fromiter(chain.from_iterable(parts), np.int64, bounds[-1])
        vocabulary, self.tokens = np.unique(ids, return_inverse=True)
        self.unknown = len(vocabulary)
        self.numbers = np.full(vocabulary[-1] + 2 if len(vocabulary) else 1, self.unknown)
        self.numbers[vocabulary] = np.arange(self.unknown)
        self.part = np.repeat(np.arange(len(parts)), np.diff(bounds))
        self.begin, self.end = bounds[:-1][self.part], bounds[1:][self.part]
        self.copied = np.zeros(len(ids), np.int64)
        self.copied[: bounds[len(answers)]] = _in_prompts(answers, prompts)
        self.is_answer = self.part < len(answers)
        self.known, self.gain = np.zeros(len(parts), bool), np.zeros(len(parts), np.int64)
        self.place, self.length = bounds[:-1].copy(), np.zeros(len(parts), np.int64)
        self.row = np.full(len(parts), NOWHERE)

    def read(self, first: int, texts: Sequence[Sequence[int]]) -> None:
        bounds = np.cumsum([0, *(len(text) + 1 for text in texts)])
        tokens = self._numbered(texts, bounds)
        seen = np.full(len(self.row), NOWHERE)
        for length, places, there in _walk(self._starting(), self.tokens, self.end, tokens, self.unknown):
            complete = ~self.is_answer[places] & (self.end[places] - places == length)
            self.known[self.part[places[complete]]] = True
            gain = length - self.copied[places]
            better = np.flatnonzero(self.is_answer[places] & (gain > self.gain[self.part[places]]))
            better = better[np.lexsort((-places[better], gain[better]))]
            part = self.part[places[better]]  # of the values that one part is given, it keeps the last: the greatest
            self.gain[part], self.place[part], self.length[part] = gain[better], places[better], length
            seen[part] = there[better]
        new = np.flatnonzero(seen != NOWHERE)
        self.row[new] = first + np.searchsorted(bounds, seen[new], "right") - 1

    def _starting(self) -> Whole:
        """Where a run may begin that is longer than those found, or a prompt that is not yet known."""
        places = np.arange(len(self.tokens))
        longer = self.end - places - self.copied > self.gain[self.part]
        return np.flatnonzero(np.where(self.is_answer, longer, (places == self.begin) & ~self.known[self.part]))

    def _numbered(self, texts: Sequence[Sequence[int]], bounds: Whole) -> Whole:
        """The texts in one array, with an unknown token after each."""
        tokens = np.full(bounds[-1], self.unknown)
        inside = np.ones(len(tokens), bool)
        inside[bounds[1:] - 1] = False
        ids = np.fromiter(chain.from_iterable(texts), np.int64, len(tokens) - len(texts))
        tokens[inside] = self.numbers[np.minimum(ids, len(self.numbers) - 1)]
        return tokens

    def runs(self, answers: int) -> list[Run]:
        columns = (self.length, self.place, self.row, self.known[answers:])
        return [self._run(*values) for values in zip(*(column[:answers].tolist() for column in columns), strict=True)]

    def _run(self, length: int, place: int, row: int, known: bool) -> Run:
        if not length:
            return Run(0, 0, None, 0, known)
        return Run(length, place - int(self.begin[place]), row, int(self.copied[place]), known)


def _walk(starts: Whole, tokens: Whole, ends: Whole, text: Whole, unknown: int) -> Iterator[tuple[int, Whole, Whole]]:
    """For each length from 1 on: the places of `tokens` from which on so many stand in the text, and where first.

    A name is the number of a sequence of that length, the same on both sides.
    """
    names, there = np.zeros(len(starts), np.int64), np.flatnonzero(text != unknown)
    there_names = np.zeros(len(there), np.int64)
    length = 0
    while len(starts) and len(there):
        keys, names = np.unique(names * (unknown + 1) + tokens[starts + length], return_inverse=True)
        hit, there_names = _find(there_names * (unknown + 1) + text[there + length], keys)
        there = there[hit]
        first = np.full(len(keys), NOWHERE)
        first[there_names[::-1]] = there[::-1]  # of several the last one that is written stays
        alive = first[names] != NOWHERE
        starts, names = starts[alive], names[alive]
        length += 1
        yield length, starts, first[names]
        inside = starts + length < ends[starts]
        starts, names = starts[inside], names[inside]


def _find(wanted: Whole, keys: Whole) -> tuple[Whole, Whole]:
    """Places of the wanted that are among the sorted keys, and which these are; a sieve spares most of the search."""
    sieve = np.zeros(1 << SIEVE, bool)
    sieve[_head(keys)] = True
    likely = np.flatnonzero(sieve[_head(wanted)])
    at = np.minimum(np.searchsorted(keys, wanted[likely]), len(keys) - 1)
    hit = keys[at] == wanted[likely]
    return likely[hit], at[hit]


def _head(keys: Whole) -> NDArray[np.uint64]:
    scattered: NDArray[np.uint64] = keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - SIEVE)
    return scattered

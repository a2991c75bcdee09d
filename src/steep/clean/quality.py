"""Drops what does not read like prose: the quality and repetition rules of Gopher (Rae et al. 2021, arXiv 2112.11446,
section A.1.1 and table A1), with the paper's thresholds as defaults.

====================  ================================================================================================
rule                  what is measured
====================  ================================================================================================
document length       words
word length           mean number of characters of the words
symbols               hash signs, and ellipses (``...`` or ``…``), for each word
bullets               share of the lines that begin with one of ``• ‣ ⁃ ◦ ▪ ● · * - –``
ellipses              share of the lines that end with an ellipsis
alphabetic words      share of the words with at least one letter
stop words            how many different ones of: the, be, to, of, and, that, have, with
duplicate lines       share of the lines that occurred before in the text; and of the characters, those in such lines
duplicate paragraphs  the same for paragraphs, which are divided by blank lines
top n-gram            share of the characters in the most frequent run of n words, counted as often as it occurs
duplicate n-grams     share of the characters in runs of n words that occurred before, each character counted once
====================  ================================================================================================

The paper leaves open what a word and a duplicate is. Here, where datatrove (whose thresholds are the same) does it in
another way, that is said:

- A word is what stands between white space, with its punctuation, as in the step ``length``; datatrove's tokenizers cut
  punctuation off.
- Lines and paragraphs are looked at without blanks at their ends, and blank lines do not count.
- The first occurrence is no duplicate, as in datatrove; others count it.
- Shares of characters in runs of words are shares of the characters of all words, without the blanks between them;
  datatrove divides by the length of the text. Overlapping runs count once, so that a repeated paragraph counts whole;
  datatrove loses what is left over at its ends.
- A run that occurs once is not frequent: in a text of a few words datatrove takes it for the top n-gram.

The rules were made for web pages of at least 50 words in English. About 35 MB a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steep.clean.repetition import recurring_runs
from steep.clean.rows import Drop, RowStep, judging
from steep.clean.words import Values, Words, between_blanks, letters, parts, split
from steep.recipe.clean import Quality

_BULLETS = frozenset("•‣⁃◦▪●·*-–")
_ELLIPSES = ("...", "…")
_PARAGRAPHS = re.compile(r"\n{2,}")
_STOP_WORD = re.compile(r"\b(?:the|be|to|of|and|that|have|with)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A measure of each text, and what it must not be below or above."""

    cause: str
    values: Values
    limit: float
    says: str
    """With places for the value and the limit."""
    least: bool = False

    @property
    def broken(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.values < self.limit if self.least else self.values > self.limit)

    def drop(self, row: int) -> Drop:
        return Drop(self.says.format(self.values[row], self.limit), self.cause)


def quality_step(options: Quality, folder: Path) -> RowStep:
    return judging(partial(_judge, options=options))


def _judge(texts: Sequence[str], options: Quality) -> list[Drop | None]:
    drops: list[Drop | None] = [None] * len(texts)
    for part in parts(texts):
        drops[part] = _first_broken(texts[part], options)
    return drops


def _first_broken(texts: Sequence[str], options: Quality) -> list[Drop | None]:
    drops: list[Drop | None] = [None] * len(texts)
    words = split(texts, between_blanks())
    for rules in (_of_words, _of_symbols, _of_lines, _of_runs):
        for rule in rules(texts, words, options):
            for row in rule.broken:
                drops[row] = drops[row] or rule.drop(row)
        if all(drops):
            break
    return drops


def _of_words(texts: Sequence[str], words: Words, options: Quality) -> Iterator[_Rule]:
    counts = words.counts.astype(float)
    yield _Rule("too few words", counts, options.min_words, "{:.0f} words, fewer than {}", least=True)
    yield _Rule("too many words", counts, options.max_words, "{:.0f} words, more than {}")
    length = words.per_text(words.lengths) / np.maximum(counts, 1)
    says = "words of {:.1f} characters on average, "
    yield _Rule("short words", length, options.min_mean_word_length, f"{says}fewer than {{:g}}", least=True)
    yield _Rule("long words", length, options.max_mean_word_length, f"{says}more than {{:g}}")
    alphabetic = words.per_text(words.holds(letters())) / np.maximum(counts, 1)
    says = "{:.1%} of the words have a letter in them, less than {:.0%}"
    yield _Rule("words without letters", alphabetic, options.min_alphabetic_words, says, least=True)


def _of_symbols(texts: Sequence[str], words: Words, options: Quality) -> Iterator[_Rule]:
    counts = np.maximum(words.counts, 1)
    hashes = np.array([text.count("#") for text in texts]) / counts
    ellipses = np.array([sum(map(text.count, _ELLIPSES)) for text in texts]) / counts
    yield _Rule("hash signs", hashes, options.max_symbol_ratio, "{:.2f} hash signs for each word, more than {:g}")
    yield _Rule("ellipses", ellipses, options.max_symbol_ratio, "{:.2f} ellipses for each word, more than {:g}")
    found = np.array([_stop_words(text, options.min_stop_words) for text in texts], float)
    says = "{:.0f} of the English stop words, fewer than {}"
    yield _Rule("few stop words", found, options.min_stop_words, says, least=True)


def _stop_words(text: str, enough: int) -> int:
    """How many different ones there are; no further than to enough of them."""
    found: set[str] = set()
    for match in _STOP_WORD.finditer(text):
        found.add(match[0].lower())
        if len(found) >= enough:
            break
    return len(found)


def _of_lines(texts: Sequence[str], words: Words, options: Quality) -> Iterator[_Rule]:
    bullets, ellipses, lines, in_lines, paragraphs, in_paragraphs = np.array([_lines(text) for text in texts]).T
    says = "{:.1%} of the lines begin with a bullet, more than {:.0%}"
    yield _Rule("bullets", bullets, options.max_bullet_lines, says)
    says = "{:.1%} of the lines end with an ellipsis, more than {:.0%}"
    yield _Rule("lines that break off", ellipses, options.max_ellipsis_lines, says)
    says = "{:.1%} of the lines are repetitions, more than {:.0%}"
    yield _Rule("repeated lines", lines, options.max_duplicate_lines, says)
    says = "{:.1%} of the paragraphs are repetitions, more than {:.0%}"
    yield _Rule("repeated paragraphs", paragraphs, options.max_duplicate_paragraphs, says)
    says = "{:.1%} of the characters are in repeated lines, more than {:.0%}"
    yield _Rule("characters in repeated lines", in_lines, options.max_duplicate_line_characters, says)
    says = "{:.1%} of the characters are in repeated paragraphs, more than {:.0%}"
    yield _Rule("characters in repeated paragraphs", in_paragraphs, options.max_duplicate_paragraph_characters, says)


def _lines(text: str) -> tuple[float, ...]:
    """Shares of the lines with bullets, with ellipses; repeated lines and characters in them; so for paragraphs."""
    every = list(map(str.strip, text.split("\n")))
    lines = list(filter(None, every))
    count = max(len(lines), 1)
    bullets = sum(line[0] in _BULLETS for line in lines) / count
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / count
    repeated = _repeated(lines)
    paragraphs = _repeated(_PARAGRAPHS.split("\n".join(every).strip("\n"))) if repeated[0] else repeated
    return bullets, ellipses, *repeated, *paragraphs


def _repeated(items: Sequence[str]) -> tuple[float, float]:
    """The share of the items that occurred before, and of the characters that are in them."""
    different = set(items)
    if len(different) == len(items):
        return 0.0, 0.0
    characters = sum(map(len, items))
    return (len(items) - len(different)) / len(items), (characters - sum(map(len, different))) / characters


def _of_runs(texts: Sequence[str], words: Words, options: Quality) -> Iterator[_Rule]:
    tops, repeats = options.max_top_ngrams, options.max_duplicate_ngrams
    for runs in recurring_runs(words, sorted({*tops, *repeats})):
        share = "{:.1%} of the characters are in "
        if runs.n in tops:
            says = f"{share}the most frequent run of {runs.n} words, more than {{:.0%}}"
            yield _Rule(f"one run of {runs.n} words", runs.top(), tops[runs.n], says)
        if runs.n in repeats:
            says = f"{share}repeated runs of {runs.n} words, more than {{:.0%}}"
            yield _Rule(f"repeated runs of {runs.n} words", runs.repeated(), repeats[runs.n], says)

"""What ROUGE counts: the words of a text, and their stems.

For English they are those of ROUGE-1.5.5 and rouge-score, which drop all but a-z and 0-9 and so leave nothing of a
Russian text; here a word is a run of letters, marks and digits of any script, and scripts that are written without
spaces count by character.
"""

from __future__ import annotations

from functools import lru_cache

import regex
from snowballstemmer import stemmer

STEMMED = 4
"""Letters that a word must have for its stem to be taken, as in ROUGE-1.5.5."""

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(rf"{_UNSPACED}\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+", regex.VERSION1)
_ASCII = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))
_PORTER = stemmer("porter")


def words(text: str) -> list[str]:
    """Cut a text into lower-case words."""
    if text.isascii():  # the same, at a fifth of the time
        return text.translate(_ASCII).split()
    found: list[str] = _WORD.findall(text.lower())
    return found


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """By the algorithm of Porter (1980), Program 14:130.

    ROUGE-1.5.5 looks irregular forms up in WordNet first (`were` is `be`), which is left out here.
    """
    return str(_PORTER.stemWord(word)) if len(word) >= STEMMED else word


class Vocabulary(dict[str, int]):
    """The number of each word, in the order in which they are first asked for; words of one stem share it."""

    def __init__(self, *, stemmed: bool) -> None:
        super().__init__()
        self.stemmed = stemmed
        self.stems: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        key = stem(word) if self.stemmed else word
        number = self[word] = self.stems.setdefault(key, len(self.stems))
        return number

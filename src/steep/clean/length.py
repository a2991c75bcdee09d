"""Drops documents that are too short or too long, in words."""

from __future__ import annotations

from pathlib import Path

from steep.clean.rows import Drop, RowStep, judging
from steep.clean.words import count_words
from steep.recipe.clean import Length


def length_step(options: Length, folder: Path) -> RowStep:
    return judging(lambda texts: [_too_short_or_long(count_words(text), options) for text in texts])


def _too_short_or_long(words: int, options: Length) -> Drop | None:
    if words < options.min_words:
        bound = f"fewer than {options.min_words}"
    elif options.max_words is not None and words > options.max_words:
        bound = f"more than {options.max_words}"
    else:
        return None
    return Drop(f"{words} word{'s' * (words != 1)}, {bound}", f"{bound} words")

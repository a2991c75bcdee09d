"""White space and Unicode: what reads the same becomes the same, and nothing that carries meaning is lost.

Curly quotes stay curly, since they belong to a voice, and HTML entities are left to the step ``markup``. Paragraphs
stay; indentation does not.
"""

from __future__ import annotations

import re

import daft
import ftfy

from steep.clean.outcome import Outcome, rewritten
from steep.recipe.clean import Whitespace

_REPAIR = ftfy.TextFixerConfig(uncurl_quotes=False, unescape_html=False, normalization="NFC", explain=False)
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
# The joiners shape emoji and several scripts; beside ASCII they are debris.
_IDLE_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
_BLANKS = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_LINE_END_BLANKS = re.compile(r" ?\n ?")


def clean_whitespace(documents: daft.DataFrame, options: Whitespace) -> Outcome:
    return Outcome(rewritten(documents, repair, one_line))


def repair(text: str) -> str:
    text = ftfy.fix_text(text, _REPAIR)
    return squeeze(_IDLE_JOINER.sub("", _INVISIBLE.sub("", text)))


def one_line(title: str) -> str:
    return " ".join(repair(title).split())


def squeeze(text: str) -> str:
    """Single blanks, no blanks at the ends of lines, at most one blank line."""
    text = _LINE_END_BLANKS.sub("\n", _BLANKS.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", text).strip()

"""White space and Unicode: what reads the same becomes the same, and nothing that carries meaning is lost.

Curly quotes stay curly, since they belong to a voice, and HTML entities are left to the step ``markup``. Paragraphs
stay; indentation does not.

ftfy repairs 3 MB a second, because it looks at every line in a dozen ways. What it would mend can be told by one
regular expression (garbled text is letters and symbols side by side that do not belong together) and by the normal form
of Unicode. It is shown only lines that these find; all others would stay: 50 MB a second, and the same result.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import ftfy
from ftfy.badness import MOJIBAKE_CATEGORIES as KINDS
from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP

from steep.clean.rows import RowStep, rewriting
from steep.recipe.clean import Lowercase, Replace, Whitespace

_REPAIR = ftfy.TextFixerConfig(uncurl_quotes=False, unescape_html=False, normalization="NFC", explain=False)
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
# The joiners shape emoji and several scripts; beside ASCII they are debris.
_IDLE_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
_ODD_BLANK = re.compile("[\t\x0b\x0c\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def _suspicious() -> re.Pattern[str]:
    """What ftfy may change, by its own tables: characters that it replaces, and pairs that may be garbled.

    Pairs within words of any alphabet are ordinary, and so is what follows a dash, an ellipsis or an apostrophe, or
    precedes it, but for four letters and the root. Â, Ã and œ are suspicious by themselves.
    """
    tables = "".join(map(re.escape, map(chr, {**CONTROL_CHARS, **LIGATURES, **WIDTH_MAP})))
    alone = f"\r\x80-\x9f\u2028\u2029\ud800-\udfff{tables}ÂÃŒœ"
    small = "".join(KINDS[kind] for kind in ("lower_accented", "lower_common", "kaomoji"))
    marks = "".join(
        KINDS[kind] for kind in ("bad", "law", "currency", "start_punctuation", "end_punctuation", "numeric")
    )
    other = f"{marks}{KINDS['upper_accented']}{KINDS['box']}"
    every = f"{small}{KINDS['upper_common']}{other}"
    pairs = (
        f"(?<=[{small}])[{KINDS['upper_common']}{other}]",
        f"(?<=[{KINDS['upper_common']}])[{other}]",
        f"(?<=[{other}])[{every}]",
        f"(?<=[ØÙÎÐ√])[{KINDS['common']}°]",
    )
    return re.compile(rf"[^\t\n\x0c -~](?:(?<=[{alone}])|{'|'.join(pairs)})")


_SUSPICIOUS = _suspicious()


def whitespace_step(options: Whitespace, folder: Path) -> RowStep:
    return rewriting(repair, one_line)


def lowercase_step(options: Lowercase, folder: Path) -> RowStep:
    return rewriting(str.lower, str.lower)


def replace_step(options: Replace, folder: Path) -> RowStep:
    pattern = re.compile(options.pattern, re.MULTILINE)

    def replace(text: str) -> str:
        return pattern.sub(options.by, text)

    return rewriting(replace, replace)


def repair(text: str) -> str:
    text = _mended(text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
        if "\u200c" in text or "\u200d" in text:
            text = _IDLE_JOINER.sub("", text)
    return squeeze(text)


def one_line(title: str) -> str:
    return " ".join(repair(title).split())


def squeeze(text: str) -> str:
    """Single blanks, no blanks at the ends of lines, at most one blank line."""
    text = _ODD_BLANK.sub(" ", text)
    while "  " in text:
        text = text.replace("  ", " ")
    text = text.replace(" \n", "\n").replace("\n ", "\n")
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def _mended(text: str) -> str:
    """The same as ``ftfy.fix_text(text, _REPAIR)``, which takes each line by itself as well."""
    if _stays(text):
        return text
    return "".join(line if _stays(line) else ftfy.fix_text(line, _REPAIR) for line in _LINE.findall(text))


def _stays(text: str) -> bool:
    return not _SUSPICIOUS.search(text) and unicodedata.is_normalized("NFC", text)

"""Closes the gaps that something taken out of a post leaves: blanks, commas, empty brackets and lines.

Only lines with a gap are touched. A line that held nothing else goes, and with it, at the end of a post, the lines of
dots that people put before a block of hashtags. Words such as the `by` of `Photo by @someone` stay: what they are
there for differs by language.
"""

from __future__ import annotations

from typing import Any

import regex

GONE = "\ufdd0"
"""Stands for what was taken out; no text holds it, since Unicode keeps it for use inside programs."""

_CHAIN = regex.compile(rf"{GONE}(?:[\s,;/|&+·•]*{GONE})+")
_BRACKETS = regex.compile(rf"\(\s*{GONE}\s*\)|\[\s*{GONE}\s*\]|\{{\s*{GONE}\s*\}}|“\s*{GONE}\s*”|\"\s*{GONE}\s*\"")
_SAYS_SOMETHING = regex.compile(r"[\p{L}\p{N}\p{So}\p{Extended_Pictographic}\uFE0F\u20E3]")
_SPACER = regex.compile(r"[\s.·•…_|*~\-–—\u2800\u200B\u2060\uFEFF]*")

_ENDS = r"[.!?…。！？]"
_AT_START = regex.compile(rf"^\s*{GONE}(?:\s*[,;:.!?…|·•/&+–—-]+(?=\s|$))?\s*")
# a match starts no second time within the same blanks, or a post of many blanks would take minutes
_AT_END = regex.compile(rf"(?:[,;:]++|(?<!\s)\s++[|·•/&+–—-]++|(?<!\s))\s*+{GONE}\s*+(?P<right>{_ENDS}*+)\s*+$")
_BETWEEN = regex.compile(rf"(?:(?P<left>[,;:])|(?<!\s))(?P<blank>\s*+){GONE}(?P<blank>\s*+)(?P<right>[,;:]|{_ENDS}++|)")
_CLOSES = regex.compile(r"[)\]}»”’\"']")


def mended(text: str) -> str:
    """The text without `GONE`."""
    if GONE not in text:
        return text
    kept: list[str] = []
    gone = False  # the last line that was not blank went
    for line in text.split("\n"):
        if GONE in line:
            line = _mended_line(line)
            gone = not line
            if gone:
                continue
        elif line.strip():
            gone = False
        elif gone and not (kept and kept[-1].strip()):
            continue  # one of two blank lines around what went
        kept.append(line)
    while gone and kept and _SPACER.fullmatch(kept[-1]):
        kept.pop()
    return "\n".join(kept)


def _mended_line(line: str) -> str:
    line = _BRACKETS.sub(GONE, _CHAIN.sub(GONE, line))
    if not _SAYS_SOMETHING.search(line):
        return ""
    end = "\r" if line.endswith("\r") else ""
    return str(_BETWEEN.sub(_joined, _AT_END.sub(_unless_ended, _AT_START.sub("", line)))) + end


def _joined(match: Any) -> str:
    if match["right"]:
        return _unless_ended(match)
    before, after = match.string[: match.start()], match.string[match.end() :]
    first, second = match.captures("blank")
    if before.endswith(("(", "[", "{", "«", "“")) or (not second and _CLOSES.match(after)):
        return ""
    return (match["left"] or "") + (" " if first or second else "")


def _unless_ended(match: Any) -> str:
    """The punctuation after the gap, but no second full stop."""
    ended = regex.search(rf"{_ENDS}\s*$", match.string[: match.start()])
    return "" if ended else str(match["right"])

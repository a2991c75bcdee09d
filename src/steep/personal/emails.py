"""E-mail addresses in running text, also those written so that harvesters miss them: ``name [at] host [dot] org``.

Each sign that may stand for ``@`` is looked at with what is beside it, so text without such a sign costs next to
nothing, and a megabyte of nothing but signs stays linear. The last label must be a top-level domain (tldextract brings
the list) or one reserved for private use, which tells an address from ``logo@2x.png``.

Left as they are: handles (``@name``, ``@name@host``), hosts without a domain, ``git@host:path``, ``name @ host.org``
without a word such as "mail" before it, and names in other scripts than Latin, Greek and Cyrillic, since in those no
blank shows where a name begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain

import regex

_LETTER = r"A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
_OPEN, _CLOSE = r"[\[({<]", r"[\])}>]"
_AT, _DOT = "at|arobase|arroba|chiocciola|ät", "dot|punkt|point|ponto|punto"

_WRITTEN = re.compile(r"[@＠%&](?<![@.(<\[\n].)(?:(?<=[@＠])|(?<=%)40|(?<=&)(?:#0?64|commat);)")
_WRITTEN_SIGNS = ("@", "＠", "%40", "&#64;", "&#064;", "&commat;")
_DISGUISED = re.compile(rf"{_OPEN}(?:\s?(?:{_AT}|@)\s?{_CLOSE}|(?<=\()a\))", re.IGNORECASE)
_RUN_TOGETHER = re.compile(r"AT(?<=[a-z\d]{3}AT)(?=[a-z\d])")
_SPOKEN = tuple(
    (hint, re.compile(rf"\s{at}\s(?=[{_LETTER}-]{{1,63}}\s(?:{dot})\s)", re.IGNORECASE))
    for hint, at, dot in (
        (" dot ", "at", "dot"),
        (" DOT ", "at", "dot"),
        (" Dot ", "at", "dot"),
        (" arobase ", "arobase", "point"),
        (" arroba ", "arroba", "punto|ponto"),
        (" chiocciola ", "chiocciola", "punto"),
    )
)
"""The word for ``@`` with that for a dot in the same language: "at any point in time" is no address."""

# What stands before a sign is matched backwards from it. An encoded blank (%20) may stand before a name.
_NAME = regex.compile(
    rf"(?r)(?:(?<=%[0-9A-F]{{2}})|(?<![{_LETTER}_@%]|//|%[0-9A-F]))"
    rf"[{_LETTER}_+](?:[{_LETTER}_.+'-]{{0,62}}[{_LETTER}_+'-])?"
)
_NAMES = regex.compile(r"(?r)\{[\w.,;|+ -]{3,200}\}")
_WRITTEN_DOT = rf"\.|\s?{_OPEN}\s?(?:{_DOT}|\.)\s?{_CLOSE}\s?"
_SPOKEN_DOT = rf"\s(?:{_DOT})\s"
_ANY_DOT = re.compile(rf"{_WRITTEN_DOT}|{_SPOKEN_DOT}", re.IGNORECASE)
_ANY_AT = re.compile(rf"{_WRITTEN.pattern}|{_DISGUISED.pattern}|\s(?:{_AT})\s|(?-i:AT)(?=[a-z\d])", re.IGNORECASE)
_EARLIER_NAMES = regex.compile(rf"(?ri)(?:[{_LETTER}_+-]{{1,64}}(?:{_WRITTEN_DOT}|{_SPOKEN_DOT})){{1,3}}")
_LABEL = rf"[{_LETTER}](?:[{_LETTER}]|-){{0,62}}"
_WRITTEN_HOST = re.compile(rf"{_LABEL}(?:(?:{_WRITTEN_DOT}){_LABEL}){{1,7}}", re.IGNORECASE)
_SPOKEN_HOST = re.compile(rf"{_LABEL}(?:{_SPOKEN_DOT}{_LABEL}){{1,7}}", re.IGNORECASE)
_GOES_ON = re.compile(rf"[{_LETTER}_@]|:[\w~.-]{{0,80}}/")

_MAIL_WORD = regex.compile(r"(?ri)(?:mail|courriel|write|contact|address|adresse|schreib\w{0,3}|escrib\w{0,3})\W{0,3}")
_NO_NAME = re.compile(r"(?i)are|available|based|be|found|here|him|hosted|is|it|look|me|meet|out|them|us|was|works?")
_RESERVED = {"corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localhost", "test"}
_LONGEST_NAME = 210


HINT = (
    rf"[@＠]|%40|&#0?64;|&commat;|{_OPEN}\s?(?i:{_AT}|a)\s?{_CLOSE}|[a-z0-9]AT[a-z0-9]"
    r"| (?:dot|DOT|Dot|arobase|arroba|chiocciola) "
)
"""What every text has that has one, as RE2 reads it."""


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    return chain(_written(text), _disguised(text), _spoken(text))


def normal_email(raw: str) -> str:
    return "".join(_ANY_DOT.sub(".", _ANY_AT.sub("@", raw, count=1)).lower().split())


def _written(text: str) -> Iterator[tuple[int, int]]:
    if not any(sign in text for sign in _WRITTEN_SIGNS):
        return
    for sign in _WRITTEN.finditer(text):
        start, end = sign.span()
        if text[start - 1 : start] == " " == text[end : end + 1]:
            span = _around(text, start - 1, end + 1, _WRITTEN_HOST)
            if span and _MAIL_WORD.match(text, max(0, span[0] - 20), span[0]):
                yield span
        elif span := _around(text, start, end + (text[end : end + 1] == "\n"), _WRITTEN_HOST, _SPOKEN_HOST):
            yield span


def _disguised(text: str) -> Iterator[tuple[int, int]]:
    for sign in chain(_DISGUISED.finditer(text), _RUN_TOGETHER.finditer(text)):
        start, end = sign.span()
        start -= text[start - 1 : start].isspace()
        end += text[end : end + 1].isspace()
        if span := _around(text, start, end, _WRITTEN_HOST, _SPOKEN_HOST):
            yield _begin(text, span[0]), span[1]


def _spoken(text: str) -> Iterator[tuple[int, int]]:
    for hint, signs in _SPOKEN:
        for sign in signs.finditer(text) if hint in text else ():
            span = _around(text, *sign.span(), _SPOKEN_HOST)
            if span and not _NO_NAME.fullmatch(text, span[0], sign.start()):
                yield _begin(text, span[0]), span[1]


def _begin(text: str, start: int) -> int:
    """Where a name begins that is disguised as its host is: ``jo [dot] smith [at] ...``."""
    earlier = _EARLIER_NAMES.match(text, max(0, start - _LONGEST_NAME), start)
    return earlier.start() if earlier else start


def _around(text: str, at: int, after: int, *hosts: re.Pattern[str]) -> tuple[int, int] | None:
    """The address whose name ends at ``at`` and whose host begins at ``after``."""
    far = max(0, at - _LONGEST_NAME)
    name = _NAME.match(text, far, at) or _NAMES.match(text, far, at)
    for host in hosts if name else ():
        found = host.match(text, after)
        if found and (end := _end(text, found)):
            return name.start(), end
    return None


def _end(text: str, host: re.Match[str]) -> int | None:
    """Where the longest part of a host ends that is a domain: a sentence may go on without a blank."""
    end = host.end()
    for dot in reversed(list(_ANY_DOT.finditer(text, *host.span()))):
        before, last = text[host.start() : dot.start()], text[dot.end() : end]
        if _is_domain(before, last) and not _GOES_ON.match(text, end):
            return end
        end = dot.start()
    return None


def _is_domain(before: str, last: str) -> bool:
    begins_sentence = last.istitle() and not before[:1].isupper()
    made_of_digits = before.isdigit() and len(before) < 3
    return last.lower() in _top_level_domains() and not begins_sentence and not made_of_digits


@cache
def _top_level_domains() -> frozenset[str]:
    from tldextract import TLDExtract

    bundled = TLDExtract(suffix_list_urls=(), cache_dir=None)
    return frozenset(_RESERVED | {suffix.rpartition(".")[2] for suffix in bundled.tlds})

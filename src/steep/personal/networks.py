"""IP addresses, version 4 and 6, whatever range they are of.

Four small numbers with dots are more often a version or a section than an address. So they stay after such a word, and
where all of them are below 100 they need a sign of a network beside them: a word such as "host", a port, a mask. Masks
(255.255.0.0) and other numbers above 240 stay, since no host has them. An address of version 6 must begin as those that
are given out do (2000::/3, fc00::/7, fe80::/10, ff00::/8, 64:ff9b::/96, ::1, ::ffff:0:0/96): what begins otherwise
is code, such as ``x[1::2]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain

import regex

_V4 = re.compile(
    r"[0-9](?<![A-Za-z0-9_.][0-9])[0-9]{0,2}"
    r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![A-Za-z0-9_%]|\.[A-Za-z0-9]|-[A-Za-z])"
)
_PART_OF_NAME = regex.compile(r"(?r)[A-Za-z)][/-]")
_VERSION_WORD = regex.compile(
    r"(?r)(?:\b(?:version|versión|versão|versione|vers?|v|release|build|firmware|driver|sdk|update|upgrade(?: to)?|oid"
    r"|section|sect?|sección|chapter|chap|clause|para(?:graph)?|rule|table|fig(?:ure)?|appendix|annex|art(?:icle|icolo)?"
    r"|abschnitt|kapitel|artikel|item|step|part)s?|§+|バージョン)[\s.:#]*",
    regex.IGNORECASE,
)
_NETWORK_WORD = regex.compile(
    r"(?r)\b(?:ips?|address(?:es)?|adresse|hosts?|servers?|servidor|serveur|dns|ping|gateway|router|resolver|nameserver|proxy"
    r"|subnet|client|peer|remote|localhost|network|from|http|https|ssh|allow|deny|listen\w*|bind)\b[^\n]{0,20}",
    regex.IGNORECASE,
)
_PORT_OR_MASK = re.compile(r":[0-9]{2,5}\b|/[0-9]{1,2}\b")
_WELL_KNOWN = frozenset({"1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "0.0.0.0"})
_SMALL = 100

_V6 = re.compile(r":(?::(?!:)(?<!:::)|(?:[0-9A-Fa-f]{1,4}:){6})")
_V6_BEFORE = re.compile(r"[0-9A-Fa-f:]{0,39}")
_V6_AFTER = re.compile(r"[0-9A-Fa-f:]{0,39}(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?:%[A-Za-z0-9]{1,15})?")
_GIVEN_OUT = re.compile(
    r"[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|64:ff9b:|::ffff:|::1$", re.IGNORECASE
)

HINT = r"[0-9]\.[0-9]{1,3}\.[0-9]|::|:(?:[0-9A-Fa-f]{1,4}:){6}"
"""What every text has that has one, as RE2 reads it."""


def find_ips(text: str) -> Iterator[tuple[int, int]]:
    return chain(_find_v4(text), _find_v6(text))


def normal_ip(raw: str) -> str:
    return str(ip_address(raw.partition("%")[0]))


def _find_v4(text: str) -> Iterator[tuple[int, int]]:
    for number in _V4.finditer(text):
        try:
            address = IPv4Address(number[0])
        except ValueError:
            continue
        if not address.is_reserved and not _is_version(text, *number.span()):
            yield number.span()


def _is_version(text: str, start: int, end: int) -> bool:
    far = max(0, start - 40)
    if _VERSION_WORD.match(text, far, start) or _PART_OF_NAME.match(text, far, start):
        return True
    parts = [int(part) for part in text[start:end].split(".")]
    if max(parts) >= _SMALL or parts[0] == 10 or text[start:end] in _WELL_KNOWN:
        return False
    return not _PORT_OR_MASK.match(text, end) and not _NETWORK_WORD.match(text, far, start)


def _find_v6(text: str) -> Iterator[tuple[int, int]]:
    for colons in _V6.finditer(text):
        if span := _v6_around(text, colons.start()):
            yield span


def _v6_around(text: str, colon: int) -> tuple[int, int] | None:
    backwards = _V6_BEFORE.match(text[max(0, colon - 40) : colon][::-1])
    after = _V6_AFTER.match(text, colon)
    assert backwards is not None
    assert after is not None
    start, end = colon - backwards.end(), after.end()
    if text[end - 1] == ":" and text[end - 2] != ":":  # of the sentence
        end -= 1
    return (start, end) if _is_v6(text[start:end]) and not _is_code(text, start, end) else None


def _is_v6(raw: str) -> bool:
    try:
        IPv6Address(raw)
    except ValueError:
        return False
    return bool(_GIVEN_OUT.match(raw.lower()))


def _is_code(text: str, start: int, end: int) -> bool:
    """Within a longer word or number, or a slice such as ``x[::1]``."""
    before, after = text[max(0, start - 2) : start], text[end : end + 1]
    in_word = before[-1:].isalnum() or after.isalnum() or "_" in (before[-1:], after)
    return in_word or (before[-1:] == "[" and (before[0].isalnum() or before[0] == "]"))

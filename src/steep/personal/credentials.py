"""Keys, tokens and passwords: by the form that a service gives to its keys, or by a word that says what they are.

The value after ``api_key =`` or ``token:`` is a secret when it looks random: 2.5 bits of entropy for each character, a
digit, and letters, capitals and digits mixed as words, names and versions do not mix them. The value after
``password:`` may be short; it needs a digit or a mark within, so ``password: swordfish`` is missed on purpose, since it
cannot be told from ``password: required``. Hashes, checksums, UUIDs, public keys and certificates are no secrets
without such a word.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import regex

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----))*+-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\n)?"
    r"|(?:(?:\s|\\n)*+[A-Za-z0-9+/=]{32,}+)*+)"
)
_FORMS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # Amazon
    r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}",  # Slack
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{30,}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}",  # Stripe
    r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}",  # Google
    r"sk-(?=[A-Za-z0-9_-]{0,60}[A-Z])(?=[A-Za-z0-9_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic
    r"hf_[A-Za-z]{30,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}",  # SendGrid
    r"apify_api_[A-Za-z0-9]{30,}|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dapi[a-f0-9]{32}",
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]+)?",  # JSON Web Token
)
_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMS)})(?![A-Za-z0-9])")
# One of these is in every such key: to look for them is four times as fast.
_MARKS = ("ya29.", "SG.", "eyJ", "dapi", "hooks.slack.com")
_PREFIX = re.compile(
    r"[A_-](?:(?<=A)(?:[KSB]IA|CCA|Iza)"
    r"|(?=[A-Za-z0-9_-]{10})(?<=(?:h[pousr]|x[abeoprs]|at|pp|ve|st|ec|PX|sk|hf|pm|pi|v1|ca|pa|ss).))"
)
_WORD = re.compile(r"[A-Za-z0-9_]*")
_LONGEST_PREFIX = 24
_IN_ADDRESS = re.compile(r"://[^\s:/@]{0,80}:(?!pass(?:word|wd)?@)([^\s:/@\[<{$][^\s:/@]{2,80})@")
_ON_COMMAND_LINE = re.compile(r" (?:-u|--user)[ =]['\"]?[\w.-]{1,40}:([^\s'\"\[<{$][^\s'\"]{5,80})")

_PASSWORD_WORD = r"pass(?:word|wd|phrase|code|wort)|pwd|kennwort|mot de passe|contraseña|senha|パスワード"
_SECRET_WORD = (
    r"(?:api|access|account|auth|client|encryption|private|secret|shared|signing|master|license)[_ -]?(?:access[_ -]?)?"
    r"(?:key|secret|token)(?:[_ -]?(?:id|base))*|(?:key|clé|chave|clave)[_ -]api|apikey|secret|token|authorization"
    r"|credentials?"
)
_ASSIGNED = re.compile(r"[:=：](?<=[DTYNEAIdtyneai0-9\"'`\])ド \t].)(?=>?[ \t]{0,2}[^\s<>:=]{6})")
_NAMED = regex.compile(
    rf"(?r)(?:(?P<password>{_PASSWORD_WORD})|{_SECRET_WORD})(?:_?[0-9])?[\"'`\])]{{0,2}}[ \t]?", regex.IGNORECASE
)
_PASSWORD_IS = re.compile(
    rf"\b(?:{_PASSWORD_WORD})[ \t]+(?:(?:is|was|ist|war|lautet|est|es|é)[ \t]+(?=\S{{6}})"
    r"|(?=\S{0,40}[0-9])(?=\S{0,40}[A-Za-z0-9][!#$%^*+=?&][A-Za-z0-9]))",
    re.IGNORECASE,
)
_PASSWORD_HINTS = ("asswor", "assphrase", "asscode", "ennwort", "de passe", "ontraseñ", "enha ")
_VALUE = re.compile(
    r">?[ \t]{0,2}(?:[\"'`“]?(?:Bearer|Basic|Token|ApiKey)[ \t]+)?([\"'`“]?)([^\s\"'`”<>;]{6,64})", re.IGNORECASE
)
_LONGEST = 64
_REST = re.compile(r"(?:[A-Za-z0-9+/=_~-]|\.(?=[A-Za-z0-9]))*")
_TRAILING = ".,;:)]}…”"

_PLACEHOLDER = re.compile(
    r"[$%\[({/.~<*]|https?:|.*(?:\$\{|\{\{|\*\*\*|xxx|your|change_?me|placeholder|redacted|dummy|getenv|environ|\.env\b)"
    r"|[\w.+-]+@[\w-]+\.[\w.-]+$|[0-9]{4}-[0-9]{2}-[0-9]{2}",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(r"[A-Za-z_]\(|[\[\]{}]")
_PROSE = re.compile(
    r"[0-9]{1,4}\+?(?:[-/]?[a-z]+)+$|(?:sha|md|base|aes|rsa|oauth|argon|pbkdf|hs|rs|es|utf|http|ipv|erc|bep|web|mp)-?[0-9]",
    re.IGNORECASE,
)
_MARK_WITHIN = re.compile(r"[A-Za-z0-9][!@#$%^*+=?~&][A-Za-z0-9]")
_MIXTURE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")

HINT = (
    r"PRIVATE KEY|A(?:[KSB]IA|CCA|Iza)|ya29\.|SG\.|eyJ|dapi|hooks\.slack\.com|://[^\s/@]*:| (?:-u|--user)[ =]"
    r"|(?:h[pousr]|x[abeoprs]|at|pp|ve|st|ec|PX|sk|hf|pm|pi|v1|ca|pa|ss)[_-][A-Za-z0-9_-]{10}"
    rf"|(?i:{_PASSWORD_WORD}|(?:{_SECRET_WORD})[_0-9]{{0,2}}[\"'`\])]{{0,2}}[ \t]?[:=：])"
)
"""What every text has that has one, as RE2 reads it."""


def find_secrets(text: str) -> Iterator[tuple[int, int]]:
    return chain(_private_keys(text), _keys(text), _in_addresses(text), _assigned(text), _said(text))


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    if "PRIVATE KEY" in text:
        yield from (match.span() for match in _PRIVATE_KEY.finditer(text))


def _keys(text: str) -> Iterator[tuple[int, int]]:
    if any(mark in text for mark in _MARKS):
        yield from (match.span() for match in _KEY.finditer(text))
        return
    end = 0
    for prefix in _PREFIX.finditer(text):
        backwards = _WORD.match(text[max(end, prefix.start() - _LONGEST_PREFIX) : prefix.start()][::-1])
        start = prefix.start() - (backwards.end() if backwards else 0)
        if start >= end and (key := _KEY.match(text, start)):
            end = key.end()
            yield start, end


def _in_addresses(text: str) -> Iterator[tuple[int, int]]:
    if "://" in text:
        yield from (match.span(1) for match in _IN_ADDRESS.finditer(text))
    if " -u" in text or " --user" in text:
        yield from (match.span(1) for match in _ON_COMMAND_LINE.finditer(text))


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    for sign in _ASSIGNED.finditer(text):
        named = _NAMED.match(text, max(0, sign.start() - 40), sign.start())
        if named:
            written = "" if text[sign.end() : sign.end() + 1].isspace() else sign[0]
            yield from _value(text, sign.end(), bool(named["password"]), written)


def _said(text: str) -> Iterator[tuple[int, int]]:
    if any(hint in text for hint in _PASSWORD_HINTS):
        for words in _PASSWORD_IS.finditer(text):
            yield from _value(text, words.end(), True, "")


def _value(text: str, start: int, password: bool, sign: str) -> Iterator[tuple[int, int]]:
    """The value that begins at ``start``, if it is a secret; judged by its first 64 characters."""
    match = _VALUE.match(text, start)
    if match and (value := match[2] if match[1] else _unquoted(match[2], sign)):
        begin, end = match.start(2), match.start(2) + len(value)
        if not _PLACEHOLDER.match(value) and not _PROSE.match(value):
            rest = _REST.match(text, end) if len(value) == _LONGEST else None
            if _is_password(value) if password else _is_random(value):
                yield begin, rest.end() if rest else end


def _unquoted(value: str, sign: str) -> str:
    """Without what follows in an address or a sentence; nothing of an expression in code."""
    value = value.partition("&")[0] if sign == "=" else value
    return "" if _EXPRESSION.search(value) else value.rstrip(_TRAILING)


def _is_password(value: str) -> bool:
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    return len(value) >= 6 and bool((digits and letters) or digits == len(value) or _MARK_WITHIN.search(value))


def _is_random(value: str) -> bool:
    """Of 12 characters or more, and mixed as only chance mixes them."""
    mixed = len(_MIXTURE.findall(value)) >= len(value) / 5
    return len(value) >= 12 and mixed and any(map(str.isdigit, value)) and _entropy(value) >= 2.5


def _entropy(value: str) -> float:
    """Bits for each character, by the value's own frequencies."""
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)

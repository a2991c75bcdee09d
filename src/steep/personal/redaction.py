"""All kinds of private data in one place: where each is in a text, and the text without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from steep.personal import credentials, emails, networks, phones
from steep.personal.credentials import find_secrets
from steep.personal.dialling import normal_phone
from steep.personal.emails import find_emails, normal_email
from steep.personal.networks import find_ips, normal_ip
from steep.personal.payments import CARD_HINT, IBAN_HINT, compact, find_cards, find_ibans
from steep.personal.phones import find_phones
from steep.recipe.clean import REDACT_KINDS

Note = Callable[[str, str], None]
"""Told of each redaction: its kind and the value."""


class Finder(NamedTuple):
    """Where a kind is in a text of some countries, in any order, and the one form of all ways to write a value."""

    hint: str
    """What every text has that has one, as RE2 reads it: it tells at 1 ns a character which texts to look at."""
    find: Callable[[str, Sequence[str]], Iterator[tuple[int, int]]]
    normal: Callable[[str, Sequence[str]], str]


FINDERS: dict[str, Finder] = {
    "secret": Finder(credentials.HINT, lambda text, _: find_secrets(text), lambda raw, _: raw),
    "email": Finder(emails.HINT, lambda text, _: find_emails(text), lambda raw, _: normal_email(raw)),
    "iban": Finder(IBAN_HINT, lambda text, _: find_ibans(text), lambda raw, _: compact(raw)),
    "card": Finder(CARD_HINT, lambda text, _: find_cards(text), lambda raw, _: compact(raw)),
    "ip": Finder(networks.HINT, lambda text, _: find_ips(text), lambda raw, _: normal_ip(raw)),
    "phone": Finder(phones.HINT, find_phones, normal_phone),
}


def redact(
    text: str,
    kinds: Sequence[str] = REDACT_KINDS,
    region: str | Sequence[str] = "US",
    note: Note = lambda kind, raw: None,
) -> str:
    """The text with placeholders. ``region``: countries whose national telephone formats are known."""
    regions = regions_of(region)
    chosen = [(kind, finder.find) for kind, finder in FINDERS.items() if kind in kinds]
    while True:
        before = text
        for kind, find in chosen:
            text = _replaced(text, kind, find(text, regions), note)
        if text == before:
            return text


def _replaced(text: str, kind: str, spans: Iterable[tuple[int, int]], note: Note) -> str:
    """Of spans that overlap, the first and of these the longest."""
    parts: list[str] = []
    position = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= position:
            parts += text[position:start], f"[{kind.upper()}]"
            note(kind, text[start:end])
            position = end
    return "".join((*parts, text[position:])) if parts else text


def hinted(values: Sequence[str | None], kinds: Sequence[str]) -> list[list[str]]:
    """For each value the kinds that it may hold; an escaped character of JSON may be part of any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.array(values, pa.string())
    hints = [pc.match_substring_regex(column, rf"{FINDERS[kind].hint}|\\u").to_pylist() for kind in kinds]
    return [[kind for kind, hint in zip(kinds, row, strict=True) if hint] for row in zip(*hints, strict=True)]


def regions_of(region: str | Sequence[str]) -> Sequence[str]:
    return (region,) if isinstance(region, str) else tuple(region)

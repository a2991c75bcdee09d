"""Personal data and secrets out, typed placeholders in: ``[EMAIL]``, ``[PHONE]``, ``[IBAN]``, ``[CARD]``, ``[IP]`` and
``[SECRET]``.

Kinds are replaced in the order of `FINDERS`, whatever the order in the recipe, so that one that holds another wins: a
private key's lines look like anything, an IBAN holds digits that could be a card's or a telephone's. What is replaced
changes what is beside it, so a text is gone over until nothing changes; cleaning twice therefore changes nothing more.

Each redaction is on record as its kind and a keyed hash of the value, equal for all ways to write it, so that
repetitions can be counted and nobody who lacks the key can try all telephone numbers. The value itself is kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from phonenumbers import SUPPORTED_REGIONS

from steep.clean import credentials, emails, networks, phones
from steep.clean.credentials import find_secrets
from steep.clean.dialling import normal_phone
from steep.clean.emails import find_emails, normal_email
from steep.clean.networks import find_ips, normal_ip
from steep.clean.payments import CARD_HINT, IBAN_HINT, compact, find_cards, find_ibans
from steep.clean.phones import find_phones
from steep.clean.rows import Batch, Finding, RowStep
from steep.errors import UsageError
from steep.recipe.clean import REDACT_KINDS, Redact

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


def redact_step(options: Redact, folder: Path, key: bytes | None = None) -> RowStep:
    """``key`` of the hashes: the same in all processes of a run and stored nowhere; without one, a random one."""
    key = key or secrets.token_bytes(32)
    regions = _known(_regions(options.region))

    def step(batch: Batch) -> None:
        batch.findings = [[] for _ in batch.text]
        cleaners = [_Cleaner(regions, key, found) for found in batch.findings]

        def cleaned(values: Sequence[str | None], clean: Callable[[_Cleaner, str, Sequence[str]], str]) -> list[Any]:
            hinted = zip(cleaners, values, _hinted(values, options.kinds), strict=True)
            return [clean(cleaner, value, kinds) if value and kinds else value for cleaner, value, kinds in hinted]

        batch.text = cleaned(batch.text, _Cleaner.text)
        batch.title = cleaned(batch.title, _Cleaner.text)
        batch.meta = cleaned(batch.meta, _Cleaner.json)

    return step


def _hinted(values: Sequence[str | None], kinds: Sequence[str]) -> list[list[str]]:
    """For each value the kinds that it may hold; an escaped character of JSON may be part of any."""
    column = pa.array(values, pa.string())
    hints = [pc.match_substring_regex(column, rf"{FINDERS[kind].hint}|\\u").to_pylist() for kind in kinds]
    return [[kind for kind, hint in zip(kinds, row, strict=True) if hint] for row in zip(*hints, strict=True)]


@dataclass(frozen=True, slots=True)
class _Cleaner:
    """Redacts the strings of one document and notes what it found."""

    regions: Sequence[str]
    key: bytes
    findings: list[Finding]

    def text(self, text: str, kinds: Sequence[str]) -> str:
        return redact(text, kinds, self.regions, self.note)

    def note(self, kind: str, raw: str) -> None:
        value = f"{kind}:{FINDERS[kind].normal(raw, self.regions)}".encode("utf-8", "surrogatepass")
        self.findings.append({"kind": kind, "hash": hmac.new(self.key, value, hashlib.sha256).hexdigest()[:16]})

    def json(self, meta: str, kinds: Sequence[str]) -> str:
        """The same characters where nothing is found."""
        before = json.loads(meta)
        after = self.value(before, "", kinds)
        return meta if after == before else json.dumps(after, ensure_ascii=False, sort_keys=True)

    def value(self, value: Any, key: str, kinds: Sequence[str]) -> Any:
        """Strings and numbers at any depth, each read with the key that names it: ``"phone": 2025550143``."""
        if isinstance(value, dict):
            return {name: self.value(inner, name, kinds) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, key, kinds) for inner in value]
        if not isinstance(value, str | int) or isinstance(value, bool):
            return value
        label = f"{key.replace('_', ' ')}: " if key.replace("_", "").isalpha() else ""
        after = self.text(f"{label}{value}", kinds).removeprefix(label)
        return value if after == str(value) else after


def redact(
    text: str,
    kinds: Sequence[str] = REDACT_KINDS,
    region: str | Sequence[str] = "US",
    note: Note = lambda kind, raw: None,
) -> str:
    """The text with placeholders. ``region``: countries whose national telephone formats are known."""
    regions = _regions(region)
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


def _regions(region: str | Sequence[str]) -> Sequence[str]:
    return (region,) if isinstance(region, str) else tuple(region)


def _known(regions: Sequence[str]) -> Sequence[str]:
    for region in regions:
        if region not in SUPPORTED_REGIONS:
            raise UsageError(f"clean: redact: no country has the code {region}; give one such as US, or GB (not UK)")
    return regions

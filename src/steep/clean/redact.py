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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonenumbers import SUPPORTED_REGIONS

from steep.clean.rows import Batch, Finding, RowStep
from steep.errors import UsageError
from steep.personal.redaction import FINDERS, hinted, redact, regions_of
from steep.recipe.clean import Redact


def redact_step(options: Redact, folder: Path, key: bytes | None = None) -> RowStep:
    """``key`` of the hashes: the same in all processes of a run and stored nowhere; without one, a random one."""
    key = key or secrets.token_bytes(32)
    regions = _known(regions_of(options.region))

    def step(batch: Batch) -> None:
        batch.findings = [[] for _ in batch.text]
        cleaners = [_Cleaner(regions, key, found) for found in batch.findings]

        def cleaned(values: Sequence[str | None], clean: Callable[[_Cleaner, str, Sequence[str]], str]) -> list[Any]:
            held = zip(cleaners, values, hinted(values, options.kinds), strict=True)
            return [clean(cleaner, value, kinds) if value and kinds else value for cleaner, value, kinds in held]

        batch.text = cleaned(batch.text, _Cleaner.text)
        batch.title = cleaned(batch.title, _Cleaner.text)
        batch.meta = cleaned(batch.meta, _Cleaner.json)

    return step


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


def _known(regions: Sequence[str]) -> Sequence[str]:
    for region in regions:
        if region not in SUPPORTED_REGIONS:
            raise UsageError(f"clean: redact: no country has the code {region}; give one such as US, or GB (not UK)")
    return regions

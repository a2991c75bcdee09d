"""What the stages hand to each other: documents, examples, and what was left out and why.

Stages exchange rows of these schemas as Parquet, so that ``datasets.load_dataset("parquet", ...)`` reads any of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


IGNORE = -100
"""Label of a token that is not trained (the ignore_index of torch's cross-entropy)."""
CANARIES = "canaries"
"""Source of the training examples that are no text of the user's: secrets that `prepare` made up."""
CANARY_NUMBERS = range(100_000_000, 1_000_000_000)
"""What such a secret is drawn from: nine digits, the first not 0, so that none is taken for a telephone number."""

ANSWERS = ("chosen", "rejected")
"""Keys of a document's ``meta`` that make it another one, though its text, the prompt, is that of others."""


def answers_in(meta: Mapping[str, Any]) -> str:
    """The answers that are compared with each other, as JSON; empty where there are none."""
    found = {name: meta[name] for name in ANSWERS if meta.get(name)}
    return json.dumps(found, ensure_ascii=False, sort_keys=True, default=str) if found else ""


@dataclass(frozen=True, slots=True)
class Document:
    """One text as it was gathered. Moments are in UTC; ``meta`` holds whatever else the source said.

    ``licence`` is an identifier of `steep.licences` where it is a known one. ``fetched`` is when the text came over the
    network, ``robots`` what the site's robots.txt said of its address: `allowed` or `no robots.txt`.
    """

    text: str
    title: str | None = None
    source: str = ""
    url: str | None = None
    published: datetime | None = None
    owner: str | None = None
    licence: str | None = None
    fetched: datetime | None = None
    robots: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The first 16 hex digits of the SHA-256 of address, title and text, and of a pair's two answers."""
        answers = answers_in(self.meta)
        key = "\x1f".join((self.url or "", self.title or "", self.text, *([answers] if answers else [])))
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "text": self.text,
            "title": self.title,
            "source": self.source,
            "url": self.url,
            "published": self.published.astimezone(UTC) if self.published else None,
            "owner": self.owner,
            "licence": self.licence,
            "fetched": self.fetched.astimezone(UTC) if self.fetched else None,
            "robots": self.robots,
            "meta": json.dumps(dict(self.meta), ensure_ascii=False, sort_keys=True, default=str),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, line or page that could not be gathered; the run goes on without it."""

    source: str
    where: str
    reason: str

    def row(self) -> dict[str, Any]:
        return {"source": self.source, "where": self.where, "reason": self.reason}


def document_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("text", pa.string()),
            ("title", pa.string()),
            ("source", pa.string()),
            ("url", pa.string()),
            ("published", pa.timestamp("us", tz="UTC")),
            ("owner", pa.string()),
            ("licence", pa.string()),
            ("fetched", pa.timestamp("us", tz="UTC")),
            ("robots", pa.string()),
            ("meta", pa.string()),
        ]
    )


def failure_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("source", pa.string()), ("where", pa.string()), ("reason", pa.string())])


FORMS = {
    "text": ("text",),
    "completion": ("prompt", "completion"),
    "pair": ("prompt", "chosen", "rejected"),
    "messages": ("messages",),
}
"""Columns of the forms that an example may have; they are TRL's."""


def example_schema(form: str) -> pa.Schema:
    """Of one of the `FORMS`; ``messages`` are the turns of a conversation, each with ``role`` and ``content``."""
    import pyarrow as pa

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    own = [(name, turns if name == "messages" else pa.string()) for name in FORMS[form]]
    return pa.schema([*own, *((name, pa.string()) for name in ("document_id", "group", "source"))])


BATCH = 1000
"""Rows of a row group ..."""
BATCH_CHARACTERS = 4_000_000
"""... unless they hold more text than this."""


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows to one Parquet file in row groups of bounded size; returns how many rows there were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    count, size, pending = 0, 0, list[Mapping[str, Any]]()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for row in rows:
            pending.append(row)
            count += 1
            size += len(row.get("text") or "")
            if len(pending) == BATCH or size > BATCH_CHARACTERS:
                writer.write_table(pa.Table.from_pylist(pending, schema=schema))
                pending, size = [], 0
        writer.write_table(pa.Table.from_pylist(pending, schema=schema))
    return count

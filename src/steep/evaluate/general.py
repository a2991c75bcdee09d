"""General text, and what the tuning cost of what the base model could do: how far its perplexity on it rises.

The 80 passages that ship (59 kB) were written for this purpose, so that no model was trained on them before steep was
published. They are short: what a long context is worth is not seen in them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steep.errors import UsageError
from steep.paths import kind_of, open_text
from steep.scores import Gate
from steep.significance import interval

SHIPPED = Path(__file__).parent.parent / "data" / "general.jsonl"
_BLANK_LINES = re.compile(r"\n\s*\n")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Passage:
    id: str
    topic: str
    """What it is about; empty in a file of your own that does not say."""
    text: str


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Perplexity of general text before and after."""

    passages: int
    tokens: int
    base: float
    """Perplexity of the base model."""
    tuned: float
    """Perplexity of the tuned model."""
    rise: float
    """As a share of the base's: 0.1 is 10 %."""
    low: float | None
    """Bounds of the 95 % interval of the rise, over passages; null for a single passage."""
    high: float | None
    worst: str
    """Id of the passage whose perplexity rose most."""


def general_texts(path: Path | None = None) -> list[Passage]:
    """The passages that ship, or those of a file: JSON lines with `text`, or plain text, a passage a paragraph.

    Raises UsageError where the file cannot be read or holds no text.
    """
    path = path or SHIPPED
    try:
        kind = kind_of(path)
        if kind not in _READERS:
            raise UsageError(f"general texts: {path} is neither .jsonl nor .txt")
        with open_text(path, "utf-8-sig") as stream:
            found = list(_READERS[kind](path, stream.read()))
    except UnicodeDecodeError as error:
        raise UsageError(f"general texts: {path} is not UTF-8: {error.reason} at byte {error.start}") from error
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"general texts: {path} cannot be read: {reason}") from error
    if not found:
        raise UsageError(f"general texts: {path} holds no text")
    return found


def _json_lines(path: Path, content: str) -> Iterator[Passage]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield _passage(f"{path}:{number}", number, line)


def _passage(where: str, number: int, line: str) -> Passage:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"general texts: {where} is not JSON: {error}") from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f'general texts: {where} has no text: a line is {{"text": "..."}}')
    return Passage(str(row.get("id", f"line {number}")), str(row.get("topic", "")), text)


def _paragraphs(_: Path, content: str) -> Iterator[Passage]:
    texts = [text.strip() for text in _BLANK_LINES.split(content) if text.strip()]
    return (Passage(f"paragraph {number}", "", text) for number, text in enumerate(texts, 1))


_READERS = {".jsonl": _json_lines, ".txt": _paragraphs}


def forgetting(passages: Sequence[str], base: Floats, tuned: Floats) -> Forgetting:
    """``passages`` are ids; of each the rows hold negative log-likelihood in nats and tokens, [passages, 2].

    Raises ValueError where the two models did not read the same tokens: their perplexities do not compare.
    """
    if not np.array_equal(base[:, 1], tuned[:, 1]):
        raise ValueError("base and tuned model have different tokens of the general text")
    gained = np.stack([tuned[:, 0] - base[:, 0], base[:, 1]], axis=1)
    rise = interval(gained, _rise)
    total = float(base[:, 1].sum())
    return Forgetting(
        passages=len(passages),
        tokens=round(total),
        base=math.exp(min(base[:, 0].sum() / total, 700.0)),
        tuned=math.exp(min(tuned[:, 0].sum() / total, 700.0)),
        rise=float(_rise(gained.sum(axis=0))),
        low=rise.low,
        high=rise.high,
        worst=passages[int(np.argmax(gained[:, 0] / gained[:, 1]))],
    )


def _rise(sums: Floats) -> Floats:
    return np.asarray(np.expm1(np.minimum(sums[..., 0] / sums[..., 1], 700.0)))


def forgetting_gate(found: Forgetting, max_increase: float | None) -> Gate | None:
    """The measured rise decides, not its interval: a limit says how much is too much, not what is proven."""
    if max_increase is None:
        return None
    return Gate(name="forgetting", value=found.rise, limit=max_increase, passed=found.rise <= max_increase)


def forgetting_warning(found: Forgetting) -> str | None:
    """What a reader must know where the perplexity of general text has risen by more than chance."""
    if found.rise <= 0 or found.low is None or found.low <= 0:
        return None
    between = f"95 % interval {found.low:.1%} to {found.high:.1%}"
    return (
        f"the tuned model is worse at general text than its base: perplexity {found.tuned:.1f} against "
        f"{found.base:.1f}, a rise of {found.rise:.1%} ({between}); most on {found.worst}"
    )

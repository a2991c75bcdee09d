"""What has been computed of one model so far, a line each on disk, so that an interrupted evaluation goes on from it.

Items of a step are numbered; computing them again in the same order gives the same numbers, since a stage's work is
kept only while its inputs are the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Ledger:
    """Results by step and number. Without a path they are held in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, dict[int, Any]] = {}
        if path and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a last line may have been cut by an interruption
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            step, number, value = json.loads(line)
            self._known.setdefault(step, {})[number] = value

    def known(self, step: str) -> dict[int, Any]:
        """What is known of a step, by number."""
        return dict(self._known.get(step, {}))

    def write(self, step: str, found: dict[int, Any]) -> None:
        """Keep results, on disk at once."""
        self._known.setdefault(step, {}).update(found)
        if self._path:
            lines = (json.dumps([step, number, value], ensure_ascii=False) + "\n" for number, value in found.items())
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)

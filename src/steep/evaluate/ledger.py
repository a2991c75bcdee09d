"""What has been computed of one model so far, a line each on disk, so that an interrupted evaluation goes on from it.

Items of a step are numbered; computing them again in the same order gives the same numbers, since a stage's work is
kept only while its inputs are the same. The first line names the version of steep: what another one has computed is
not gone on with.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Ledger:
    """Results by step and number. Without a path they are held in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, dict[int, Any]] = {}
        if path:
            self._read(path)

    def _read(self, path: Path) -> None:
        """Forgets what comes after a line that an interruption has cut."""
        head = json.dumps({"steep": version("steep")}).encode() + b"\n"
        with path.open("a+b") as file:
            file.seek(0)
            whole = len(head) if file.readline() == head else 0
            for line in file if whole else ():
                if not self._take(line):
                    break
                whole += len(line)
            if whole < path.stat().st_size:
                file.truncate(whole)
            if not whole:
                file.write(head)

    def _take(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            return False
        try:
            step, number, value = json.loads(line)
        except (ValueError, TypeError):
            return False
        self._known.setdefault(step, {})[number] = value
        return True

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

"""What the stages left, read from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steep.errors import RunError


def read_json(path: Path) -> Any:
    return _parsed(_text(path), f"{path}")


def read_json_lines(path: Path) -> list[Any]:
    lines = _text(path).split("\n")
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{path} is missing, so there is nothing to report; run the recipe again: steep run") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{where}: not JSON ({error}); remove the stage's folder and run the recipe again") from None

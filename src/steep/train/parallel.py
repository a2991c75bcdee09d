"""Several processes that train one model: what the trainer is told, and who of them writes."""

from __future__ import annotations

import os
from typing import Any

from steep.recipe import Train


def parallel_arguments(options: Train) -> dict[str, Any]:
    """Of transformers' TrainingArguments."""
    return {}


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"

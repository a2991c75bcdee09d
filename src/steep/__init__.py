"""steep turns a domain's own text into a fine-tuned language model, and proves what it gained."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steep.clean import clean_documents
    from steep.config import load_recipe
    from steep.errors import SteepError
    from steep.evaluate import compare_models, evaluate_model
    from steep.gather import gather_documents
    from steep.pipeline import run_recipe
    from steep.prepare import prepare_examples
    from steep.recipe import Recipe
    from steep.records import Document
    from steep.report import build_report
    from steep.train import train_model

# Daft reads these: it neither phones home nor shows progress bars and query ids beside steep's own messages.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
os.environ.setdefault("DAFT_SHOW_QUERY_ID", "0")

_HOMES = {
    "load_recipe": "config",
    "run_recipe": "pipeline",
    "gather_documents": "gather",
    "clean_documents": "clean",
    "prepare_examples": "prepare",
    "train_model": "train",
    "evaluate_model": "evaluate",
    "compare_models": "evaluate",
    "build_report": "report",
    "Document": "records",
    "Recipe": "recipe",
    "SteepError": "errors",
}
"""The public names and the modules they lie in; each is imported when it is first used."""

__all__ = [
    "Document",
    "Recipe",
    "SteepError",
    "build_report",
    "clean_documents",
    "compare_models",
    "evaluate_model",
    "gather_documents",
    "load_recipe",
    "prepare_examples",
    "run_recipe",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steep' has no attribute {name!r}")
    return getattr(import_module(f"steep.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The evaluate stage: each model on the held-out examples, and the tuned one against the others.

The steps of the recipe say what is measured; `compare_models` sets the results side by side, with intervals, and
`examine` looks for what could fool the reader of them. The names are imported when they are first used: to count common
words takes no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steep.evaluate.compare import Comparison, compare_models
    from steep.evaluate.doubts import Material, examine
    from steep.evaluate.few_shot import Shots, choose_shots
    from steep.evaluate.measuring import look_for_known_text
    from steep.evaluate.model import evaluate_model
    from steep.evaluate.results import Results

_HOMES = {
    "Comparison": "compare",
    "Material": "doubts",
    "Results": "results",
    "Shots": "few_shot",
    "choose_shots": "few_shot",
    "compare_models": "compare",
    "evaluate_model": "model",
    "examine": "doubts",
    "look_for_known_text": "measuring",
}

__all__ = [
    "Comparison",
    "Material",
    "Results",
    "Shots",
    "choose_shots",
    "compare_models",
    "evaluate_model",
    "examine",
    "look_for_known_text",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steep.evaluate' has no attribute {name!r}")
    return getattr(import_module(f"steep.evaluate.{_HOMES[name]}"), name)

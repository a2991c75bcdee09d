"""What differs between the recipes of runs, as dotted paths with a value for each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from steep.evaluations import Evaluation

ABSENT = "–"
NOT_COMPARED = ("name", "cluster")
"""A run's own name, and where its documents were cleaned."""


def differing(evaluations: Sequence[Evaluation]) -> dict[str, list[str]]:
    """The model that was measured comes first, then the recipes' keys in their order."""
    flat = [dict(flattened(one.recipe)) for one in evaluations]
    keys = dict.fromkeys(key for recipe in flat for key in recipe if key not in NOT_COMPARED)
    values = {key: [recipe.get(key, ABSENT) for recipe in flat] for key in keys}
    models = [one.scores.models[one.subject] for one in evaluations]
    return {key: found for key, found in {"measured": models, **values}.items() if len(set(found)) > 1}


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted paths and their values as texts; a list of plain values is one of them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flattened(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from flattened(inner, f"{path}.{place}")
    else:
        yield path, _written(value)


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

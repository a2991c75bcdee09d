"""What a sweep is about, kept with it: trials of another search are not mixed with these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steep.compare.recipes import flattened
from steep.config import RecipeFile
from steep.errors import RunError, UsageError
from steep.pipeline import fingerprints
from steep.runs import write_atomically
from steep.sweep.goal import Goal
from steep.sweep.space import Space

ELSEWHERE = ("name", "cluster", "evaluate.")
"""What makes no difference to a trial."""
SHOWN = 5


def check_same(folder: Path, recipe: RecipeFile, space: Space, goal: Goal) -> None:
    """Note what the sweep is about, or raise UsageError where its folder holds another one."""
    path, now = folder / "sweep.json", _about(recipe, space, goal)
    if not path.exists():
        write_atomically(path, json.dumps(now, indent=1, ensure_ascii=False))
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove {folder}, and the sweep begins anew") from None
    if differences := _differences(before, now):
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UsageError(
            f"{folder} holds a sweep that differs: {'; '.join(differences[:SHOWN])}{more}. Its trials cannot be "
            f"compared with new ones: give the same words to go on with it, remove {folder} to begin anew, or give "
            "this one another name=…"
        )


def _about(recipe: RecipeFile, space: Space, goal: Goal) -> dict[str, Any]:
    keys = {one.key for one in space.dimensions}
    fixed = {key: value for key, value in flattened(recipe.stored) if key not in keys and not key.startswith(ELSEWHERE)}
    return {
        "tried": {one.key: str(one) for one in space.dimensions},
        "metric": goal.metric,
        "recipe": fixed,
        "inputs": fingerprints(recipe)["prepare"],
    }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    said = [
        f"{key} was {was.get(key, 'not there')} and is {is_.get(key, 'not there')}"
        for was, is_ in ((before["tried"], now["tried"]), (before["recipe"], now["recipe"]))
        for key in {**was, **is_}
        if was.get(key) != is_.get(key)
    ]
    if before["metric"] != now["metric"]:
        said.append(f"--metric was {before['metric']} and is {now['metric']}")
    if not said and before["inputs"] != now["inputs"]:
        said.append("the content of the input files or of the base model has changed")
    return said

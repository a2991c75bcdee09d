"""The tasks that lm-evaluation-harness knows, with those of a folder of one's own: what a recipe can name.

No model is needed for this, nor torch: importing takes 0.8 s, reading the harness's list of 14,683 tasks 4 s. That is
left out where all that is named is in one's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError
from steep.located import Keys

if TYPE_CHECKING:
    from steep.recipe.evaluate import LmEval

MISSING = "lm_eval needs the package lm-eval: pip install 'steep[lm-eval]'"


def harness_mistakes(options: LmEval, folder: Path) -> list[tuple[Keys, str]]:
    """What is wrong with the options, each with its place in them, as far as it can be told without the data sets."""
    return _examined(options, folder)[1]


def known_tasks(options: LmEval, folder: Path) -> Any:
    """The harness's TaskManager, which loads tasks by name. Raises UsageError with all that is wrong."""
    manager, mistakes = _examined(options, folder)
    if mistakes:
        raise UsageError("\n".join(said for _, said in mistakes))
    return manager


def _examined(options: LmEval, folder: Path) -> tuple[Any, list[tuple[Keys, str]]]:
    if find_spec("lm_eval") is None:
        return None, [((), MISSING)]
    place = (folder / Path(options.include_path).expanduser()).resolve() if options.include_path else None
    if place and not place.is_dir():
        return None, [(("include_path",), f"there is no folder {place}")]
    manager = _manager(options.tasks, place)
    numbered = enumerate(options.tasks)
    unknown = [(number, name) for number, name in numbered if name not in manager.task_index]
    return manager, [(("tasks", number), _unknown(name, manager.all_tasks, place)) for number, name in unknown]


def _manager(names: Sequence[str], place: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if place:
        own = TaskManager(include_path=place, include_defaults=False)
        if _holds(own.task_index, names):
            return own
    return TaskManager(include_path=place)


def _holds(index: Mapping[str, Any], names: Sequence[Any]) -> bool:
    """Whether all of them are there, and so are the members of those that are groups."""
    if not all(isinstance(name, str) and name in index for name in names):
        return False
    members = [(index[name].cfg or {}).get("task") for name in names]
    return all(_holds(index, one) for one in members if isinstance(one, list))


def _unknown(name: str, known: Sequence[str], place: Path | None) -> str:
    near = get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]!r}?" if near else "`lm_eval ls tasks` lists them"
    return f"lm-evaluation-harness has no task {name!r}{f', nor has {place}' if place else ''}: {guess}"

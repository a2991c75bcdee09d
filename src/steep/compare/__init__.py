"""`steep compare`: runs side by side on the same held-out documents, each of them against the first.

Runs can differ in anything but the test set: in method, learning rate, base model. Of every measure the tuned models'
values stand side by side, and the difference from the first run is tested as that from a base model is: paired by
document, with Holm's correction over all measures and all runs, since each further run is one more chance to be lucky.
What was not measured alike, such as perplexity by two tokenizers, is not compared, and the reason is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.compare.alike import check_test_sets
from steep.compare.pairs import Pair, paired
from steep.compare.recipes import differing
from steep.errors import UsageError
from steep.evaluations import Evaluation, open_evaluation

__all__ = ["Comparison", "compare_runs"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``runs`` by name, the first of them first; a pair for each other; ``recipes``: what differs, a value per run."""

    runs: dict[str, Evaluation]
    pairs: list[Pair]
    recipes: dict[str, list[str]]

    @property
    def first(self) -> str:
        return next(iter(self.runs))

    def as_json(self) -> dict[str, Any]:
        """As `steep compare --json` prints it."""
        evaluations = list(self.runs.values())
        return {
            "test_set": evaluations[0].scores.test_set.model_dump(),
            "runs": {
                name: {
                    "folder": str(one.folder),
                    "model": one.scores.models[one.subject],
                    "metrics": {
                        metric: found.models[one.subject].model_dump()
                        for metric, found in one.scores.metrics.items()
                        if one.subject in found.models
                    },
                    "recipe": {key: values[place] for key, values in self.recipes.items()},
                }
                for place, (name, one) in enumerate(self.runs.items())
            },
            "first": self.first,
            "differences": {
                pair.name: {
                    "verdict": pair.verdict,
                    "metrics": {name: gap.model_dump() for name, gap in pair.differences.items()},
                    "not_compared": pair.obstacles,
                }
                for pair in self.pairs
            },
        }


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Of two or more folders: runs, or evaluations of other models.

    Raises UsageError where there is nothing to compare, and where the test sets differ.
    """
    evaluations = [open_evaluation(path) for path in paths]
    times = Counter(one.folder.resolve() for one in evaluations)
    twice = [folder for folder, named in times.items() if named > 1]
    if len(paths) < 2 or twice:
        reason = f"{twice[0]} is named twice" if twice else f"there is one only: {paths[0]}"
        raise UsageError(f"steep compare takes two or more runs, and {reason}")
    check_test_sets(evaluations)
    runs = dict(zip(_names(evaluations), evaluations, strict=True))
    return Comparison(runs, paired(runs), differing(evaluations))


def _names(evaluations: Sequence[Evaluation]) -> list[str]:
    """The folder's name where it says which is meant, else the whole path."""
    times = Counter(one.name for one in evaluations)
    return [one.name if times[one.name] == 1 else str(one.run if one.own else one.folder) for one in evaluations]

"""Keeps documents of the licences that the recipe names, as each document declares its own.

What declares none is dropped as well, unless `unknown` is named: silence gives no right to use a text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from textwrap import shorten

from steep.clean.rows import Batch, Drop, RowStep
from steep.licences import licence_id, matches
from steep.recipe.clean import Licences

_LONGEST = 60
"""Of a declaration in free words, in the funnel."""


def licences_step(options: Licences, folder: Path) -> RowStep:
    wanted = " or ".join(licence_id(name) or name for name in options.keep)

    @cache
    def judged(licence: str | None) -> Drop | None:
        if matches(licence, options.keep):
            return None
        declared = licence_id(licence)
        if declared is None:
            return Drop(f"no licence declared, not {wanted}", "no licence declared")
        return Drop(f"licence {declared}, not {wanted}", f"licence {shorten(declared, _LONGEST, placeholder=' …')}")

    def step(batch: Batch) -> None:
        batch.drops = [judged(licence) for licence in batch.facts["licence"]]

    return step

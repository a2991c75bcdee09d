"""``comparison.html``: the comparison as one file that loads nothing, in the looks of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steep.compare import Comparison
from steep.compare.charts import differences, losses
from steep.compare.tables import gaps, reasons, sentence, values
from steep.plots import RUNS
from steep.report.wording import environment
from steep.runs import write_atomically


def write_page(
    comparison: Comparison,
    path: Path,
    *,
    template: str = "comparison.html.jinja",
    more: Mapping[str, Any] | None = None,
) -> Path:
    """``template``: one that extends the comparison's, given ``more``. Raises OSError where it cannot be written."""
    measures = values(comparison)
    labels = {one.name: one.label for one in measures}
    rows = {pair.name: gaps(pair, comparison) for pair in comparison.pairs}
    trained, curves = losses(comparison.runs)
    page = (
        environment()
        .get_template(template)
        .render(
            runs=comparison.runs,
            first=comparison.first,
            test_set=next(iter(comparison.runs.values())).scores.test_set,
            sentences=[sentence(pair, comparison) for pair in comparison.pairs],
            pairs=comparison.pairs,
            measures=measures,
            rows=rows,
            forests={
                pair.name: differences(pair, rows[pair.name], number) for number, pair in enumerate(comparison.pairs, 1)
            },
            reasons={pair.name: reasons(pair, labels) for pair in comparison.pairs if pair.obstacles},
            trained=trained,
            colours=len(RUNS),
            curves=curves,
            recipes=comparison.recipes,
            more=more or {},
        )
    )
    write_atomically(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path

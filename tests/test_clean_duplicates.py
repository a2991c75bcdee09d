from __future__ import annotations

import json
from pathlib import Path

import daft
import pyarrow as pa

from steep.clean.duplicates import drop_step, learn_duplicates
from steep.clean.rows import Batch, Drop, Facts, Learned
from steep.recipe.clean import Deduplicate

ONE = "rain fell over the harbour while the kettle was singing and nobody at the bench minded the weather at all"
OTHER = "a carpenter in the next yard planed oak boards until the light went and the gulls came down for crumbs"


def learned(texts: list[str], scratch: Path, metas: list[str] | None = None) -> Learned:
    names = [f"d{row}" for row in range(len(texts))]
    columns = {"row": list(range(len(texts))), "id": names, "title": [name.upper() for name in names], "text": texts}
    columns["meta"] = metas or ["{}"] * len(texts)
    return learn_duplicates(daft.from_pydict(columns), Deduplicate(threshold=0.7), scratch)


def dropped(found: Learned, rows: list[int]) -> list[Drop | None]:
    batch = Batch([""] * len(rows), [None] * len(rows), [None] * len(rows), Facts(pa.table({"row": rows})))
    drop_step(found.table, Deduplicate())(batch)
    return batch.drops


def test_copies_are_dropped_with_the_document_that_stays_and_how_similar_they_are(tmp_path: Path) -> None:
    found = learned([ONE, OTHER, ONE.upper(), f"{ONE} today"], tmp_path)
    assert dropped(found, [0, 1, 2, 3]) == [
        None,
        None,
        Drop("duplicate of d0", "duplicate"),
        Drop("near duplicate of d0 (Jaccard 0.94)", "near duplicate"),
    ]


def test_a_part_of_the_documents_finds_its_own_rows(tmp_path: Path) -> None:
    found = learned([ONE, OTHER, ONE, OTHER], tmp_path)
    assert dropped(found, [3, 1]) == [Drop("duplicate of d1", "duplicate"), None]


def test_the_documents_with_the_most_copies_are_shown_first(tmp_path: Path) -> None:
    found = learned([ONE, OTHER, OTHER, OTHER, ONE], tmp_path)
    assert found.evidence == [
        {"document": "d1", "title": "D1", "text": OTHER, "copies": 2},
        {"document": "d0", "title": "D0", "text": ONE, "copies": 1},
    ]


def test_without_copies_nothing_is_dropped_or_shown(tmp_path: Path) -> None:
    found = learned([ONE, OTHER], tmp_path)
    assert found.evidence == []
    assert dropped(found, [0, 1]) == [None, None]


def pair(chosen: str, rejected: str = "no") -> str:
    return json.dumps({"chosen": chosen, "rejected": rejected, "rated": chosen})


def test_pairs_that_share_a_prompt_stay_and_equal_ones_are_copies(tmp_path: Path) -> None:
    metas = [
        pair("yes"),
        pair("maybe"),
        pair("yes", "never"),
        pair(" YES"),
        pair("yes").replace('"rated": "yes"', '"rated": 1'),
    ]
    found = learned([ONE] * 5, tmp_path, metas)
    assert dropped(found, [0, 1, 2]) == [None, None, None]
    assert dropped(found, [3, 4]) == [None, Drop("duplicate of d0", "duplicate")]


def test_a_pair_repeats_no_text_that_is_its_prompt(tmp_path: Path) -> None:
    found = learned([ONE, ONE, f"{ONE} today"], tmp_path, ["{}", pair("yes"), '{"said": "chosen"}'])
    assert [drop.cause if drop else None for drop in dropped(found, [0, 1, 2])] == [None, None, "near duplicate"]

from __future__ import annotations

from pathlib import Path

from steep.clean.licences import licences_step
from steep.clean.rows import Batch, Drop
from steep.recipe.clean import Licences


def drops(keep: list[str], *declared: str | None) -> list[Drop | None]:
    rows = len(declared)
    batch = Batch(["A text."] * rows, [None] * rows, [None] * rows, {"licence": declared})
    licences_step(Licences(keep=keep), Path())(batch)
    return batch.drops


def test_what_is_wanted_stays_in_any_version() -> None:
    assert drops(["cc0", "cc-by", "own"], "cc-by-4.0", "cc-by", "cc0", "own") == [None] * 4


def test_other_licences_go_by_name() -> None:
    assert drops(["CC0", "CC-BY"], "cc-by-nc-4.0", "All rights reserved") == [
        Drop("licence cc-by-nc-4.0, not cc0 or cc-by", "licence cc-by-nc-4.0"),
        Drop("licence all-rights-reserved, not cc0 or cc-by", "licence all-rights-reserved"),
    ]


def test_what_declares_none_goes_unless_unknown_is_wanted() -> None:
    assert drops(["own"], None, "") == [Drop("no licence declared, not own", "no licence declared")] * 2
    assert drops(["own", "unknown"], None, "") == [None, None]


def test_the_funnel_shows_the_beginning_of_a_declaration_in_free_words() -> None:
    (drop,) = drops(["own"], "You may read this text " + "as often as you like " * 5)
    assert drop is not None
    assert drop.cause == "licence You may read this text as often as you like as often as …"
    assert drop.reason.endswith("as often as you like, not own")


def test_nothing_comes_of_no_documents() -> None:
    assert drops(["own"]) == []

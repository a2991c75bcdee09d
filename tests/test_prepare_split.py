"""Which documents are held out."""

from __future__ import annotations

import pytest

from steep.errors import SteepError
from steep.prepare.split import group_documents, split_documents
from steep.recipe import Split


def singles(count: int) -> list[str]:
    return [f"document-{number}" for number in range(count)]


def test_the_share_asked_for_is_held_out():
    sides = split_documents(["s"] * 200, singles(200), Split(test=0.1))
    assert (len(sides.train), len(sides.test)) == (180, 20)


def test_every_document_is_on_one_side():
    sides = split_documents(["s"] * 50, singles(50), Split(test=0.3))
    assert sorted(sides.train + sides.test) == list(range(50))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_two_documents_are_enough_for_two_sides(share):
    sides = split_documents(["s"] * 2, singles(2), Split(test=share))
    assert (len(sides.train), len(sides.test)) == (1, 1)


def test_groups_never_straddle():
    groups = [f"group-{number // 3}" for number in range(90)]
    sides = split_documents(["s"] * 90, groups, Split(test=0.2))
    assert not {groups[row] for row in sides.train} & {groups[row] for row in sides.test}
    assert len(sides.test) == 18


def test_a_group_larger_than_the_share_stays_in_training():
    groups = ["big"] * 60 + singles(40)
    for seed in range(5):
        sides = split_documents(["s"] * 100, groups, Split(test=0.1, seed=seed))
        assert len(sides.test) == 10


def test_where_every_group_is_too_large_the_smallest_is_held_out():
    sides = split_documents(["s"] * 10, ["a"] * 6 + ["b"] * 4, Split(test=0.1))
    assert sides.test == [6, 7, 8, 9]


def test_the_split_does_not_depend_on_the_order_of_rows():
    groups = singles(100)
    held_out = {groups[row] for row in split_documents(["s"] * 100, groups, Split()).test}
    backwards = groups[::-1]
    assert held_out == {backwards[row] for row in split_documents(["s"] * 100, backwards, Split()).test}


def test_another_seed_holds_out_others():
    first, second = (split_documents(["s"] * 100, singles(100), Split(seed=seed)).test for seed in (1, 2))
    assert first != second


def test_documents_that_come_later_leave_most_of_the_split_as_it_was():
    before = split_documents(["s"] * 1000, singles(1000), Split()).test
    after = split_documents(["s"] * 1200, singles(1200), Split()).test
    assert len(set(before) & set(after)) > 80


def test_one_group_cannot_be_split():
    with pytest.raises(SteepError, match=r"3 documents in 1 group of near-duplicates: cannot hold out .* Gather more"):
        split_documents(["s"] * 3, ["a"] * 3, Split())


def test_sources_hold_out_exactly_those_sources():
    sides = split_documents(["site", "feed", "site", "feed"], singles(4), Split(sources=["feed"]))
    assert (sides.train, sides.test, sides.removed) == ([0, 2], [1, 3], [])


def test_what_resembles_a_held_out_source_is_on_neither_side():
    sides = split_documents(["site", "feed", "site"], ["a", "a", "b"], Split(sources=["feed"]))
    assert (sides.train, sides.test, sides.removed) == ([2], [1], [0])


def test_holding_out_every_source_is_refused():
    with pytest.raises(SteepError, match="holds out site, and nothing is left to train on"):
        split_documents(["site"], singles(1), Split(sources=["site"]))


def test_a_held_out_source_without_an_example_is_refused():
    with pytest.raises(SteepError, match=r"no example comes from what split\.sources holds out: feed"):
        split_documents(["site"], singles(1), Split(sources=["feed"]))


def test_half_of_the_word_5_grams_make_a_group():
    words = [f"word{number}" for number in range(100)]
    rows = [
        {"id": "a", "text": " ".join(words)},
        {"id": "b", "text": " ".join(words[:80])},
        {"id": "c", "text": " ".join(words[60:])},
    ]
    assert group_documents(rows) == ["a", "a", "c"]


def test_documents_alike_in_text_or_in_what_is_used_of_them_are_one_group():
    rows = [{"id": name, "text": text} for name, text in zip("abcd", ["one", "two", "two", "four"], strict=True)]
    assert group_documents(rows, ["x", "y", "x", "z"]) == ["a", "a", "a", "d"]


# ---------------------------------------------------------------------------------------------------- validation


def test_validation_takes_its_share_of_what_is_left_for_training():
    sides = split_documents(["s"] * 200, singles(200), Split(test=0.1, validation=0.1))
    assert (len(sides.train), len(sides.test), len(sides.validation)) == (162, 20, 18)
    assert sorted(sides.train + sides.test + sides.validation) == list(range(200))


def test_asking_for_a_validation_side_changes_no_test():
    without, with_it = (split_documents(["s"] * 100, singles(100), Split(validation=share)) for share in (0, 0.2))
    assert without.test == with_it.test
    assert without.validation == []


def test_validation_is_drawn_by_another_hash_than_the_test():
    sides = split_documents(["s"] * 100, singles(100), Split(test=0.2, validation=0.25))
    left = [singles(100)[row] for row in sorted(sides.train + sides.validation)]
    as_test = {left[row] for row in split_documents(["s"] * 80, left, Split(test=0.25)).test}
    assert {singles(100)[row] for row in sides.validation} != as_test


def test_groups_do_not_straddle_training_and_validation():
    groups = [f"group-{number // 3}" for number in range(90)]
    sides = split_documents(["s"] * 90, groups, Split(test=0.2, validation=0.2))
    assert not {groups[row] for row in sides.train} & {groups[row] for row in sides.validation}
    assert sides.validation


def test_a_held_out_source_and_a_validation_side_go_together():
    sources = ["feed", *["site"] * 10]
    sides = split_documents(sources, singles(11), Split(sources=["feed"], validation=0.2))
    assert (sides.test, len(sides.validation), len(sides.train)) == ([0], 2, 8)


def test_validation_never_takes_all_that_is_left():
    with pytest.raises(SteepError, match="1 document in 1 group of near-duplicates"):
        split_documents(["s"] * 2, singles(2), Split(validation=0.5))

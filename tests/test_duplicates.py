from __future__ import annotations

import random
import time

import daft
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.duplicates import Copy, bands_and_rows, copies, near_duplicate_groups

WORDS = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gorse", "hazel", "ivy", "juniper", "larch", "maple"]


def frame(texts: list[str], ids: list[str] | None = None) -> daft.DataFrame:
    return daft.from_pydict({"id": ids or [f"d{row}" for row in range(len(texts))], "text": texts})


def groups(texts: list[str], threshold: float = 0.8) -> list[str]:
    found: list[str] = near_duplicate_groups(frame(texts), threshold).to_pydict()["group"]
    return found


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    size = min(5, len(words))
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)} if words else set()


def jaccard(left: str, right: str) -> float:
    one, other = shingles(left), shingles(right)
    return len(one & other) / len(one | other) if one | other else 0.0


def long_text(seed: int, words: int = 60) -> str:
    return " ".join(f"w{number}" for number in random.Random(seed).sample(range(10_000), words))


def edited(text: str, *places: int) -> str:
    words = text.split()
    for place in places:
        words[place] = f"other{place}"
    return " ".join(words)


def test_texts_equal_but_for_case_and_white_space_are_copies_without_a_similarity() -> None:
    found = list(copies(frame(["The kettle  sings\nat noon.", "another text here", "the kettle sings at noon."]), 0.8))
    assert found == [Copy(row=2, of=0, similarity=None)]


def test_a_near_duplicate_carries_its_true_jaccard_similarity() -> None:
    text = long_text(1)
    near = edited(text, 30)
    (copy,) = copies(frame([text, long_text(2), near]), 0.8)
    assert (copy.row, copy.of) == (2, 0)
    assert copy.similarity == pytest.approx(jaccard(text, near))


def test_a_pair_below_the_threshold_is_no_copy() -> None:
    text = long_text(1)
    assert jaccard(text, edited(text, 15, 30, 45)) < 0.7
    assert not list(copies(frame([text, edited(text, 15, 30, 45)]), 0.7))


def test_a_chain_is_one_group_but_only_its_true_copies_go() -> None:
    first = long_text(3, 100)
    second = edited(first, 20, 50)
    third = edited(second, 35, 75)
    assert jaccard(first, third) < 0.75 < min(jaccard(first, second), jaccard(second, third))
    assert groups([first, second, third], 0.75) == ["d0", "d0", "d0"]
    assert [copy.row for copy in copies(frame([first, second, third]), 0.75)] == [1]


def test_a_copy_of_a_copy_names_the_document_that_stays() -> None:
    text = long_text(4)
    near = edited(text, 30)
    found = list(copies(frame([text, near, near.upper()]), 0.8))
    assert [(copy.row, copy.of) for copy in found] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("texts", [["alder birch", "cedar elm"], ["alder", "alder birch"], ["", "alder"], ["!", "?"]])
def test_different_texts_of_fewer_than_five_words_are_never_alike(texts: list[str]) -> None:
    assert groups(texts, 0.1) == ["d0", "d1"]


def test_equal_texts_of_fewer_than_five_words_are_alike_whatever_their_punctuation() -> None:
    assert groups(["Mind the gap!", "mind the gap"]) == ["d0", "d0"]


def test_chinese_text_without_blanks_is_compared_by_character() -> None:
    text = "山高水长人来人往春去秋来花开花落云卷云舒日出日落潮起潮落月圆月缺"
    assert groups([text, text[:-1] + "半", "完全不同的另一段文字没有任何相同之处"], 0.8) == ["d0", "d0", "d2"]


def test_groups_are_named_after_their_first_member_and_listed_in_row_order() -> None:
    one, two = long_text(5), long_text(6)
    assert groups([one, two, edited(two, 30), edited(one, 10)]) == ["d0", "d1", "d1", "d0"]


def test_documents_of_one_id_are_listed_once() -> None:
    found = near_duplicate_groups(frame(["a b c", "d e f", "a b c"], ["x", "y", "x"]), 0.8).to_pydict()
    assert found == {"id": ["x", "y"], "group": ["x", "y"]}


def test_no_documents_give_no_groups() -> None:
    assert near_duplicate_groups(frame([]), 0.8).to_pydict() == {"id": [], "group": []}
    assert not list(copies(frame([]), 0.8))


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_propose_a_pair_at_the_threshold_with_97_percent(threshold: float) -> None:
    bands, rows = bands_and_rows(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.97
    assert bands * rows <= 256


@pytest.mark.parametrize(("threshold", "edits"), [(0.5, 16), (0.8, 5)])
def test_more_than_95_percent_of_pairs_just_above_the_threshold_are_found(threshold: float, edits: int) -> None:
    rng = random.Random(7)
    pairs = []
    while len(pairs) < 300:
        text = long_text(rng.randrange(10**9), 250)
        near = edited(text, *rng.sample(range(250), edits))
        if threshold <= jaccard(text, near) < threshold + 0.05:
            pairs.append((text, near))
    found = list(copies(frame([text for pair in pairs for text in pair]), threshold))
    assert len(found) > 0.95 * len(pairs)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=8), st.sampled_from([0.3, 0.6, 1.0])
)
def test_every_copy_is_as_similar_as_it_says_to_a_document_that_stays(texts: list[str], threshold: float) -> None:
    found = list(copies(frame(texts), threshold))
    gone = {copy.row for copy in found}
    for copy in found:
        assert copy.of < copy.row
        assert copy.of not in gone
        similarity = jaccard(texts[copy.row], texts[copy.of])
        assert (
            texts[copy.row] == texts[copy.of]
            if copy.similarity is None
            else similarity == pytest.approx(copy.similarity)
        )


def test_thousands_of_copies_of_one_page_do_not_cost_a_comparison_per_pair() -> None:
    page = long_text(8, 300)
    texts = [f"{edited(page, row % 300)} reader{row}" for row in range(3000)]
    started = time.perf_counter()
    assert set(groups(texts, 0.5)) == {"d0"}
    assert time.perf_counter() - started < 4

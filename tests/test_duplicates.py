from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import daft
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.duplicates import copies, members, near_duplicate_groups
from steep.duplicates.sketches import Sketches, bands_and_rows

WORDS = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gorse", "hazel", "ivy", "juniper", "larch", "maple"]

Copy = tuple[int, str, float | None]


def frame(texts: list[str], ids: list[str] | None = None) -> daft.DataFrame:
    return daft.from_pydict({"id": ids or [f"d{row}" for row in range(len(texts))], "text": texts})


def copied(documents: daft.DataFrame | list[str], threshold: float = 0.8) -> list[Copy]:
    """Row, the id of what stays, and similarity."""
    documents = documents if isinstance(documents, daft.DataFrame) else frame(documents)
    return [(found["row"], found["of"], found["similarity"]) for found in copies(documents, threshold).to_pylist()]


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
    return " ".join(f"w{number}" for number in random.Random(seed).sample(range(100_000), words))


def edited(text: str, *places: int) -> str:
    words = text.split()
    for place in places:
        words[place] = f"other{place}"
    return " ".join(words)


def changed(text: str, share: float, rng: random.Random) -> str:
    words = text.split()
    return edited(text, *rng.sample(range(len(words)), int(share * len(words))))


def with_variants(number: int, seed: int = 9) -> list[str]:
    """Documents in a random order, of which a third are others with up to a fifth of their words changed."""
    rng = random.Random(seed)
    texts = [long_text(rng.randrange(10**9), rng.randint(20, 120)) for _ in range(2 * number // 3)]
    texts += [changed(rng.choice(texts), rng.choice((0, 0.01, 0.05, 0.2)), rng) for _ in range(number - len(texts))]
    rng.shuffle(texts)
    return texts


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pairs are verified."""
    count: Counter[str] = Counter()
    verify = members.jaccard

    def counting(left: members.Hashes, right: members.Hashes, threshold: float) -> float:
        count["pairs"] += 1
        return verify(left, right, threshold)

    monkeypatch.setattr(members, "jaccard", counting)
    return count


def test_texts_equal_but_for_case_and_white_space_are_copies_without_a_similarity() -> None:
    assert copied(["The kettle  sings\nat noon.", "another text here", "the kettle sings at noon."]) == [
        (2, "d0", None)
    ]


def test_a_near_duplicate_carries_its_true_jaccard_similarity() -> None:
    text = long_text(1)
    near = edited(text, 30)
    ((row, of, similarity),) = copied([text, long_text(2), near])
    assert (row, of) == (2, "d0")
    assert similarity == pytest.approx(jaccard(text, near))


def test_a_pair_below_the_threshold_is_no_copy() -> None:
    text = long_text(1)
    assert jaccard(text, edited(text, 15, 30, 45)) < 0.7
    assert not copied([text, edited(text, 15, 30, 45)], 0.7)


def test_a_chain_is_one_group_but_only_its_true_copies_go() -> None:
    first = long_text(3, 100)
    second = edited(first, 20, 50)
    third = edited(second, 35, 75)
    assert jaccard(first, third) < 0.75 < min(jaccard(first, second), jaccard(second, third))
    assert groups([first, second, third], 0.75) == ["d0", "d0", "d0"]
    assert [row for row, *_ in copied([first, second, third], 0.75)] == [1]


def test_a_copy_of_a_copy_names_the_document_that_stays() -> None:
    text = long_text(4)
    near = edited(text, 30)
    assert [(row, of) for row, of, _ in copied([text, near, near.upper()])] == [(1, "d0"), (2, "d0")]


def test_of_several_documents_that_stay_a_copy_names_the_most_similar() -> None:
    text = long_text(4, 200)
    far, near, copy = edited(text, 100, 110, 120), edited(text, 30, 50, 70), edited(text, 30, 50)
    assert not copied([far, near], 0.8)
    assert [(row, of) for row, of, _ in copied([far, near, copy], 0.8)] == [(2, "d1")]


@pytest.mark.parametrize(
    "texts", [["alder birch", "cedar elm"], ["alder", "alder birch"], ["", "alder"], ["!", "?"], [". -", "! ?"]]
)
def test_different_texts_of_fewer_than_five_words_are_never_alike(texts: list[str]) -> None:
    assert groups(texts, 0.1) == ["d0", "d1"]


def test_a_dash_at_the_end_is_no_word() -> None:
    text = "alder birch cedar dogwood elm fir"
    assert copied([text, f"{text} -"]) == [(1, "d0", 1.0)]


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
    assert copies(frame([]), 0.8).to_pydict() == {"row": [], "of": [], "similarity": []}


def test_one_document_is_a_group() -> None:
    assert groups(["the kettle sings"]) == ["d0"]
    assert not copied(["the kettle sings"])


def test_a_text_that_is_null_counts_as_empty() -> None:
    documents = daft.from_pydict({"id": ["a", "b", "c"], "text": [None, "", "the kettle sings"]})
    assert copied(documents) == [(1, "a", None)]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_propose_a_pair_at_the_threshold_with_97_percent(threshold: float) -> None:
    bands, rows = bands_and_rows(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.97
    assert bands * rows <= 256


@pytest.mark.parametrize(("threshold", "edits"), [(0.5, 16), (0.8, 5)])
def test_more_than_95_percent_of_pairs_just_above_the_threshold_are_found(threshold: float, edits: int) -> None:
    rng = random.Random(7)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < 300:
        text = long_text(rng.randrange(10**9), 250)
        near = edited(text, *rng.sample(range(250), edits))
        if threshold <= jaccard(text, near) < threshold + 0.05:
            pairs.append((text, near))
    assert len(copied([text for pair in pairs for text in pair], threshold)) > 0.95 * len(pairs)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=8), st.sampled_from([0.3, 0.6, 1.0])
)
def test_every_copy_is_as_similar_as_it_says_to_a_document_that_stays(texts: list[str], threshold: float) -> None:
    found = copied(texts, threshold)
    gone = {f"d{row}" for row, *_ in found}
    for row, of, similarity in found:
        kept = int(of.removeprefix("d"))
        assert kept < row
        assert of not in gone
        if similarity is None:
            assert texts[row] == texts[kept]
        else:
            assert similarity == pytest.approx(jaccard(texts[row], texts[kept]))


def test_the_order_is_that_of_the_rows_wherever_they_lie(tmp_path: Path) -> None:
    texts = with_variants(300)
    rows = list(range(len(texts)))
    random.Random(1).shuffle(rows)
    for part in range(0, len(rows), 70):
        some = rows[part : part + 70]
        table = {"row": some, "id": [f"d{row}" for row in some], "text": [texts[row] for row in some]}
        pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
    parts = daft.read_parquet(str(tmp_path / "*.parquet"))
    assert copied(parts) == copied(texts)
    assert near_duplicate_groups(parts, 0.5).to_pydict()["group"] == groups(texts, 0.5)


def test_many_small_batches_and_portions_say_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = with_variants(300)
    whole = copied(texts)
    monkeypatch.setattr("steep.duplicates.verification.BATCH_BYTES", 10_000)
    monkeypatch.setattr("steep.duplicates.sketches.KEYS_AT_ONCE", 1)
    assert copied(texts) == whole


def test_the_scratch_folder_is_empty_afterwards_and_may_have_any_name(tmp_path: Path) -> None:
    scratch = tmp_path / "a [b] c%20*é"
    scratch.mkdir()
    text = long_text(1)
    assert copies(frame([text, edited(text, 30)]), 0.8, scratch).to_pydict()["row"] == [1]
    assert near_duplicate_groups(frame([text, edited(text, 30)]), 0.8, scratch).to_pydict()["group"] == ["d0", "d0"]
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(("edits", "row"), [(30, [1]), (90, [])])
def test_long_documents_are_verified_by_all_of_their_shingles(edits: int, row: list[int]) -> None:
    text = long_text(1, 10_000)
    near = edited(text, *range(5, 10_000, 10_000 // edits))
    assert (jaccard(text, near) >= 0.95) == bool(row)
    assert [found[0] for found in copied([text, near], 0.95)] == row


def test_half_a_file_that_a_killed_worker_left_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "sketches").mkdir()
    (tmp_path / "sketches/half.parquet").write_bytes(b"PAR1 and no more")
    documents = frame(["a b c", "A b c"]).with_column("row", daft.col("id").right(1).cast(daft.DataType.int64()))
    assert Sketches(documents, 0.8, tmp_path).repeated().to_pydict() == {"row": [1], "first": [0]}


def test_many_pairs_are_reduced_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = with_variants(300)
    whole = copied(texts)
    monkeypatch.setattr("steep.duplicates.sketches.KEYS_AT_ONCE", 2000)
    monkeypatch.setattr("steep.duplicates.sketches.MOST_EDGES", 10)
    assert copied(texts) == whole


def test_no_more_than_a_row_group_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "members.parquet"
    table = pa.table({"row": range(6), "words": [[1, 2]] * 6, "signature": [[3, 4]] * 6})
    pq.write_table(table, path, row_group_size=2)
    assert [len(batch) for batch in members.in_row_groups([str(path)])] == [2, 2, 2]


def test_each_of_thousands_of_copies_of_one_page_is_compared_about_once(comparisons: Counter[str]) -> None:
    page = long_text(8, 300)
    texts = [f"{edited(page, row % 300)} reader{row}" for row in range(5000)]
    assert set(groups(texts, 0.5)) == {"d0"}
    assert len(copied(texts, 0.8)) == 4999
    assert comparisons["pairs"] < 2.2 * len(texts)


@pytest.mark.parametrize("find", [lambda texts: copied(texts, 0.8), lambda texts: set(groups(texts, 0.8)) - {"d0"}])
def test_pages_of_one_template_do_not_cost_a_comparison_for_each_pair(find, comparisons: Counter[str]) -> None:  # type: ignore[no-untyped-def]
    template = long_text(1, 250)
    texts = [f"{template} {long_text(seed, 45)}" for seed in range(2, 802)]
    assert 0.7 < jaccard(texts[0], texts[1]) < 0.8
    find(texts)
    assert comparisons["pairs"] < 80 * len(texts)


def test_a_thousand_abstracts_give_the_groups_of_all_pairs_compared(steep_data: Path) -> None:
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["abstract"] for line, _ in zip(lines, range(700), strict=False)]
    rng = random.Random(2)
    texts += [changed(text, rng.uniform(0.01, 0.1), rng) for text in rng.sample(texts, 300)]
    above = pairs_above(0.5, normal_forms(texts))
    found = groups(texts, 0.5)
    joined = [(one, other) for one, other in combinations(range(1000), 2) if found[one] == found[other]]
    assert len(above) > 200
    assert len(above & set(joined)) >= 0.97 * len(above)
    assert not set(joined) - above


def pairs_above(threshold: float, texts: list[str]) -> set[tuple[int, int]]:
    """All pairs at least this similar, of those that share anything."""
    sets = [shingles(text) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, found in enumerate(sets):
        for shingle in found:
            holders[shingle].append(number)
    shared = Counter(pair for numbers in holders.values() for pair in combinations(numbers, 2))
    return {pair for pair, both in shared.items() if both >= threshold * (sum(len(sets[n]) for n in pair) - both)}


def normal_forms(texts: list[str]) -> list[str]:
    form = daft.functions.normalize(
        daft.col("text"), remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True
    )
    found: list[str] = frame(texts).select(form).to_pydict()["text"]
    return found


ON_RAY = """
import json, logging, sys
from pathlib import Path
import daft, ray
from steep.duplicates import copies, near_duplicate_groups
ray.init("local", num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
daft.set_runner_ray(noop_if_initialized=True)
documents = daft.read_parquet(sys.argv[1] + "/*.parquet")
scratch = Path(sys.argv[2])
scratch.mkdir()
found = [find(documents, 0.6, scratch).to_pydict() for find in (copies, near_duplicate_groups)]
Path(sys.argv[3]).write_text(json.dumps(found))
"""


def test_ray_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    texts = with_variants(300)
    (tmp_path / "documents").mkdir()
    for part in range(3):
        rows = range(100 * part, 100 * part + 100)
        table = {"row": rows, "id": [f"d{row}" for row in rows], "text": texts[rows.start : rows.stop]}
        pq.write_table(pa.table(table), tmp_path / f"documents/{part}.parquet")
    command = [sys.executable, "-c", ON_RAY, *(str(tmp_path / name) for name in ("documents", "scratch", "found"))]
    subprocess.run(command, check=True)
    on_ray = json.loads((tmp_path / "found").read_text())
    here = [find(frame(texts), 0.6).to_pydict() for find in (copies, near_duplicate_groups)]
    assert len(here[0]["row"]) > 50
    assert on_ray == here

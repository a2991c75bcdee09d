from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from steep.evaluate.contamination import TELLING, Leak, leaks

HELD_OUT = (
    "The ferry leaves the old harbour at nine, crosses the bay in forty minutes, and waits on the far side until the "
    "last of the walkers have come down from the hills."
)
OTHER = (
    "Bread needs little more than flour, water, salt and time; what the baker adds is attention, above all to how the "
    "dough feels after its second rise on a cold day."
)
WORDS = 32
"""Of HELD_OUT."""


def found(held_out: str | list[str], *training: str, ngram: int = 8, threshold: float = 0.5) -> list[Leak]:
    texts = [held_out] if isinstance(held_out, str) else held_out
    pairs = ((f"d{number}", text) for number, text in enumerate(training))
    return leaks(texts, pairs, ngram=ngram, threshold=threshold)


def test_a_text_that_stands_inside_a_training_document_is_found_with_its_source() -> None:
    (leak,) = found([OTHER, HELD_OUT], "Nothing here.", f"Some words before. {HELD_OUT} And some after.")
    assert (leak.text, leak.share, leak.document_id, leak.document_share) == (1, 1.0, "d1", 1.0)
    assert leak.words == WORDS
    assert leak.stretch.startswith("the ferry leaves the old harbour at nine crosses the bay")
    assert leak.stretch.endswith("come down from the hills")


def test_a_text_that_only_shares_its_subject_is_not_a_leak() -> None:
    assert found(HELD_OUT, OTHER, "The ferry leaves the old harbour at ten, and nobody waits on the far side.") == []


def test_case_punctuation_and_white_space_do_not_hide_a_leak() -> None:
    disguised = HELD_OUT.upper().replace(",", " -").replace(" ", "\n  ")
    assert found(HELD_OUT, disguised)[0].share == 1.0


def test_the_share_is_that_of_distinct_ngrams() -> None:
    half = " ".join(HELD_OUT.split()[:15])
    (leak,) = found(HELD_OUT, half, ngram=5, threshold=0.3)
    assert leak.share == pytest.approx(11 / 28)
    (leak,) = found(f"{half} {half} {half} {HELD_OUT}", half, ngram=15, threshold=0.01)
    ngrams = 15 + 17  # the first half repeats with a period of 15, and 17 windows end in the second half
    assert leak.share == pytest.approx(1 / ngrams)


@pytest.mark.parametrize(("threshold", "count"), [(11 / 28, 1), (12 / 28, 0)])
def test_the_threshold_itself_counts(threshold: float, count: int) -> None:
    half = " ".join(HELD_OUT.split()[:15])
    assert len(found(HELD_OUT, half, ngram=5, threshold=threshold)) == count


def test_the_document_with_most_of_it_is_named_and_the_share_is_over_all_documents() -> None:
    words = HELD_OUT.split()
    (leak,) = found(HELD_OUT, " ".join(words[:12]), " ".join(words[10:]), ngram=5)
    assert leak.document_id == "d1"
    assert leak.share == pytest.approx((8 + 18) / 28)
    assert leak.document_share == pytest.approx(18 / 28)
    assert leak.words == 22


def test_no_ngram_goes_from_one_training_text_into_the_next() -> None:
    words = HELD_OUT.split()
    assert found(HELD_OUT, *(" ".join(words[at : at + 4]) for at in range(0, WORDS, 4)), ngram=5, threshold=0.01) == []


def test_a_short_text_counts_where_it_is_a_whole_training_text() -> None:
    assert found("See you soon!", "We said: see you soon, and left.") == []
    assert found("See you soon!", "see you soon")[0].stretch == "see you soon"


@pytest.mark.parametrize("text", ["", "   ", "?! ..."])
def test_a_text_without_words_is_no_leak(text: str) -> None:
    assert found([text, HELD_OUT], text, HELD_OUT)[0].text == 1


def test_nothing_held_out_or_nothing_trained_on_leaks_nothing() -> None:
    assert found([], HELD_OUT) == []
    assert found(HELD_OUT) == []


def test_the_longest_stretch_goes_on_over_words_that_the_text_repeats() -> None:
    refrain = "row row row your boat gently down the stream " * 3
    song = f"{refrain}and now the second verse which nobody remembers well {refrain}"
    (leak,) = found(song, f"Listen: {song}")
    assert leak.words == len(song.split())


def test_copies_of_one_text_all_leak_however_many_are_held_out() -> None:
    assert len(found([HELD_OUT] * (TELLING + 1), OTHER, HELD_OUT)) == TELLING + 1


def test_what_all_texts_share_is_no_leak_of_any_one_of_them() -> None:
    footer = " ".join(f"footer{number}" for number in range(200))
    texts = [f"{HELD_OUT} {footer}", *(f"text {number} {footer}" for number in range(TELLING))]
    assert [leak.text for leak in found(texts, footer, f"{HELD_OUT} And more.", f"Other {footer}", ngram=5)] == [0]


def test_chinese_is_compared_by_character() -> None:
    text = "渡轮每天早上九点离开老港口四十分钟后到达海湾的另一边"
    assert found(text, f"有人说{text}然后回来")[0].share == 1.0


def test_a_long_training_text_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steep.evaluate.contamination.AT_ONCE", 100)
    (leak,) = found(HELD_OUT, *[OTHER] * 20, HELD_OUT, *[OTHER] * 20)
    assert leak.document_id == "d20"


@pytest.fixture(scope="module")
def abstracts(steep_data: Path) -> list[str]:
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["abstract"] for line in lines]


def test_a_planted_leak_of_ten_percent_is_found_completely_and_nothing_else(abstracts: list[str]) -> None:
    held_out, training = abstracts[:1000], abstracts[1000:]
    draw = random.Random(0)
    planted = sorted(draw.sample(range(1000), 100))
    documents = [*training, *(held_out[place] for place in planted)]
    draw.shuffle(documents)
    flagged = found(held_out, *documents)
    assert [leak.text for leak in flagged] == planted
    assert {documents[int(leak.document_id[1:])] for leak in flagged} == {held_out[place] for place in planted}


def test_a_copy_with_a_word_in_fifty_changed_is_still_found(abstracts: list[str]) -> None:
    draw = random.Random(0)
    changed = [
        " ".join("changed" if draw.random() < 0.02 else word for word in text.split()) for text in abstracts[:300]
    ]
    assert len(found(abstracts[:300], *changed)) == 300


def test_what_a_template_writes_into_every_training_text_is_no_leak() -> None:
    instruction = "Below is an instruction that describes a task. Write a response that completes the request."
    held_out = f"{instruction} {HELD_OUT}"
    training = [f"{instruction} Text number {number} is about {number * 7}." for number in range(TELLING + 1)]
    assert found(held_out, *training, threshold=0.1) == []
    (leak,) = found(held_out, *training, f"{instruction} {HELD_OUT}", threshold=0.9)
    assert leak.share == 1.0

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from steep.clean.language import language_step, probabilities
from steep.clean.rows import Batch
from steep.errors import UsageError
from steep.recipe.clean import Language

ENGLISH = "The kettle sings on the hob while the rain falls over the harbour."
GERMAN = "Der Kessel singt auf dem Herd, während der Regen über dem Hafen fällt."
FRENCH = "La bouilloire chante sur la cuisinière pendant que la pluie tombe sur le port."
JAPANESE = "やかんがこんろの上で歌い、港には雨が降っています。"


@pytest.fixture(scope="module")
def py3langid() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def reasons(texts: list[str], keep: list[str]) -> list[str | None]:
    batch = Batch(texts, [None] * len(texts), [None] * len(texts), {})
    language_step(Language(keep=keep), Path())(batch)
    return [drop.reason if drop else None for drop in batch.drops]


def test_other_languages_go_by_name() -> None:
    texts = [ENGLISH, GERMAN, FRENCH, JAPANESE]
    assert reasons(texts, ["en"]) == [None, "language de, not en", "language fr, not en", "language ja, not en"]
    assert reasons(texts, ["en", "de"])[1:3] == [None, "language fr, not en or de"]


@pytest.mark.parametrize(
    "text", ["Guten Morgen", "Der Kessel singt laut", "[EMAIL] https://x.org/wo/ist/das @wer #was", "1 2 3 4 5 6 7", ""]
)
def test_a_text_too_short_to_tell_stays(text: str) -> None:
    assert reasons([text], ["en"]) == [None]


def test_a_text_that_only_looks_a_little_more_like_another_language_stays() -> None:
    headline = "Agency social media data api"
    labels, found = probabilities([headline])
    assert labels[found[0].argmax()] != "en"
    assert reasons([headline], ["en"]) == [None]


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"clean: language: unknown code xx; use ace, af, .*, de, .*"):
        language_step(Language(keep=["en", "xx"]), Path())


def test_only_the_beginning_of_a_long_text_decides() -> None:
    assert reasons([ENGLISH * 100 + GERMAN * 1000], ["en"]) == [None]


def test_no_texts_are_no_trouble() -> None:
    assert reasons([], ["en"]) == []


def check_equal(texts: list[str], py3langid: LanguageIdentifier) -> None:
    labels, found = probabilities(texts)
    for text, row in zip(texts, found, strict=True):
        expected = dict(py3langid.rank(text[:5000]))
        assert row.any() == bool(text)
        if text:
            np.testing.assert_allclose(row, [expected[label] for label in labels], atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from([ENGLISH, GERMAN, FRENCH, JAPANESE]).flatmap(
            lambda start: st.text(max_size=300).map(lambda end: f"{start} {end}")
        ),
        min_size=1,
        max_size=5,
    )
)
def test_probabilities_are_those_of_py3langid(texts: list[str], py3langid: LanguageIdentifier) -> None:
    check_equal([text for text in texts if not set("[@#") & set(text) and "www." not in text], py3langid)


def test_the_neighbours_of_a_text_do_not_matter(py3langid: LanguageIdentifier) -> None:
    texts = [ENGLISH * count for count in (1, 3, 20, 70)] + [GERMAN, "", FRENCH * 30, JAPANESE * 12]
    check_equal(texts, py3langid)
    for left, right in pairwise(texts):
        np.testing.assert_allclose(probabilities([left, right])[1][1], probabilities([right])[1][0], atol=1e-6)


def test_real_texts_are_classified_as_py3langid_does_it(steep_data: Path, py3langid: LanguageIdentifier) -> None:
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["abstract"] for line in lines][::40]
    check_equal([text for text in texts if "[" not in text and "://" not in text], py3langid)


def test_upper_case_and_decomposed_letters_are_read_as_py3langid_reads_them(py3langid: LanguageIdentifier) -> None:
    check_equal([GERMAN.upper(), "cafe\u0301 " * 20, "\ud83d lone " * 10], py3langid)

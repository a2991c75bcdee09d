from __future__ import annotations

import daft
import pytest

from steep.clean.quality import clean_language, clean_length, count_words
from steep.errors import UsageError
from steep.recipe.clean import Language, Length

ENGLISH = "The kettle sings on the hob while the rain falls over the harbour."
GERMAN = "Der Kessel singt auf dem Herd, während der Regen über dem Hafen fällt."
FRENCH = "La bouilloire chante sur la cuisinière pendant que la pluie tombe sur le port."


def frame(*texts: str) -> daft.DataFrame:
    return daft.from_pydict({"text": list(texts)})


def reasons(documents: daft.DataFrame) -> list[str | None]:
    found: list[str | None] = documents.to_pydict()["reason"]
    return found


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), (" a  b\nc ", 3), ("don't stop", 2), ("你好 world。", 3), ("カタカナ", 4)]
)
def test_words_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words


def test_length_names_the_bound_that_was_missed() -> None:
    documents = frame("one", "one two three", "one two three four", "one two three four five six")
    assert reasons(clean_length(documents, Length(min_words=3, max_words=5)).documents) == [
        "1 word, fewer than 3",
        None,
        None,
        "6 words, more than 5",
    ]


def test_other_languages_go_by_name() -> None:
    documents = frame(ENGLISH, GERMAN, FRENCH)
    found = reasons(clean_language(documents, Language(keep=["en"])).documents)
    assert found == [None, "language de, not en", "language fr, not en"]
    found = reasons(clean_language(documents, Language(keep=["en", "de"])).documents)
    assert found == [None, None, "language fr, not en or de"]


@pytest.mark.parametrize(
    "text", ["Guten Morgen", "Der Kessel singt laut", "[EMAIL] https://x.org/wo/ist/das @wer #was", "1 2 3 4 5 6 7"]
)
def test_a_text_too_short_to_tell_stays(text: str) -> None:
    assert reasons(clean_language(frame(text), Language(keep=["en"])).documents) == [None]


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"clean: language: unknown code xx; use ace, af, .*, de, .*"):
        clean_language(frame(ENGLISH), Language(keep=["en", "xx"]))

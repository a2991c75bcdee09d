from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.clean.text import one_line, repair


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("It was Ã¼ber cafÃ©", "It was über café"),
        ("cafe\u0301", "café"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("one\u00a0 \t two", "one two"),
        ("  indented  \n\ttail \n", "indented\ntail"),
        ("first\n\n \n\t\n\nsecond", "first\n\nsecond"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
        ("join\u200der", "joiner"),
        ("\u200dedge\u200d", "edge"),
        ("bell\x07 nul\x00", "bell nul"),
    ],
)
def test_text_is_repaired(broken: str, whole: str) -> None:
    assert repair(broken) == whole


@pytest.mark.parametrize(
    "text",
    [
        "A paragraph\nof two lines.\n\nAnother.",
        "“Curly quotes” and it’s — fine…",
        "👩‍👩‍👧 and می‌خواهم",
        "&amp; &lt;b&gt;",
        "x² ½ ①",
    ],
)
def test_what_carries_meaning_stays(text: str) -> None:
    assert repair(text) == text


def test_a_lone_surrogate_becomes_a_character_that_can_be_written() -> None:
    assert repair("a\ud83d b").encode() == "a\ufffd b".encode()


def test_a_pair_of_surrogates_becomes_its_character() -> None:
    assert repair("a\ud83d\ude00") == "a😀"


def test_a_title_is_one_line() -> None:
    assert one_line("  A title\n on two  lines ") == "A title on two lines"


@given(st.text())
def test_repairing_twice_changes_nothing_more(text: str) -> None:
    assert repair(repair(text)) == repair(text)

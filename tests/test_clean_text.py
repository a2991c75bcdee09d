from __future__ import annotations

import gzip
import json
import re
from itertools import product
from pathlib import Path

import ftfy
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from steep.clean.rows import Batch, RowStep
from steep.clean.text import _REPAIR, _mended, _stays, lowercase_step, one_line, repair, replace_step, whitespace_step
from steep.recipe.clean import Lowercase, Replace, Whitespace


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


@settings(deadline=None)
@given(st.text())
def test_repairing_twice_changes_nothing_more(text: str) -> None:
    assert repair(repair(text)) == repair(text)


# ---------------------------------------------------------------- what ftfy is not shown, it would have left alone

GARBLED = [
    character
    for character in map(chr, range(0x80, 0x10000))
    if any(re.match(f"[{kind}]", character) for kind in MOJIBAKE_CATEGORIES.values())
]
REPLACED = [*map(chr, (*CONTROL_CHARS, *LIGATURES, *WIDTH_MAP)), "\r", "\u2028", "\u2029", "\ud83d", "\ude00", "\u0301"]
TRICKY = st.text(st.sampled_from([*GARBLED, *REPLACED, *"aZ .,\n\x1b[0m?"]), max_size=12)


def test_every_pair_that_ftfy_takes_for_garbled_is_shown_to_it() -> None:
    garbled = ["".join(pair) for pair in product(GARBLED, repeat=2) if is_bad("".join(pair))]
    assert len(garbled) > 50_000
    assert [pair for pair in garbled if _stays(pair)] == []


@pytest.mark.parametrize("text", ["Ù°Ù°", "√´", "вЂ™", "ГўВЂВ.a", "‚Ä¶", "β€™", "Œ ", "a Â b", "×²"])
def test_longer_signs_of_garbled_text_are_shown_to_it_as_well(text: str) -> None:
    assert is_bad(text)
    assert not _stays(text)


@settings(max_examples=1500, deadline=None)
@given(TRICKY)
def test_what_ftfy_would_mend_is_mended(text: str) -> None:
    assert _mended(text) == ftfy.fix_text(text, _REPAIR)


def test_real_texts_are_mended_as_ftfy_mends_them(steep_data: Path) -> None:
    with gzip.open(steep_data / "news/digitalgov.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["content"] for line in lines][::6]
    assert [_mended(text) for text in texts] == [ftfy.fix_text(text, _REPAIR) for text in texts]


def test_most_real_texts_need_not_be_shown_to_ftfy(steep_data: Path) -> None:
    with gzip.open(steep_data / "brand/18f.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    assert sum(map(_stays, texts)) / len(texts) > 0.95


# ---------------------------------------------------------------------------------------------------------------- steps


def batch(text: str, title: str | None = None, meta: str | None = None) -> Batch:
    return Batch([text], [title], [meta], {})


def applied(step: RowStep, before: Batch) -> tuple[str, str | None, str | None]:
    step(before)
    return before.text[0], before.title[0], before.meta[0]


def test_white_space_is_squeezed_in_text_title_and_meta() -> None:
    done = applied(whitespace_step(Whitespace(), Path()), batch("a  b", "c \n d", '{"e": "f  g", "n": 1}'))
    assert done == ("a b", "c d", '{"e": "f g", "n": 1}')


def test_everything_is_written_in_lower_case() -> None:
    done = applied(lowercase_step(Lowercase(), Path()), batch("STRAßE Ünd İ", "TITLE", '{"Key": "VALUE"}'))
    assert done == ("straße ünd i̇", "title", '{"Key": "value"}')


def test_a_pattern_is_replaced_at_each_line_with_its_groups() -> None:
    step = replace_step(Replace(pattern=r"^(\w+): ", by=r"\1 — "), Path())
    done = applied(step, batch("One: x: y\nTwo: z", "Three: t", '{"a": "Four: u"}'))
    assert done == ("One — x: y\nTwo — z", "Three — t", '{"a": "Four — u"}')


@pytest.mark.parametrize(
    ("by", "mistake"), [(r"\2", "invalid group reference 2"), (r"\g<name>", "unknown group name"), ("\\", "bad escape")]
)
def test_a_replacement_that_does_not_fit_the_pattern_is_a_mistake_of_the_recipe(by: str, mistake: str) -> None:
    with pytest.raises(ValidationError, match=rf"`by` cannot stand in for `pattern` \({mistake}.*written twice"):
        Replace(pattern="(a)", by=by)

from __future__ import annotations

import gzip
import json
import lzma
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.clean.length import length_step
from steep.clean.quality import quality_step
from steep.clean.repetition import recurring_runs
from steep.clean.rows import Batch, RowStep
from steep.clean.words import AT_ONCE, between_blanks, count_words, split
from steep.recipe.clean import Length, Quality

PROSE = (
    "The kettle sings on the hob while the rain falls over the harbour, and nobody minds that the boats are late. "
    "In the back room a radio speaks of storms to come. We have tea with milk, bread with butter, and time enough to "
    "be glad of all three; by evening the wind has turned and the first lights move beyond the wall."
)
WORDS = PROSE.split()


def drops(step: RowStep, texts: Sequence[str]) -> list[tuple[str, str] | None]:
    batch = Batch(list(texts), [None] * len(texts), [None] * len(texts), {})
    step(batch)
    return [(drop.cause, drop.reason) if drop else None for drop in batch.drops]


def judged(text: str, **options: object) -> tuple[str, str] | None:
    return drops(quality_step(Quality.model_validate(options), Path()), [text])[0]


# -------------------------------------------------------------------------------------------------------------- length


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), (" a  b\nc ", 3), ("don't stop", 2), ("你好 world。", 3), ("カタカナ", 4), ("naïve\u2003café\x85au", 3)],
)
def test_words_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words


@settings(deadline=None)
@given(st.text(st.sampled_from("ab 你カ\n\u2003\x1f。é")))
def test_words_that_are_counted_are_those_that_are_split(text: str) -> None:
    assert count_words(text) == len(split([text], between_blanks()).starts)


def test_length_names_the_bound_that_was_missed() -> None:
    texts = ["one", "one two three", "one two three four", "one two three four five six"]
    assert drops(length_step(Length(min_words=3, max_words=5), Path()), texts) == [
        ("fewer than 3 words", "1 word, fewer than 3"),
        None,
        None,
        ("more than 5 words", "6 words, more than 5"),
    ]


# -------------------------------------------------------------------------------------------------------------- quality


def test_prose_stays() -> None:
    assert judged(PROSE) is None


LINES = [f"{PROSE[:40]} {number} and more" for number in range(10)]


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        (" ".join(WORDS[:49]), ("too few words", "49 words, fewer than 50")),
        ("", ("too few words", "0 words, fewer than 50")),
        (f"{PROSE} " * 1700, ("too many words", "107100 words, more than 100000")),
        ("a b of to " * 20, ("short words", "words of 1.5 characters on average, fewer than 3")),
        (
            "themselves extraordinarily with that " * 20,
            ("long words", "words of 8.2 characters on average, more than 8"),
        ),
        (
            f"{PROSE} {'1234 ' * 20}",
            ("words without letters", "75.9% of the words have a letter in them, less than 80%"),
        ),
        (PROSE.replace(" t", " #t"), ("hash signs", "0.24 hash signs for each word, more than 0.1")),
        (PROSE.replace(" t", "… t"), ("ellipses", "0.24 ellipses for each word, more than 0.1")),
        (PROSE.replace(" t", "... t"), ("ellipses", "0.24 ellipses for each word, more than 0.1")),
        (" ".join(["kettle harbour wall"] * 20), ("few stop words", "0 of the English stop words, fewer than 2")),
        (
            "\n".join(f"- {line}" for line in LINES),
            ("bullets", "100.0% of the lines begin with a bullet, more than 90%"),
        ),
        (
            "\n".join(f"{line}…" if row < 4 else line for row, line in enumerate(LINES)),
            ("lines that break off", "40.0% of the lines end with an ellipsis, more than 30%"),
        ),
        (
            "\n".join([*LINES[:6], *LINES[:4]]),
            ("repeated lines", "40.0% of the lines are repetitions, more than 30%"),
        ),
        (
            "\n\n".join(["\n".join([*LINES, *map(str, range(10))]), *["Good night."] * 6]),
            ("repeated paragraphs", "71.4% of the paragraphs are repetitions, more than 30%"),
        ),
        (
            "\n".join([PROSE, *"abcdefgh", PROSE]),
            ("characters in repeated lines", "49.4% of the characters are in repeated lines, more than 20%"),
        ),
        (
            f"{PROSE} {'once upon ' * 20}",
            ("one run of 2 words", "38.6% of the characters are in the most frequent run of 2 words, more than 20%"),
        ),
        (
            f"{PROSE} {' '.join(WORDS[:20])}",
            ("repeated runs of 5 words", "24.6% of the characters are in repeated runs of 5 words, more than 15%"),
        ),
    ],
)
def test_a_text_goes_by_the_rule_that_it_breaks(text: str, drop: tuple[str, str]) -> None:
    limits = {"max_mean_word_length": 8} if drop[0] == "long words" else {}
    assert judged(text, **limits) == drop


def test_paragraphs_of_several_lines_that_come_again_are_repeated_paragraphs() -> None:
    first = "\n".join(LINES[:5])
    text = f"{first}\n\n{PROSE}\n\n{first}"
    options = {"max_duplicate_lines": 1, "max_duplicate_line_characters": 1}
    assert judged(text, **options) == (
        "repeated paragraphs",
        "33.3% of the paragraphs are repetitions, more than 30%",
    )
    options["max_duplicate_paragraphs"] = 1
    assert judged(text, **options) == (
        "characters in repeated paragraphs",
        "31.1% of the characters are in repeated paragraphs, more than 20%",
    )


def test_short_posts_stay_where_only_the_length_is_relaxed() -> None:
    post = "Good morning! The kettle is on and the rain is loud. What is in your cup today? #tea"
    assert judged(post, min_words=5) is None


def test_chinese_stays_where_the_rules_for_english_are_off() -> None:
    text = (
        "港口的雨一直下到傍晚，水壶在炉子上唱歌，没有人在意船来晚了。收音机里说暴风雨就要来了，我们有茶有面包，还有时间。"
        * 2
    )
    assert judged(text, min_mean_word_length=0, min_stop_words=0, max_duplicate_ngrams={}, max_top_ngrams={}) is None


ALL_OFF = {
    **dict.fromkeys(("min_words", "min_mean_word_length", "min_alphabetic_words", "min_stop_words"), 0),
    **{name: 1 for name in Quality.model_fields if name.startswith("max_") and not name.endswith("ngrams")},
    **dict.fromkeys(("max_words", "max_mean_word_length"), 10**9),
    "max_top_ngrams": {},
    "max_duplicate_ngrams": {},
}


@pytest.mark.parametrize("text", ["", "...", "# # #", "a a a a a a a a\na a a a a a a a", "- …\n- …"])
def test_every_rule_can_be_switched_off(text: str) -> None:
    assert judged(text, **ALL_OFF) is None


# ------------------------------------------------------------------------------------------------ against plain Python


def by_the_book(text: str, options: Quality) -> str | None:
    """The first broken rule, by the definitions in the docstring of `quality`, a text and a rule at a time."""
    words = text.split()
    count = len(words)
    if count < options.min_words:
        return "too few words"
    if count > options.max_words:
        return "too many words"
    mean = sum(map(len, words)) / max(count, 1)
    if mean < options.min_mean_word_length:
        return "short words"
    if mean > options.max_mean_word_length:
        return "long words"
    if sum(any(map(str.isalpha, word)) for word in words) / max(count, 1) < options.min_alphabetic_words:
        return "words without letters"
    if text.count("#") / max(count, 1) > options.max_symbol_ratio:
        return "hash signs"
    if (text.count("...") + text.count("…")) / max(count, 1) > options.max_symbol_ratio:
        return "ellipses"
    letters = "".join(character if character.isalnum() or character == "_" else " " for character in text.lower())
    if len({*letters.split()} & {"the", "be", "to", "of", "and", "that", "have", "with"}) < options.min_stop_words:
        return "few stop words"
    return lines_by_the_book(text, options) or runs_by_the_book(words, options)


def lines_by_the_book(text: str, options: Quality) -> str | None:
    every = [line.strip() for line in text.split("\n")]
    lines = [line for line in every if line]
    paragraphs = [part.strip("\n") for part in "\n".join(every).split("\n\n")]
    paragraphs = [part for part in paragraphs if part]
    if not lines:
        return None
    if len([line for line in lines if line[0] in "•‣⁃◦▪●·*-–"]) / len(lines) > options.max_bullet_lines:
        return "bullets"
    if len([line for line in lines if line.endswith(("...", "…"))]) / len(lines) > options.max_ellipsis_lines:
        return "lines that break off"
    for name, items in (("lines", lines), ("paragraphs", paragraphs)):
        if (len(items) - len({*items})) / len(items) > getattr(options, f"max_duplicate_{name}"):
            return f"repeated {name}"
    for name, items in (("lines", lines), ("paragraphs", paragraphs)):
        repeated = sum(len(item) for place, item in enumerate(items) if item in items[:place])
        if repeated / sum(map(len, items)) > getattr(options, f"max_duplicate_{name[:-1]}_characters"):
            return f"characters in repeated {name}"
    return None


def runs_by_the_book(words: list[str], options: Quality) -> str | None:
    for n, limit in sorted(options.max_top_ngrams.items()):
        if top_by_the_book(words, n) > limit:
            return f"one run of {n} words"
    for n, limit in sorted(options.max_duplicate_ngrams.items()):
        if repeated_by_the_book(words, n) > limit:
            return f"repeated runs of {n} words"
    return None


def top_by_the_book(words: list[str], n: int) -> float:
    counts = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    most = max(counts.values(), default=0)
    longest = max((len("".join(run)) for run, count in counts.items() if count == most > 1), default=0)
    return min(1, most * longest / max(1, len("".join(words))))


def repeated_by_the_book(words: list[str], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for at in range(len(words) - n + 1):
        run = tuple(words[at : at + n])
        if run in seen:
            inside.update(range(at, at + n))
        seen.add(run)
    return sum(len(words[at]) for at in inside) / max(1, len("".join(words)))


def check_by_the_book(texts: list[str], options: Quality) -> None:
    found = drops(quality_step(options, Path()), texts)
    assert [drop[0] if drop else None for drop in found] == [by_the_book(text, options) for text in texts]


SCRAPS = st.sampled_from(
    [
        "the",
        "of",
        "that",
        "kettle",
        "a",
        "ha",
        "12",
        "#",
        "…",
        "...",
        "harbour,",
        "-",
        "•",
        "é",
        "ﬁ",
        "\u2003",
        "\n",
        "\n\n",
    ]
)
SCRAPPY = st.lists(st.tuples(SCRAPS, st.sampled_from([" ", "\n", "\n\n", "  "])), max_size=40).map(
    lambda pairs: "".join(scrap + blank for scrap, blank in pairs)
)
STRICT = Quality.model_validate({"min_words": 4, "max_words": 30, "min_stop_words": 1, "min_alphabetic_words": 0.5,
    "max_symbol_ratio": 0.3, "min_mean_word_length": 1.5, "max_bullet_lines": 0.5})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(SCRAPPY, max_size=5))
def test_rules_are_judged_by_the_book(texts: list[str]) -> None:
    check_by_the_book(texts, STRICT)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(["a", "bb", "c", "dd"]), max_size=25).map(" ".join), min_size=1, max_size=4
    ),
    lengths=st.sets(st.integers(1, 9), min_size=1),
)
def test_runs_of_words_are_measured_by_the_book(texts: list[str], lengths: set[int]) -> None:
    words = split(texts, between_blanks())
    for runs in recurring_runs(words, sorted(lengths)):
        expected = [top_by_the_book(text.split(), runs.n) for text in texts]
        np.testing.assert_allclose(runs.top(), expected, err_msg="top")
        expected = [repeated_by_the_book(text.split(), runs.n) for text in texts]
        np.testing.assert_allclose(runs.repeated(), expected, err_msg="repeated")


def test_real_posts_are_judged_by_the_book(steep_data: Path) -> None:
    with gzip.open(steep_data / "news/digitalgov.jsonl.gz", "rt", encoding="utf-8") as lines:
        check_by_the_book([json.loads(line)["content"] for line in lines][::12], Quality())


def test_real_books_are_judged_by_the_book(steep_data: Path) -> None:
    with lzma.open(steep_data / "pretrain/books_valid.txt.xz", "rt", encoding="utf-8") as book:
        text = book.read(AT_ONCE + 50_000)
    limits = dict.fromkeys(range(2, 11), 0.02)
    for options in (Quality(), Quality(max_top_ngrams={}, max_duplicate_ngrams=limits)):
        check_by_the_book([text, text[:30_000], text[30_000:50_000]], options)


def test_a_run_does_not_go_from_one_text_into_the_next() -> None:
    assert drops(quality_step(Quality(), Path()), [PROSE, PROSE, f"{PROSE} and"]) == [None] * 3

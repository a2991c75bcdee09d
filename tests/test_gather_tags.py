"""Hashtags and mentions: what is one, and what is left when it is stripped or split."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.gather.tags import rewrite, words

EMOJI = "👩‍👩‍👧‍👦 👍🏽 🇮🇳 🏴󠁧󠁢󠁥󠁮󠁧󠁿 #️⃣ *️⃣ 1️⃣ ❤️ ‼️ 〰️ ☕ 🧚🏻‍♀️ ™️ ↔️"
NO_TAGS = (
    "We are #1, and #2024 was ours.", "C# and F# are languages, A#m is a chord.", "It&#39;s & &#x27;so&#x27;",
    "https://example.com/tea#green", "see www.example.com/#green", "example.com/#green and example.com#green",
    "jo@example.com", "jo.b+tea@mail.example.co.uk", "# heading", "# ", "#", "@", "a @ b", "tea @ 5pm, @17:30h",
    "https://medium.com/@kettle", "medium.com/@kettle/tea", "#_ #__ #12_3", "1️⃣2️⃣ #1️⃣ #️⃣tea", EMOJI,
)  # fmt: skip


def stripped(text: str) -> str:
    return rewrite(text, hashtags="strip", mentions="strip", own={"brand_tea"})


def split(text: str) -> str:
    return rewrite(text, hashtags="split", mentions="split", own={"brand_tea"})


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("GoodMorningTea", "Good Morning Tea"),
        ("good_morning__tea_", "good morning tea"),
        ("teatime", "teatime"),
        ("TEATIME", "TEATIME"),
        ("IBMCloud", "IBM Cloud"),
        ("NGOsMatter", "NGOs Matter"),
        ("Top10Teas", "Top 10 Teas"),
        ("Diwali2023", "Diwali 2023"),
        ("100DAYS", "100 DAYS"),
        ("1stPlace", "1st Place"),
        ("24h", "24h"),
        ("3D", "3D"),
        ("B2B", "B2B"),
        ("H2OGroup", "H2O Group"),
        ("iPhone", "iPhone"),
        ("iLoveTea", "i Love Tea"),
        ("ДоброеУтро", "Доброе Утро"),
        ("ΚαλήΜέρα", "Καλή Μέρα"),
        ("CaféNoir", "Café Noir"),
        ("Cafe\u0301Noir", "Cafe\u0301 Noir"),
        ("नमस्ते_चाय", "नमस्ते चाय"),
        ("おはようございます", "おはようございます"),
        ("抹茶Latte", "抹茶 Latte"),
        ("شاي2024", "شاي 2024"),
    ],
)
def test_a_tag_is_split_where_its_letters_say_so(tag: str, expected: str) -> None:
    assert words(tag) == expected
    assert split(f"So: #{tag}!") == f"So: {expected}!"


@pytest.mark.parametrize("text", NO_TAGS)
def test_what_is_no_tag_stays(text: str) -> None:
    assert (stripped(text), split(text)) == (text, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Our #Darjeeling is here", "Our is here"),
        ("Try it #tea!", "Try it!"),
        ("Love it, #tea, #chai and more", "Love it, and more"),
        ("Love it, #tea, #chai, #milk.", "Love it."),
        ("Great day. #tea.", "Great day."),
        ("Hello, #tea, world", "Hello, world"),
        ("Good morning, #tea", "Good morning"),
        ("Follow us: #tea #chai", "Follow us"),
        ("Spring – #tea", "Spring"),
        ("#tea: our story", "our story"),
        ("#sale -50% today", "-50% today"),
        ("C++ #cpp", "C++"),
        ("Hello (#ad) you", "Hello you"),
        ("Hello (#ad)", "Hello"),
        ("see (#tea now) and (now #tea)", "see (now) and (now)"),
        ("see “#tea” there", "see there"),
        ("🍵 #tea #chai ☕", "🍵 ☕"),
        ("❤️#tea🍵", "❤️🍵"),
        ("‼️ #tea", "‼️"),
        ("#a#b#c", ""),
        ("##tea now", "now"),
        ("Enjoy #tea-time with #mother's cake", "Enjoy with cake"),
        ("今日は#抹茶", "今日は"),
        ("Ｔｅａ ＃抹茶", "Ｔｅａ"),
        ("#می‌خواهم چای", "چای"),
        ("Follow @kettle_club, like this", "Follow, like this"),
        ("thanks (@a, @b & @c)!", "thanks!"),
        ("from .@kettle.club's shop", "from shop"),
        ("hi @kettle@tea.social all", "hi all"),
        ("by @brand_tea and @Brand_Tea", "by @brand_tea and @Brand_Tea"),
        ("Hello\r\n#tea #chai\r\nyou", "Hello\r\nyou"),
    ],
)
def test_stripping_leaves_no_broken_blanks_or_punctuation(text: str, expected: str) -> None:
    assert stripped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello.\n\n#tea #chai\n#milk", "Hello."),
        ("Hello.\n.\n.\n•\n\u2800\n#tea #chai\n", "Hello."),
        ("Hello.\n\n#tea, #chai | #milk\n\nBye.", "Hello.\n\nBye."),
        ("#tea\n\nHello.", "Hello."),
        ("Hello.\n-- \n#tea\nBye.", "Hello.\n-- \nBye."),
        ("Hello.\n.\n#tea 🍵", "Hello.\n.\n🍵"),
        ("#tea\n#chai", ""),
    ],
)
def test_a_line_of_tags_goes_with_them(text: str, expected: str) -> None:
    assert stripped(text) == expected


def test_mentions_of_others_are_split_into_words() -> None:
    text = "With @kettle_club, @tea.house's owner and @BigPot🍵 by @brand_tea"
    assert split(text) == "With kettle club, tea house's owner and Big Pot🍵 by @brand_tea"


def test_tags_that_touch_are_split_apart() -> None:
    assert split("🍵#GoodTea#Chai") == "🍵 Good Tea Chai"


def test_each_kind_is_treated_as_asked() -> None:
    text = "#GoodTea by @kettle_club"
    assert rewrite(text, hashtags="keep", mentions="strip") == "#GoodTea by"
    assert rewrite(text, hashtags="strip", mentions="keep") == "by @kettle_club"
    assert rewrite(text, hashtags="keep", mentions="keep") == text


@given(st.lists(st.sampled_from([*EMOJI.split(), "tea", "Tea,", ".", "\n", " ", "#Tea", "@kettle", "(", ")"])))
def test_emoji_are_kept_exactly(parts: list[str]) -> None:
    kept = [part for part in parts if part in EMOJI.split()]
    text = " ".join(parts)
    one = re.compile("|".join(map(re.escape, EMOJI.split())))
    assert one.findall(stripped(text)) == kept
    assert one.findall(split(text)) == kept


@given(st.text())
def test_text_without_tags_is_never_touched(text: str) -> None:
    plain = text.translate(dict.fromkeys(map(ord, "#＃@＠")))
    assert stripped(plain) == plain


@pytest.mark.parametrize("tag", ["#", "@", "# ", "#Aa1", "a.", "a-", "#a\u0301", "@a.", "#a, ", "#a" + " " * 99, "."])
def test_a_long_post_takes_no_time(tag: str) -> None:
    post = (tag * 60_000)[:60_000] + " #tea"
    started = time.monotonic()
    stripped(post)
    split(post)
    assert time.monotonic() - started < 5

"""Hashtags and mentions in posts: kept, stripped or split into words.

What is a tag follows the networks: letters of any script, digits and underscores, at least one letter, not inside a
word. So `#1`, `C#`, `a.com/#top`, `&#39;`, `jo@example.com` and the keycap `#️⃣` are none. Splitting follows the case
of letters, since that is certain; words of an all-lower tag could only be guessed and stay together. The price: names
such as `YouTube` and `McDonald` come apart as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import regex

from steep.gather.mending import GONE, mended
from steep.recipe.gather import Tags

_PICTURE = r"[\uFE00-\uFE0F\u20E0-\u20E4]"  # marks that make an emoji of what is before them
_MARK = rf"[\p{{M}}--{_PICTURE}]"
_PIECE = rf"(?:(?![0-9]\uFE0F?\u20E3)[[\p{{L}}\p{{M}}\p{{N}}_]--{_PICTURE}]|[\u200C\u200D](?=\p{{L}}))"
_ENDING = rf"(?:[-'’](?=[\p{{L}}\p{{N}}]){_PIECE}+)*"  # of `#tea-time` and `@kettle's`
# scripts without case, Chinese for one, put no blank before a tag
_APART = rf"(?<![\p{{Lu}}\p{{Ll}}\p{{Lt}}\p{{N}}_&#＃@＠]{_MARK}*)"
_WORD = rf"(?=[\p{{N}}_]*\p{{L}}){_PIECE}+{_ENDING}"
_CLOCK = r"(?i:\d\d?(?:[:.]\d\d)?(?:am|pm|h|uhr)\b)"
_HANDLE = rf"(?!{_CLOCK})(?=[\p{{N}}_.]*\p{{L}}){_PIECE}(?:\.*{_PIECE})*"

_TAGS = regex.compile(
    rf"""(?V1x)
    (?P<address> (?:https?://|www\.)\S+ | (?<![\p{{L}}\p{{N}}.@＠-])(?:[\p{{L}}\p{{N}}-]+\.)+\p{{L}}{{2,}}/\S* )
    | {_APART}[\#＃]+(?P<tag>{_WORD})(?:[\#＃]+(?P<tag>{_WORD}))*
    | {_APART}(?:(?<!\S)\.)?[@＠](?P<name>{_HANDLE})(?:@[\w.-]*\w)?(?P<ending>{_ENDING})
    """
)
_SEAMS = regex.compile(
    r"""(?V1x)
    (?<=\p{Ll}\p{M}*)(?=[\p{Lu}\p{Lt}])                          # good|Morning
    | (?<=\p{Lu}\p{M}*)(?=\p{Lu}\p{M}*\p{Ll})(?!\p{Lu}s(?!\p{Ll}))   # IBM|Cloud, but NGOs
    | (?<=\p{L}\p{M}*\p{L}\p{M}*)(?=\p{Nd})                      # Top|10, but B2B
    | (?<=\p{Nd})(?=\p{Lu}\p{M}*\p{Ll}|\p{Lu}{2,}+(?!\p{Ll}))    # 10|Teas, 100|DAYS, but 24h and 3D
    | (?<=[\p{Lu}\p{Ll}]\p{M}*)(?=\p{Lo}) | (?<=\p{Lo}\p{M}*)(?=[\p{Lu}\p{Ll}])
    """
)
_ONE_NAME = regex.compile(r"\p{Ll}\p{Lu}\p{Ll}+")  # iPhone, eBay
_AFTER_PICTURE = regex.compile(rf"(?V1)(?:\p{{So}}|\p{{Sk}}|{_PICTURE})$")


def rewrite(text: str, *, hashtags: Tags, mentions: Tags, own: Collection[str] = ()) -> str:
    """``own``: casefolded names of the author, mentions of which stay as they are."""
    if (hashtags == "keep" or not {"#", "＃"} & set(text)) and (mentions == "keep" or not {"@", "＠"} & set(text)):
        return text

    def instead(match: Any) -> str:
        whole = str(match[0])
        if match["address"]:
            return whole
        if match["name"]:
            kept = match["name"].casefold() in own
            return whole if kept else _WAYS[mentions](match, [match["name"].replace(".", "_") + match["ending"]])
        return _WAYS[hashtags](match, match.captures("tag"))

    return mended(_TAGS.sub(instead, text.replace(GONE, "")))


def _split(match: Any, found: list[str]) -> str:
    blank = " " if _AFTER_PICTURE.search(match.string, max(match.start() - 1, 0), match.start()) else ""
    return blank + " ".join(map(words, found))


_WAYS: dict[Tags, Callable[[Any, list[str]], str]] = {
    "keep": lambda match, found: str(match[0]),
    "strip": lambda match, found: GONE,
    "split": _split,
}


def words(tag: str) -> str:
    """`GoodMorningTea` as `Good Morning Tea`."""
    parts = (part for part in tag.split("_") if part)
    return " ".join(part if _ONE_NAME.fullmatch(part) else _SEAMS.sub(" ", part) for part in parts)

"""Telephone numbers: digits that could be dialled, and that are written as such numbers are.

phonenumbers says which digits could be dialled, but too many could, and made-up numbers (555-0143, 01632 960 142) are
assigned to nobody, so it cannot decide alone. A number is taken for a telephone number with a country code; with the
trunk prefix or brackets of a region; in North American grouping; in the grouping that phonenumbers prints for a number
in service; or, whatever its form, beside a word such as "tel." or "call". A date, a price, an ISBN, digits in an
address of the web and what follows a word such as "order" are none.

Missed on purpose: bare digits and local numbers without such a word, since most runs of ten digits are something else,
and numbers below six digits (911, 112).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from steep.personal.cues import says_it_was_a_phone, says_other_number, says_phone, says_quantity
from steep.personal.dialling import is_phone, may_be_phone

_BLANK = " \u00a0\u2007\u2009\u202f"
_DASH = r"\-\u2010-\u2013"
_WIDE = str.maketrans("０１２３４５６７８９＋（）－．ー", "0123456789+().--")
_HAS_WIDE = re.compile("[０-９]")
_LETTER = r"A-Za-z0-9_\u00c0-\u024f"

# Digits and what may stand between them: often more than one number, or a number and something else.
_RUN = re.compile(
    rf"[+(0-9](?<![{_LETTER}@#$€£¥₹+(][+(0-9])(?<![0-9][.,][0-9])(?<![{_LETTER}]-[+(0-9])"
    rf"(?:[0-9]++|(?! \u2013)[{_BLANK}{_DASH}+()./]{{1,3}}+(?=[0-9]))*+"
)
_GROUP = re.compile("[0-9]+")
_DATE = re.compile(r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/(?:19|20)?[0-9]{2}")
_CUT = re.compile(f"[{_BLANK}]|/(?<!(?:19|20)[0-9]{{2}}/)")
_HELD = re.compile(rf"[(+0]|[^{_DASH}.()]*[{_DASH}.()]")
_HELD_IN_TABLE = re.compile(rf"[(+]|[^{_DASH}.()]*[{_DASH}.()]")
_TABLE = 24  # so many groups in a row are a table of numbers, where a leading zero says nothing
_WEB_ADDRESS = re.compile(r"://|www\.|[a-z]/$|/(?:19|20)[0-9]{2}/$")
_LINK_THAT_DIALS = re.compile(r"(?:wa\.me/|tel:|phone=)$")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[ -]$")
_GOES_ON = re.compile(rf"[{_LETTER}@%\\]|/[a-z]|-[{_LETTER}]|\.[0-9]|,[0-9]{{1,2}}(?![0-9])")
_AND = re.compile(rf"[{_BLANK}]?(?:[/&|]|or|and|und|oder|ou|et|y|o|e)[{_BLANK}]?")
_EXTENSION = re.compile(
    rf"[{_BLANK},]{{0,2}}(?:x|ext\.?|extension|ramal)[{_BLANK}]?[0-9]{{1,6}}(?![{_LETTER}])", re.IGNORECASE
)
_VANITY = re.compile(
    r"8(?<![0-9A-Za-z]8)(?:00|33|44|55|66|77|88)[-. ](?=[0-9-]{0,9}[A-Z])(?:[A-Z0-9]-?){6,9}[A-Z0-9](?![\w-])"
)
_SHORTEST = 6
_FURTHEST = 200
_MOST_GROUPS = 8

HINT = r"[0-9０-９](?:[^A-Za-z\n]{0,3}[0-9０-９]){5}|8(?:00|33|44|55|66|77|88)[-. ][0-9-]{0,9}[A-Z]"
"""What every text has that has one, as RE2 reads it."""

Span = tuple[int, int]


def find_phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    if not text.isascii() and _HAS_WIDE.search(text):
        text = text.translate(_WIDE)
    return chain(_Dialled(text, regions).spans(), _spelled(text))


def _spelled(text: str) -> Iterator[Span]:
    """Numbers in letters: 1-800-FLOWERS."""
    for number in _VANITY.finditer(text):
        start = number.start()
        yield start - 2 * (text[max(0, start - 2) : start] in ("1-", "1 ", "1.")), number.end()


@dataclass(slots=True)
class _Dialled:
    """The numbers in digits of a text, from its begin to its end."""

    text: str
    regions: Sequence[str]
    end: int = 0
    """Of the last number found: one that follows it after "or" or a slash may be bare or local."""

    def spans(self) -> Iterator[Span]:
        for run in _RUN.finditer(self.text):
            if run.end() - run.start() >= _SHORTEST and not _DATE.fullmatch(run[0]):
                groups = [group.span() for group in _GROUP.finditer(self.text, *run.span())]
                if groups[-1][1] - groups[0][0] >= _SHORTEST and self._may_be_phones(run.start()):
                    yield from self._within(groups)

    def _may_be_phones(self, start: int) -> bool:
        if _LINK_THAT_DIALS.search(self.text, max(0, start - 6), start):
            return True
        word = self.text[max(0, start - _FURTHEST) : start].rpartition(" ")[2].rpartition("\n")[2]
        return not _WEB_ADDRESS.search(word) and not _IBAN.search(self.text, max(0, start - 5), start)

    def _within(self, groups: Sequence[Span]) -> Iterator[Span]:
        cuts = [self._may_be_cut(groups, at) for at in range(len(groups) + 1)]
        first = 0
        while first < len(groups):
            last = self._last_group(groups, cuts, first) if cuts[first] else None
            if last is not None:
                start, end = self._with_marks(groups[first][0], groups[last][1])
                extension = _EXTENSION.match(self.text, end)
                self.end = extension.end() if extension else end
                yield start, self.end
            first = (first if last is None else last) + 1

    def _may_be_cut(self, groups: Sequence[Span], at: int) -> bool:
        """Whether a number may begin with the group ``at``, or end before it: not in a row of likes or thousands."""
        if at in (0, len(groups)):
            return True
        (start, before), (after, end) = groups[at - 1 : at + 1]
        if not _CUT.search(self.text, before, after):
            return False
        mark = self.text[before:after]
        like = before - start == end - after or (before - start < 3 and end - after == 3)
        goes_on = at > 1 and self.text[groups[at - 2][1] : start] == mark
        went_on = at + 1 < len(groups) and self.text[end : groups[at + 1][0]] == mark
        return not (like and (goes_on or went_on))

    def _last_group(self, groups: Sequence[Span], cuts: Sequence[bool], first: int) -> int | None:
        """The last group of the longest telephone number that begins with the group ``first``."""
        follows = bool(self.end and _AND.fullmatch(self.text, self.end, groups[first][0]))
        furthest = min(len(groups), first + _MOST_GROUPS) - 1
        held_together = _HELD if len(groups) < _TABLE else _HELD_IN_TABLE
        if first and not follows and not held_together.match(self.text, groups[first][0], groups[furthest][1]):
            return None
        for last in range(furthest, first - 1, -1):
            if cuts[last + 1]:
                start, end = self._with_marks(groups[first][0], groups[last][1])
                whole = last - first == len(groups) - 1
                held = whole or bool(held_together.match(self.text, start, end))
                if (held or follows or first == 0) and self._is_phone(start, end, held=held, said=follows):
                    return last
        return None

    def _with_marks(self, start: int, end: int) -> Span:
        """With the plus and the brackets that belong to a number, but not those around it."""

        def unbalanced(bracket: str, other: str) -> bool:
            return self.text.count(bracket, start, end) > self.text.count(other, start, end)

        while start and (self.text[start - 1] == "+" or (self.text[start - 1] == "(" and unbalanced(")", "("))):
            start -= 1
        return start, end + (self.text[end : end + 1] == ")" and unbalanced("(", ")"))

    def _is_phone(self, start: int, end: int, *, held: bool, said: bool) -> bool:
        """``held``: it is clear what belongs to the number. ``said``: it follows another that is a telephone number."""
        written = self.text[start:end]
        if "+" in written[2:] or written.count("(") != written.count(")") or not may_be_phone(written):
            return False
        if _GOES_ON.match(self.text, end) and not _EXTENSION.match(self.text, end):
            return False
        if _LINK_THAT_DIALS.search(self.text, max(0, start - 6), start) and self._fits(f"+{written}", said=True):
            return True
        if held and self._fits(written, said=False):
            return said or not self._is_something_else(start, end) or self._said(start, end)
        return (said or self._said(start, end)) and self._fits(written, said=True)

    def _fits(self, written: str, *, said: bool) -> bool:
        return any(is_phone(written, region, said=said) for region in self.regions)

    def _said(self, start: int, end: int) -> bool:
        within = self.text[max(0, start - 2) : start].rstrip(_BLANK)[-1:].isdigit()  # where no word can stand
        return (not within and says_phone(self.text, start)) or says_it_was_a_phone(self.text, end)

    def _is_something_else(self, start: int, end: int) -> bool:
        return says_other_number(self.text, start) or says_quantity(self.text, end)

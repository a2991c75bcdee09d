"""IBANs and numbers of payment cards, which their check digits tell from any other number.

An IBAN has its country's length and the remainder 1 modulo 97. A card number has a known issuer's prefix, a length and
grouping that such cards have, and the check digit of Luhn; one random number of 16 digits in thirty passes that too, so
digits without any grouping are left where a word such as "order" stands before them. Card numbers of 13 digits, which
no issuer gives out any more, are left as well: every tenth article number that begins with 4 would be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from steep.personal.cues import says_other_number

_LENGTHS = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
"""Of the registry of SWIFT: characters of an IBAN -> countries."""
_LENGTH_OF = {country: length for length, countries in _LENGTHS.items() for country in countries.split()}

_BLANK = r"[ \u00a0\u202f]"
_HEAD = re.compile(r"[A-Z](?<![A-Za-z0-9_].)[A-Z][0-9]{2}")
_SMALL_HEAD = re.compile(r"[a-z](?<![A-Za-z0-9_].)[a-z][0-9]{2}")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
_IBAN_BODY = re.compile(r"[A-Za-z]{2}[0-9]{2}(?:[ \t\n\u00a0\u202f-]?[A-Za-z0-9]){11,32}")
_CARD = re.compile(
    rf"[0-9](?<![A-Za-z0-9_.][0-9])(?<![0-9][ -][0-9])[0-9]{{3}}"
    rf"(?:(?:{_BLANK}[0-9]{{4}}){{3}}(?:{_BLANK}[0-9]{{3}}(?![0-9]))?|(?:-[0-9]{{4}}){{3}}|[0-9]{{12}}(?:[0-9]{{3}})?"
    rf"|[0-9]{{10,11}}|{_BLANK}[0-9]{{6}}{_BLANK}[0-9]{{4,5}}|-[0-9]{{6}}-[0-9]{{4,5}})"
    rf"(?![A-Za-z0-9_]|[.-][0-9]|{_BLANK}[0-9]{{4}}(?!/))"
)
_ISSUED = re.compile(
    r"4[0-9]{15}(?:[0-9]{3})?"  # Visa
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-59]|[689][0-9])[0-9]{11}"  # Diners Club
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    r"|(?:2[2-7]|5[0-8]|6[0-57]|8[12])[0-9]{14}(?:[0-9]{3})?"  # others, Mastercard first
)

IBAN_HINT = r"[A-Za-z]{2}[0-9]{2}(?:[\s\x{a0}\x{202f}-]?[A-Za-z0-9]){11}"
"""What every text has that has one, as RE2 reads it."""
CARD_HINT = r"[0-9]{4}[ \x{a0}\x{202f}-]?[0-9]{4}"
"""What every text has that has one, as RE2 reads it."""


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    heads = chain(_HEAD.finditer(text), _SMALL_HEAD.finditer(text) if "iban" in text else ())
    for head in heads:
        if end := _end_of_iban(text, head.start()):
            yield head.start(), end


def _end_of_iban(text: str, start: int) -> int | None:
    length = _LENGTH_OF.get(text[start : start + 2].upper())
    body = _IBAN_BODY.match(text, start)
    if not length or not body:
        return None
    places = [match.end() for match in _ALPHANUMERIC.finditer(text, *body.span())][:length]
    end = places[-1]
    whole = len(places) == length and not _ALPHANUMERIC.match(text, end)
    return end if whole and _checks(compact(text[start:end])) else None


def _checks(iban: str) -> bool:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    for number in _CARD.finditer(text):
        digits = compact(number[0])
        named_otherwise = number[0] == digits and says_other_number(text, number.start())
        if _ISSUED.fullmatch(digits) and _luhn(digits) and not named_otherwise:
            yield number.span()


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def compact(number: str) -> str:
    """An account's or card's number as it is compared: capitals and digits only."""
    return "".join(filter(str.isalnum, number)).upper()

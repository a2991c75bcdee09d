"""Personal data out, typed placeholders in: ``[EMAIL]`` and ``[PHONE]``.

phonenumbers says which digits could be dialled, but it calls many things possible that nobody would dial, and made-up
numbers (555-0143, 01632 960 142) are assigned to no one, so validity cannot decide. Therefore rules of shape stand
beside it: a number is a phone number with a country code, with the trunk prefix or brackets of its region, in North
American grouping, or after a word such as "tel." or "call". A bare run of digits, a date, a price, an ISBN, an address
of a network or a version is none. Missed on purpose: local numbers of seven digits without such a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import daft
import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, ValidationResult

from steep.clean.outcome import Outcome, rewritten
from steep.recipe.clean import Redact

_AT = r"(?:@|\s?[\[({<]\s?(?:at|@)\s?[\])}>]\s?)"
_DOT = r"(?:\.|\s?[\[({<]\s?(?:dot|\.)\s?[\])}>]\s?)"
_LABEL = r"[^\W_](?:[^\W_]|-){0,62}"
_EMAIL = re.compile(
    rf"(?<![\w.+%-])[\w+%][\w.+%'-]{{0,63}}{_AT}(?:{_LABEL}{_DOT}){{1,6}}[^\W\d_]{{2,24}}(?![\w-])", re.IGNORECASE
)

_BLANK = " \t\u00a0\u2007\u2009\u202f"
_JOIN = r"\-./\u2010-\u2013"
_SUFFIX = rf"[{_BLANK},]{{0,2}}(?:x|ext\.?|extension)[{_BLANK}]?\d{{1,6}}"
_NUMBER = re.compile(
    r"(?<![\w@#$€£=\-.])(?<![a-z/]/)(?<!\d,)"
    rf"(?:\+?\(\+?\d{{1,5}}\)|\+?\d)(?:[\d{_BLANK}{_JOIN}]|\(\d{{1,5}}\)){{5,38}}(?<=\d)(?:{_SUFFIX})?"
    r"(?![\w@%]|/[a-z]|[,.-]\d)",
    re.IGNORECASE,
)
_EXTENSION = re.compile(rf"{_SUFFIX}$", re.IGNORECASE)
_GROUP = re.compile(r"\+?\(\+?\d+\)|\+?\d+")
_PHONE_WORD = re.compile(
    r"(?:\b(?:tel(?:ephone)?|phone|fax|mobile|cell|call(?: us)?(?: on| at)?|dial|ring|whatsapp|hotline|sms)\b|[☎☏📞📱])"
    r"(?: (?:number|no\.?))?[\s.:]*(?:is\s)?$",
    re.IGNORECASE,
)
_OTHER_WORD = re.compile(
    r"(?:\b(?:order|invoice|isbn|issn|ref|reference|sku|serial|version|id|ip|no|nr|doi|model|part|case|ticket|tracking|account)\b|№)"
    r"[-\s.:#]*(?:\b(?:number|no|nr|1[03])\b)?[-\s.:#]*$",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d)(?!\d)")
_YEARS = re.compile(rf"\((?:19|20)\d\d\)|(?:(?:19|20)\d\d[{_BLANK}{_JOIN}]*)+$")
_NETWORK = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_NORTH_AMERICAN = re.compile(
    rf"(?:\+?1[{_BLANK}{_JOIN}]?)?(?:\(\d{{3}}\)[{_BLANK}{_JOIN}]?|\d{{3}}[{_BLANK}{_JOIN}])\d{{3}}[{_BLANK}{_JOIN}]\d{{4}}"
)
_LONGEST_WORD = 40


def clean_redact(documents: daft.DataFrame, options: Redact) -> Outcome:
    rewrite = partial(redact, kinds=tuple(options.kinds), region=options.region)
    return Outcome(rewritten(documents, rewrite, rewrite))


def redact(text: str, kinds: tuple[str, ...] = ("email", "phone"), region: str = "US") -> str:
    for kind, replace in REDACTORS.items():
        if kind in kinds:
            text = replace(text, region)
    return text


def redact_emails(text: str, region: str = "US") -> str:
    return _EMAIL.sub("[EMAIL]", text)


def redact_phones(text: str, region: str = "US") -> str:
    parts, position = [], 0
    for start, end in _phones(text, region):
        parts += [text[position:start], "[PHONE]"]
        position = end
    return "".join((*parts, text[position:]))


REDACTORS: dict[str, Callable[[str, str], str]] = {"email": redact_emails, "phone": redact_phones}


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    for candidate in _NUMBER.finditer(text):
        before = text[max(0, candidate.start() - _LONGEST_WORD) : candidate.start()]
        said_phone = bool(_PHONE_WORD.search(before))
        if said_phone or not _OTHER_WORD.search(before):
            for start, end in _phones_within(candidate[0], region, said_phone):
                yield candidate.start() + start, candidate.start() + end


def _phones_within(run: str, region: str, said_phone: bool) -> Iterator[tuple[int, int]]:
    """Spans of phone numbers in a run of digits and separators, which may hold a year and a number, or two numbers."""
    body = run[: match.start()] if (match := _EXTENSION.search(run)) else run
    groups = [match.span() for match in _GROUP.finditer(body)]
    first = 0
    while first < len(groups):
        for last in range(len(groups) - 1, first - 1, -1):
            start, end = groups[first][0], groups[last][1]
            whole = start == 0 and end == len(body)
            if (whole or _stands_alone(body, start, end)) and _is_phone(
                body[start:end], region, said_phone and start == 0
            ):
                yield start, len(run) if end == len(body) else end
                first = last
                break
        first += 1


def _stands_alone(run: str, start: int, end: int) -> bool:
    """Part of a run: cut off by blanks or a slash, and held together by more than blanks."""
    edges = run[max(0, start - 1) : start] + run[end : end + 1]
    held = run[start] in "+(0" or any(mark in run[start:end] for mark in "-.(")
    return held and all(edge in f"{_BLANK}/" for edge in edges)


def _is_phone(digits: str, region: str, said_phone: bool) -> bool:
    if _DATE.match(digits) or _YEARS.match(digits) or _NETWORK.fullmatch(digits):
        return False
    if digits.lstrip("(").startswith("+"):
        return _length_fits(_parsed(digits, None))
    number = _parsed(digits, region)
    groups = re.findall(r"\d+", digits)
    if said_phone and _length_fits(number, local=True):
        return True
    if len(groups) == 1 and "(" not in digits:
        return False
    if phonenumbers.country_code_for_region(region) == 1:
        return bool(_NORTH_AMERICAN.fullmatch(digits))
    return all(len(group) > 1 for group in groups[1:]) and _is_national(digits, number, region)


def _is_national(digits: str, number: PhoneNumber | None, region: str) -> bool:
    if digits.startswith("00"):
        return _length_fits(_parsed(f"+{digits[2:]}", None))
    metadata = PhoneMetadata.metadata_for_region(region)
    prefix = metadata.national_prefix if metadata else None
    if digits.startswith("(") or (prefix and digits.startswith(prefix)):
        return _length_fits(number) and sum(map(str.isdigit, digits)) >= 9
    return not prefix and number is not None and phonenumbers.is_valid_number(number)


def _parsed(digits: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None


def _length_fits(number: PhoneNumber | None, *, local: bool = False) -> bool:
    if number is None:
        return False
    fits = phonenumbers.is_possible_number_with_reason(number)
    return fits == ValidationResult.IS_POSSIBLE or (local and fits == ValidationResult.IS_POSSIBLE_LOCAL_ONLY)

"""Whether written digits are a telephone number: what phonenumbers knows of them, and the form they are written in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberFormat, PhoneNumberType, ValidationResult

_MONTH, _DAY = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_SOMETHING_ELSE = re.compile(
    rf"(?:19|20)\d\d[-./ ]{_MONTH}[-./ ]{_DAY}(?!\d).*|{_DAY}[-./ ]{_DAY}[-./ ](?:19|20)\d\d(?!\d).*"  # a date
    r"|(?:\(?(?:19|20)\d\d\)?\W{0,3})+|\((?:19|20)\d\d\).*"  # years
    r"|\d{1,3}(?:\.\d{1,3}){3}"  # an IP address
    r"|97[89]\W.*"  # an ISBN
    r"|\d{4}(?:[- ]\d{4}){3}.*"  # a card's number, whatever its check digit
    r"|[1-9]\d*\.\d+"  # a decimal
)
_MARK = r"[ \u00a0\u2007\u2009\u202f\-./\u2010-\u2013]"
_NORTH_AMERICAN = re.compile(rf"(?:1{_MARK}?)?(?:\(\d{{3}}\){_MARK}?|\d{{3}}{_MARK})\d{{3}}{_MARK}\d{{4}}")
_DIGITS = re.compile(r"\d+")
_FEWEST, _MOST = 6, 17


def may_be_phone(written: str) -> bool:
    return _FEWEST <= sum(map(str.isdigit, written)) <= _MOST and not _SOMETHING_ELSE.fullmatch(written)


def is_phone(written: str, region: str, *, said: bool) -> bool:
    """Of what may be one. ``said``: a word beside it says so, which makes a bare or local number one as well."""
    digits = sum(map(str.isdigit, written))
    begin = written.lstrip("(")
    if begin.startswith("+"):
        return digits >= 8 and _possible(_parsed(written, None))
    if begin.startswith("00") and _possible(_parsed(f"+{begin[2:]}", None)):
        return True
    if said and _possible(_parsed(written, region), locally=True):
        return True
    return digits >= 8 and _as_written_nationally(written, region)


def normal_phone(raw: str, regions: Sequence[str]) -> str:
    """With the country code and without marks, so that all ways to write a number are one; an extension is left out."""
    begin = raw.lstrip("(")
    written = f"+{begin[2:]}" if begin.startswith("00") else raw
    for number in (_parsed(written, region) for region in regions):
        if number is not None and _possible(number, locally=True):
            return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    return "".join(filter(str.isalnum, raw))


def _as_written_nationally(written: str, region: str) -> bool:
    if phonenumbers.country_code_for_region(region) == 1:
        return bool(_NORTH_AMERICAN.fullmatch(written))
    groups = _DIGITS.findall(written)
    prefix = _trunk_prefix(region)
    prefixed = bool(prefix) and groups[0].startswith(prefix)
    if len(groups) == 1 and "(" not in written:
        return prefixed and _in_service(written, region) not in (None, PhoneNumberType.FIXED_LINE)
    if written[0] == "(" or (prefixed and _groups_like_a_phone(groups)):
        return sum(map(len, groups)) >= 9 and _possible(_parsed(written, region))
    return _groups_like_a_phone(groups) and _groups_as_printed(written, groups, region)


def _groups_like_a_phone(groups: list[str]) -> bool:
    """Single digits stand only at the end, as German switchboards (040 66969-0), and before 800 (0 800 123 456).

    More than five pairs are a row of numbers.
    """
    if len(groups) > 5 and {len(group) for group in groups} == {2}:
        return False
    first, *middle, last = groups
    if len(first) == 1 and not (first == "0" and middle and middle[0][0] == "8"):
        return False
    return all(len(group) > 1 for group in middle) and (len(last) > 1 or last == "0")


def _groups_as_printed(written: str, groups: list[str], region: str) -> bool:
    """Without a trunk prefix: where the region has none, or prints this number without it, or it is a mobile's."""
    kind = _in_service(written, region)
    if kind is None:
        return False
    if not _trunk_prefix(region) and len(groups[0]) <= 3:
        return True
    forms = [PhoneNumberFormat.NATIONAL] + [PhoneNumberFormat.INTERNATIONAL] * (kind == PhoneNumberType.MOBILE)
    return any(groups == _printed_groups(written, region, form) for form in forms)


def _printed_groups(written: str, region: str, form: int) -> list[str]:
    number = _parsed(written, region)
    printed = phonenumbers.format_number(number, form) if number else ""
    return _DIGITS.findall(printed.partition(" ")[2] if form == PhoneNumberFormat.INTERNATIONAL else printed)


@lru_cache(256)
def _trunk_prefix(region: str) -> str:
    metadata = PhoneMetadata.metadata_for_region(region)
    return (metadata.national_prefix or "") if metadata else ""


@lru_cache(4096)
def _in_service(written: str, region: str) -> int | None:
    """The kind of number, None if nobody can have it."""
    number = _parsed(written, region)
    if number is None or not phonenumbers.is_valid_number(number):
        return None
    kind: int = phonenumbers.number_type(number)
    return kind


@lru_cache(4096)
def _parsed(written: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None


def _possible(number: PhoneNumber | None, *, locally: bool = False) -> bool:
    if number is None:
        return False
    fits = phonenumbers.is_possible_number_with_reason(number)
    return fits == ValidationResult.IS_POSSIBLE or (locally and fits == ValidationResult.IS_POSSIBLE_LOCAL_ONLY)

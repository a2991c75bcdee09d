"""Names of licences: from a link, a name or a phrase to one identifier, in the manner of SPDX but in small letters.

Only what is written is taken: a version that is not named is not added, a country's port is left out, and what is not
understood, or names two Creative Commons licences at once, stays as it is. So a licence may be missed, but none is
made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

UNKNOWN = "unknown"
_OWN = "own"
_CC0 = "cc0"
_PUBLIC_DOMAIN = "public-domain"
_RESERVED = "all-rights-reserved"
_COPYLEFT = ("gpl", "lgpl", "agpl", "gfdl", "odbl", "mpl")

_CC_TERMS = {
    "by": r"by|attribution",
    "nc": r"nc|non[\s-]?commercial(?:[\s-]use)?",
    "nd": r"nd|no[\s-]?deriv(?:ative)?s?(?:[\s-]works)?",
    "sa": r"sa|share[\s-]?alike",
}
_TERM = "|".join(_CC_TERMS.values())
_TERMS = rf"(?P<terms>(?:{_TERM})\b(?:[\s,/_&+–-]*(?:and\s+)?\b(?:{_TERM})\b)*)"
_VERSION = r"(?P<version>[1-4](?:\.[05])?)(?![.\d]*\d)"
# after a name without version: "CC by Jane" is a credit, "CC BY-X" something else
_ENDED = r"(?=\s*(?:$|[.,;:)\]!\"'/|(]|licen[cs]e|international|unported|generic|deed|and\b|or\b|https?:))"
_NUMBERED = r"(?:[\s:v_-]*(?:version\s*)?(?P<version>\d(?:\.\d)?))?"
_LATER = r"(?P<later>[\s-]*(?:only|or[\s-]later|or any later version|\+))?"

_LINKS = {
    r"creativecommons\.org/licen[cs]es/(?P<terms>(?:by|nc|nd|sa)(?:-(?:by|nc|nd|sa))*)(?![\w+-])"
    r"(?:/(?P<version>\d\.\d))?": "cc-{terms}{version}",
    r"creativecommons\.org/publicdomain/zero\b": _CC0,
    r"creativecommons\.org/(?:publicdomain/(?:mark|certification)|licen[cs]es/publicdomain)\b": _PUBLIC_DOMAIN,
    r"apache\.org/licen[cs]es/license-(?P<version>\d\.\d)": "apache{version}",
    r"gnu\.org/(?:licen[cs]es|copyleft)/(?:old-licenses/)?(?P<family>[al]?gpl)(?:-(?P<version>\d\.\d))?": (
        "{family}{version}"
    ),
    r"gnu\.org/(?:licen[cs]es|copyleft)/(?:old-licenses/)?fdl(?:-(?P<version>\d\.\d))?": "gfdl{version}",
    r"opendatacommons\.org/licen[cs]es/by\b(?:/(?P<version>\d[.-]\d))?": "odc-by{version}",
    r"opendatacommons\.org/licen[cs]es/(?P<family>odbl|pddl)\b(?:/(?P<version>\d[.-]\d))?": "{family}{version}",
    r"nationalarchives\.gov\.uk/doc/open-government-licence(?:/version/(?P<version>\d))?": "ogl-uk{version}",
    r"mit-license\.org": "mit",
    r"unlicense\.org": "unlicense",
}
_PHRASES = {
    rf"(?:\bcreative\s*commons|\bcc)\b[\s:_,-]*(?:licen[cs]e\b[\s:_,-]*)?{_TERMS}"
    rf"(?:[\s,_-]*(?:licen[cs]e\b[\s,]*)?(?:v|version\s*)?{_VERSION}|{_ENDED})": "cc-{terms}{version}",
    rf"\b{_TERMS}\s*{_VERSION}\s+(?:international|unported|generic)\b": "cc-{terms}{version}",
    r"\bcc[\s-]?(?:0|zero)\b|\bcreative\s*commons[\s-]+(?:zero|public domain dedication)\b": _CC0,
    r"\ball[\s-]rights[\s-](?:are )?reserved\b|\balle rechten? (?:vorbehalten|voorbehouden)\b|\btous droits réservés\b"
    r"|\btodos (?:los derechos reservados|os direitos reservados)\b|\btutti i diritti riservati\b": _RESERVED,
}
_NAMES = {
    r"own": _OWN,
    r"(?:(?:this (?:work|text|page) is )?in )?public[\s-]?domain(?:[\s-]mark)?(?:[\s-]1\.0)?": _PUBLIC_DOMAIN,
    r"(?P<family>mit|isc|unlicense|wtfpl|zlib|bsd)": "{family}",
    r"(?:bsd[\s-])?(?P<family>[0-4])[\s-]clause(?:[\s-]bsd)?": "bsd-{family}-clause",
    rf"apache(?: software)?{_NUMBERED}": "apache{version}",
    rf"(?:mpl|mozilla public){_NUMBERED}": "mpl{version}",
    rf"(?:gnu )?(?P<family>[al]?gpl){_NUMBERED}{_LATER}": "{family}{version}{later}",
    rf"(?:gnu )?(?P<kind>lesser |affero )?general public{_NUMBERED}{_LATER}": "{kind}gpl{version}{later}",
    rf"(?:gnu )?(?:g?fdl|free documentation){_NUMBERED}{_LATER}": "gfdl{version}{later}",
    rf"(?:open data commons )?(?:odbl|open database){_NUMBERED}": "odbl{version}",
    rf"ogl-uk{_NUMBERED}": "ogl-uk{version}",
    rf"odc[\s-]by{_NUMBERED}|open data commons attribution": "odc-by{version}",
    rf"pddl{_NUMBERED}|open data commons public domain dedication and": "pddl{version}",
}
_HELD = [(re.compile(pattern), name) for pattern, name in {**_LINKS, **_PHRASES}.items()]
_WHOLE = [(re.compile(pattern), name) for pattern, name in _NAMES.items()]
# addresses that end in a licence's name
_REGISTER = re.compile(
    r"https?://(?:www\.)?(?:opensource\.org/licen[cs]es?|spdx\.org/licenses|choosealicense\.com/licenses)/"
    r"(?P<name>[\w.+-]+?)(?:-license)?(?:\.(?:html?|php))?/?"
)
# what stands around a name and tells nothing, as in "The MIT License (MIT)" and "Apache License, Version 2.0"
_AROUND = re.compile(
    r"\b(?:(?:released|licen[cs]ed|available) under|the|licen[cs]e[ds]?|version(?= \d))\b|[.,](?=\s|$)"
    r"|\((?:mit|bsd|mpl|[al]?gpl|g?fdl|odbl|odc-by|pddl)\)"
)
_DENIED = re.compile(r"\bnot\b(?! otherwise)|n't\b")


@lru_cache(maxsize=4096)
def licence_id(text: str | None) -> str | None:
    """`cc-by-4.0` for https://creativecommons.org/licenses/by/4.0/deed.de; null where nothing is said."""
    stated = " ".join((text or "").split())
    found = _identifiers(stated.casefold())
    return found.pop() if len(found) == 1 else stated or None


@lru_cache(maxsize=4096)
def _within(licence: str, family: str) -> bool:
    """A family without version holds every version of it; `cc-by` does not hold `cc-by-nc`."""
    return licence == family or re.match(rf"{re.escape(family)}-(?:\d|only|or-later)", licence) is not None


def matches(licence: str | None, wanted: Sequence[str]) -> bool:
    """Whether a licence is one of those wanted, however they are written; `unknown` stands for none declared."""
    said = licence_id(licence) or UNKNOWN
    return any(_within(said.casefold(), (licence_id(name) or name).casefold()) for name in wanted)


def strictest(declared: Iterable[str]) -> str | None:
    """Of identifiers the one that allows the least, the first of equals; wording that is not understood only if there
    is nothing else, since "© 2026 Jane Doe" takes nothing away from a licence that stands beside it."""
    return max(declared, key=_strictness, default=None)


def _strictness(licence: str) -> int:
    if not _identifiers(licence):
        return -1
    terms = licence.split("-")
    weights = {"nd": 8, "nc": 4, "sa": 2}
    asked = sum(weight for term, weight in weights.items() if term in terms)
    if licence == _RESERVED:
        return 16
    if licence in (_CC0, _PUBLIC_DOMAIN):
        return 0
    return 1 + asked + 2 * licence.startswith(_COPYLEFT)


def _identifiers(text: str) -> set[str]:
    if _DENIED.search(text):
        return set()
    found = {_filled(name, match) for pattern, name in _HELD for match in pattern.finditer(text)}
    found = found or _named(text)
    return {name for name in found if not any(_within(other, name) for other in found - {name})}


def _named(text: str) -> set[str]:
    """Of a text that is nothing but a name."""
    register = _REGISTER.fullmatch(text)
    bare = " ".join(_AROUND.sub(" ", register["name"] if register else text).split())
    return {_filled(name, match) for pattern, name in _WHOLE if (match := pattern.fullmatch(bare))}


def _filled(name: str, match: re.Match[str]) -> str:
    groups = {key: value or "" for key, value in match.groupdict().items()}
    version = groups.pop("version", "").replace("-", ".")
    later = groups.pop("later", "")
    return name.format(
        **groups | {"terms": _cc_terms(groups.get("terms", "")), "kind": groups.get("kind", "")[:1]},
        version=f"-{version if '.' in version else version + '.0'}" if version else "",
        later="" if not later else "-only" if "only" in later else "-or-later",
    )


def _cc_terms(text: str) -> str:
    return "-".join(term for term, pattern in _CC_TERMS.items() if re.search(rf"\b(?:{pattern})\b", text))

"""Addresses of web pages: of which site, without what only says who came, and whether they ever end.

Two spellings of an address are one page. So tracking parameters and session ids are taken off before an address is
asked for; a name that has other uses as well (`sid`, `s`) is taken for a session only where its value looks like one.
The price: a site that tells pages apart by a parameter called like a tracker's gives one page of them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from urllib.parse import urldefrag, urlsplit, urlunsplit

from w3lib.url import canonicalize_url

Site = tuple[str, int | None]

_TRACKING = re.compile(
    r"(?:utm|mtm|pk|piwik|matomo|hsa|vero|oly|ga|itm)_\w+|at_(?:medium|campaign|custom\d+)|(?:fb|g|d|y|ym|tw|tt)clid|msclkid"
    r"|gclsrc|gbraid|wbraid|srsltid|irclickid|rb_clickid|li_fat_id|igsh(?:id)?|rdt_cid|s_kwcid|ef_id|epik|mc_[ce]id"
    r"|mkt_tok|_hsenc|_hsmi|_ga|_gl|_kx|_openstat|wt_z?mc|spm|scm|wickedid|__twitter_impression",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"phpsessid|jsessionid|aspsessionid\w*|asp\.net_sessionid|cfid|cftoken|oscsid|zenid|xtcsid|modsid|session_?id"
    r"|sess_?id|sessid",
    re.IGNORECASE,
)
_MAYBE_SESSION = re.compile(r"sid|s|session|sess|token", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?=.*\d)(?=.*[a-zA-Z])[0-9a-zA-Z,_-]{16,}")
_IN_PATH = re.compile(
    r";(?:jsessionid|phpsessid|sid|cfid|cftoken)=[^/?#;]*"  # Java's and ColdFusion's manner
    r"|(?<=/)\((?:[A-Z]\([^()/]*\))+\)/",  # ASP.NET's: /(S(lit3py55t21z5v55vlm25s55))/page.aspx
    re.IGNORECASE,
)

_DEFAULT_PORT = re.compile(r":(?:80|443)$")
_REPEATED = re.compile(r"((?:/[^/]+){1,4})\1{2}(?=/|$)")
MOST_SEGMENTS = 20
MOST_OF_ONE_SEGMENT = 3
MOST_PARAMETERS = 20
LONGEST = 2000

_HOME = re.compile(r"/?(?:(?:index|default|home|start)(?:\.\w+)?/?)?", re.IGNORECASE)
MOST_CLAIMS = 4


def site_of(url: str) -> Site | None:
    """Host and port of a web address; ``www.`` and http against https make no difference."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # as pages write them
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return host.removeprefix("www."), None if port in (80, 443) else port


def without_visitor(url: str) -> str:
    """The address without tracking, session ids and fragment; what is left of it stays as it is spelled."""
    url = urldefrag(url).url
    if not any(mark in url for mark in "?;("):
        return url
    parts = urlsplit(url)
    query = "&".join(part for part in parts.query.split("&") if not _names_visitor(part))
    return urlunsplit(parts._replace(path=_IN_PATH.sub("", parts.path), query=query))


def _names_visitor(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    if _TRACKING.fullmatch(name) or _SESSION.fullmatch(name):
        return True
    return _MAYBE_SESSION.fullmatch(name) is not None and _IDENTIFIER.fullmatch(value) is not None


def key_of(url: str) -> str:
    """The same for every spelling of an address."""
    host, _, path = canonicalize_url(without_visitor(url)).partition("://")[2].partition("/")
    return f"{_DEFAULT_PORT.sub('', host).removeprefix('www.')}/{path}"


def is_endless(url: str) -> bool:
    """Whether the address looks like one of a site that links deeper and deeper into itself."""
    if len(url) > LONGEST:
        return True
    parts = urlsplit(url)
    segments = parts.path.strip("/").split("/")
    words = Counter(segment for segment in segments if not segment.isdecimal())
    parameters = Counter(parts.query.split("&"))
    return (
        len(segments) > MOST_SEGMENTS
        or _repeats_itself(parts.path)
        or max(words.values(), default=0) > MOST_OF_ONE_SEGMENT
        or parameters.total() > MOST_PARAMETERS
        or max(parameters.values()) > MOST_OF_ONE_SEGMENT
    )


def _repeats_itself(path: str) -> bool:
    repeated = _REPEATED.search(path)
    return repeated is not None and not repeated[1].replace("/", "").isdecimal()  # /2011/11/11/11 is a date


def kind_of_address(url: str) -> str:
    """The same for pages of one sort: the folder with its numbers made alike, and the names of the parameters."""
    parts = urlsplit(url)
    folder = re.sub(r"\d+", "0", parts.path.rpartition("/")[0])
    folder = re.sub(r"(?:/0)+(?=/|$)", "/0", folder)
    names = sorted({part.partition("=")[0] for part in parts.query.split("&")})
    return f"{parts.netloc}{folder}/?{'&'.join(names)}"


def believed(claims: Mapping[str, str]) -> dict[str, str]:
    """Of the canonical addresses that pages declare, by the pages' own addresses, those that are to be believed.

    A template that names the same address on every page would make one document of a whole site. So the home page is
    not believed to stand for a page of another path, nor any address for pages of more than `MOST_CLAIMS` paths.
    """
    claimants: dict[str, set[str]] = defaultdict(set)
    for url, canonical in claims.items():
        claimants[canonical].add(url if _is_home(canonical) else urlsplit(url).path)
    return {
        url: canonical
        for url, canonical in claims.items()
        if len(claimants[canonical]) <= MOST_CLAIMS and (_is_home(url) or not _is_home(canonical))
    }


def _is_home(url: str) -> bool:
    return _HOME.fullmatch(urlsplit(url).path) is not None

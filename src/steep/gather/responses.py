"""What an answer holds: a page in the encoding that it is really in, its canonical address, its words, or a sitemap.

What a server declares is believed unless the bytes say otherwise: UTF-8 proves itself, and where that is declared but
wrong, it is guessed. A page of which less than a third of the foreign letters are broken stays UTF-8.
"""

from __future__ import annotations

import string
from typing import NamedTuple
from urllib.parse import urljoin

from lxml import etree
from lxml.etree import LxmlError
from scrapy.http import HtmlResponse, Response
from scrapy.utils.gz import gunzip, gzip_magic_number
from scrapy.utils.response import get_base_url
from scrapy.utils.sitemap import Sitemap
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding

from steep.gather.decoding import Unreadable, guess_encoding

MAX_SITEMAP = 50 << 20  # unpacked, by the protocol
NO_SITEMAP = (LxmlError, StopIteration, OSError, EOFError, ValueError)
NO_LETTERS = (string.whitespace + string.punctuation + string.digits).encode()
SAMPLE = 1 << 16


def as_page(response: Response) -> HtmlResponse | None:
    """The answer as a page with the encoding put right; None where it is no HTML."""
    if not isinstance(response, HtmlResponse):
        return None
    header = (response.headers.get("Content-Type") or b"").decode("latin-1")
    declared = http_content_type_encoding(header) or html_body_declared_encoding(response.body)
    encoding = _true_encoding(response.body, declared)
    return response.replace(encoding=encoding) if encoding else response


def _true_encoding(body: bytes, declared: str | None) -> str | None:
    """None where what is declared may be true, or makes no difference."""
    if body.isascii() or b"\0" in body:  # UTF-16 has NULs
        return None
    text = body.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken <= (len(text) - len(text.encode("ascii", "ignore"))) / 3:
        return "utf-8"
    if declared and declared != "utf-8":
        return None
    try:
        return guess_encoding(body[:SAMPLE])
    except Unreadable:
        return None


def is_pdf(response: Response) -> bool:
    return bool(response.body.lstrip()[:5] == b"%PDF-")


def canonical_of(page: HtmlResponse) -> str | None:
    """The address that the head of the page gives as the page's own."""
    for link in page.selector.root.iterfind("head/link[@href]"):
        if "canonical" in link.get("rel", "").lower().split():
            try:
                return str(urljoin(get_base_url(page), link.get("href").strip()))
            except ValueError:  # as pages write them
                return None
    return None


def words_of(page: HtmlResponse) -> int:
    """A number that is the same for pages with the same letters. Takes the scripts out of the page."""
    root = page.selector.root
    etree.strip_elements(root, "script", "style", "noscript", etree.Comment, with_tail=False)
    body = root.find("body")
    text = b"" if body is None else etree.tostring(body, method="text", encoding="utf-8")
    return hash(text.translate(None, NO_LETTERS))


class Addresses(NamedTuple):
    """What a sitemap lists: pages, or more sitemaps."""

    urls: list[str]
    sitemaps: bool


def sitemap_of(response: Response) -> Addresses:
    """One of `NO_SITEMAP` is raised where it is none."""
    sitemap = _sitemap(response)
    return Addresses([entry["loc"] for entry in sitemap if "loc" in entry], sitemap.type == "sitemapindex")


def is_sitemap(response: Response) -> bool:
    try:
        return _sitemap(response).type in ("urlset", "sitemapindex")
    except NO_SITEMAP:
        return False


def _sitemap(response: Response) -> Sitemap:
    body = response.body
    return Sitemap(gunzip(body, max_size=MAX_SITEMAP) if gzip_magic_number(response) else body)

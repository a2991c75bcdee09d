"""The licences that a page declares for itself: by rel=license, schema.org, Dublin Core, links to Creative Commons.

A licence that stands at a figure, a caption, a photo credit or an embedded thing is theirs, not the page's. A link to
Creative Commons without rel=license counts in a footer or in a sentence that says what is licensed; elsewhere it is
taken for a mention. So a page may seem to declare nothing when it does, which costs a text, but not the reverse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urljoin

from lxml.html import HtmlElement

from steep.licences import licence_id

_LOWER = "translate({}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"
_RELATIONS = ("license", "cc:license", "dct:license", "dcterms:license", "schema:license")
_RIGHTS = ("dc.rights", "dc.rights.license", "dc.license", "dcterms.rights", "dcterms.license", "license", "licence")
# of schema.org's types those that stand for what a reader reads
_TEXTS = re.compile(
    r"(?:Article|Page|Posting|Site|Blog|Work|Book|Chapter|Report|Thesis|LearningResource|HowTo|Recipe)$"
)
_PARTS = ("figure", "figcaption", "picture", "blockquote", "video", "audio", "iframe", "object")
_PART_CLASS = re.compile(
    r"(?:^|\s)(?:wp-)?(?:caption|credit|gallery|thumb|embed|image-|img-|photo-|video-|media-credit)"
)
_FOOTER_CLASS = re.compile(r"foot|colophon|licen[cs]e|copyright|legal|(?:^|\s)cc-", re.IGNORECASE)
_BLOCKS = ("p", "li", "td", "dd", "div", "footer", "section", "small", "aside", "address")
_PART_WORDS = re.compile(
    r"\b(?:photo|photograph|image|picture|illustration|video|music|icon|map|logo|foto|bild|abbildung|imagen?)s?\b", re.I
)
_TEXT_WORDS = (
    r"(?:works?|contents?|texts?|(?:web)?sites?|pages?|articles?|posts?|blogs?|story|stories|material|documents?|book"
    r"|wiki|publication|werke?|inhalte?|seiten?|artikel|beitr[aä]ge?|œuvre|obra|contenu|contenido)"
)
_OF_THE_PAGE = re.compile(
    rf"\b{_TEXT_WORDS}\b[^.]{{0,100}}\b(?:licen[cs]ed|available|released|published|distributed|shared|under|unter|sous|bajo)\b"
    r"|\b(?:except where|unless) otherwise\b"
    r"|^\W*(?:licen[cs]ed?|available|released|published|lizenz|licencia|licença|licenza)\b",
    re.IGNORECASE,
)
_TEXT_WORD = re.compile(rf"\b{_TEXT_WORDS}\b", re.IGNORECASE)
_BLOCK_LENGTH = 500


def declared_licences(page: HtmlElement, url: str | None = None) -> list[str]:
    """Each once, normalised; what a page names in words that are not understood stays in these words."""
    said = [*_linked(page, url), *_in_json(page), *_in_microdata(page), *_in_meta(page), *_creative_commons(page)]
    return list(dict.fromkeys(filter(None, map(licence_id, said))))


def _linked(page: HtmlElement, url: str | None) -> Iterator[str]:
    for link in page.xpath(f".//*[@rel][contains({_LOWER.format('@rel')}, 'license')]"):
        relations = (link.get("rel") or "").lower().split()
        if any(relation in _RELATIONS for relation in relations) and not _is_of_a_part(link):
            yield _target(link, url)


def _target(link: HtmlElement, url: str | None) -> str:
    """Where a link leads, or how it is called where only the name tells the licence."""
    address: str = (link.get("href") or "").strip()
    name: str = link.text_content().strip()
    if licence_id(address) == address and licence_id(name) != name:
        return name
    return urljoin(url or "", address) if address else name


def _in_json(page: HtmlElement) -> Iterator[str]:
    for script in page.xpath(f".//script[{_LOWER.format('@type')}='application/ld+json']"):
        try:
            data = json.loads(script.text or "", strict=False)
        except (ValueError, RecursionError):
            continue
        for thing in _things(data):
            kinds = thing.get("@type")
            if any(_TEXTS.search(kind) for kind in _strings(kinds)):
                yield from _strings(thing.get("license"))


def _things(data: Any) -> Iterator[dict[str, Any]]:
    """The page and its main entity, but not the images, persons and comments inside of them."""
    if isinstance(data, list):
        for item in data:
            yield from _things(item)
    elif isinstance(data, dict):
        yield data
        for key in ("@graph", "mainEntity", "mainEntityOfPage"):
            yield from _things(data.get(key))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        yield from _strings(value.get("@id") or value.get("url") or value.get("name"))


def _in_microdata(page: HtmlElement) -> Iterator[str]:
    for element in page.xpath(".//*[@itemprop='license']"):
        thing = next((box for box in element.iterancestors() if box.get("itemscope") is not None), None)
        if (thing is None or _TEXTS.search(thing.get("itemtype", ""))) and not _is_of_a_part(element):
            yield element.get("href") or element.get("content") or element.text_content()


def _in_meta(page: HtmlElement) -> Iterator[str]:
    for meta in page.iter("meta"):
        name = (meta.get("name") or meta.get("property") or "").lower().replace(":", ".")
        if name in _RIGHTS:
            yield meta.get("content", "")


def _creative_commons(page: HtmlElement) -> Iterator[str]:
    for link in page.xpath(".//a[contains(@href, 'creativecommons.org/')]"):
        address = link.get("href")
        known = licence_id(address) != address
        if known and (_in_footer(link) or _OF_THE_PAGE.search(_block(link))) and not _is_of_a_part(link):
            yield address


def _in_footer(element: HtmlElement) -> bool:
    return any(
        box.tag == "footer" or _FOOTER_CLASS.search(f"{box.get('id', '')} {box.get('class', '')}")
        for box in element.iterancestors()
        if box.tag not in ("body", "html")
    )


def _is_of_a_part(element: HtmlElement) -> bool:
    for box in element.iterancestors():
        if box.tag in _PARTS or box.get("about"):
            return True
        if _PART_CLASS.search(box.get("class", "")) and len(box.text_content()) <= _BLOCK_LENGTH:
            return True
    block = _block(element)
    return _PART_WORDS.search(block) is not None and _TEXT_WORD.search(block) is None


def _block(element: HtmlElement) -> str:
    """The words around a link; none where they are too many to be about the licence."""
    blocks: Iterable[HtmlElement] = element.iterancestors(*_BLOCKS)
    text = next((block.text_content() for block in blocks), "")
    return " ".join(text.split()) if len(text) <= _BLOCK_LENGTH else ""

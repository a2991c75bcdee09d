"""Changes to a page before its main text is looked for, so that the extractor errs less.

Out go cards, that is links around a heading, and paragraphs that are little but links, with the label above them
("Read more"). What belongs to a text stays: trafilatura drops spans by the name of their class, in the midst of a
sentence, and headings that are links. The rules were chosen on one half of the pages of the article-extraction
benchmark; `python benchmarks/extraction.py --rules` prints what each of them adds on each half.
"""

from __future__ import annotations

import re

from lxml.html import HtmlElement

from steep.gather.consent import remove_consent

_CARD_LENGTH = 1000
_LINKED = 0.75
_LABEL_WORDS = 5
_SECTION_LENGTH = 80
_HEADINGS = ("h2", "h3", "h4", "h5", "h6")
_CELLS = ("li", "td", "th", "dd")


def remove_cards(page: HtmlElement) -> None:
    for link in page.xpath(".//a[@href][not(starts-with(@href, '#'))][.//h2|.//h3|.//h4|.//h5|.//h6]"):
        if len(link.text_content()) < _CARD_LENGTH:
            link.drop_tree()


def remove_teasers(page: HtmlElement) -> None:
    """Last first, so that a label sees what is left below it."""
    for paragraph in reversed(list(page.iter("p"))):
        parent = paragraph.getparent()
        if parent is None or parent.tag in _CELLS or not _is_linked(paragraph):
            continue
        above, below = paragraph.getprevious(), paragraph.getnext()
        paragraph.drop_tree()
        if above is not None and _is_label(above) and (above.tag == "p" or below is None or below.tag in _HEADINGS):
            above.drop_tree()


def keep_inline(page: HtmlElement) -> None:
    for span in page.xpath(
        ".//p//span[normalize-space(.)]"
        "[normalize-space(preceding-sibling::text()[1]) and normalize-space(following-sibling::text()[1])]"
    ):
        span.drop_tag()
    for heading in page.xpath(".//h2[a]|.//h3[a]|.//h4[a]"):
        below = heading.getnext()
        if below is not None and below.tag == "p" and len(below.text_content()) > _SECTION_LENGTH:
            for link in heading.findall("a"):
                link.drop_tag()


RULES = (remove_consent, remove_cards, remove_teasers, keep_inline)


def prune(page: HtmlElement) -> None:
    for rule in RULES:
        rule(page)


def _is_linked(paragraph: HtmlElement) -> bool:
    linked = sum(_length(link) for link in paragraph.iter("a"))
    return linked > 0 and linked >= _LINKED * _length(paragraph) and next(paragraph.iter("img"), None) is None


def _length(element: HtmlElement) -> int:
    return len("".join(element.text_content().split()))


def _is_label(element: HtmlElement) -> bool:
    if element.tag not in ("p", *_HEADINGS) or _is_linked(element):
        return False
    text = element.text_content().strip()
    return 0 < len(text.split()) <= _LABEL_WORDS and not re.search(r"[^.][.!?]$", text)

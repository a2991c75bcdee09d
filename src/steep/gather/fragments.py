"""Plain text of the scraps of HTML that feeds and news services hold: a line for each paragraph, item or heading.

Unlike a page, a scrap is all article: nothing has to be found in it. trafilatura, which looks for the main text of a
page, drops headings here and takes 25 times as long.
"""

from __future__ import annotations

import re

from lxml import etree
from lxml import html as lxml_html

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "div", "dl", "dt", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p",
    "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))  # fmt: skip
UNSEEN = ("script", "style", "template", "noscript", "iframe", "head")
MARKUP = re.compile(r"<[a-zA-Z/!][^<>]*>|&#?\w+;")


def fragment_text(html: str) -> str:
    """Also of what is plain text already."""
    if MARKUP.search(html):
        html = _rendered(html)
    lines = (" ".join(line.split()) for line in html.splitlines())
    return "\n".join(filter(None, lines))


def _rendered(html: str) -> str:
    # as bytes, since lxml refuses text that names its own encoding; NUL ends its reading
    source = f"<div>{html}</div>".replace("\0", "").encode("utf-8", "replace")
    try:
        root = lxml_html.document_fromstring(source, parser=lxml_html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):
        return ""
    etree.strip_elements(root, *UNSEEN, etree.Comment, etree.ProcessingInstruction, with_tail=False)
    parts: list[str] = []
    # not by changing the texts in place: lxml takes no control characters, which scraps hold
    for event, element in etree.iterwalk(root, events=("start", "end")):
        parts.append("\n" if element.tag in BLOCKS else "")
        parts.append((element.text if event == "start" else element.tail) or "")
    return "".join(parts)

"""Whether a page holds its text as it comes, or only a script that will write it.

A page without scripts is what it is. Of one with scripts, text is missing where none is found; where there is hardly
any (under `HARDLY` characters) and the page says why: it asks for JavaScript or for patience, or has nothing else on
it; and where there is little (under `LITTLE`) beside an empty element that frameworks fill. None of the 91 pages of the
public article-extraction benchmark is such a page; their shortest text has 367 characters. The price: a page that comes
with a text longer than that, and adds more by script, is not recognised. `render: always` is for such a site.
"""

from __future__ import annotations

import re

from lxml.html import HtmlElement
from scrapy.http import HtmlResponse

from steep.gather.decoding import Unreadable

HARDLY = 200
LITTLE = 1000
ENOUGH = 2000
"""Characters in paragraphs that need no closer look, which costs as much as ten such looks."""
NO_TEXT = "no main text"
HARDLY_ANY = "hardly any text, for want of JavaScript"
EMPTY = "an empty place for the text"

_ROOTS = {"root", "app", "__next", "__nuxt", "___gatsby", "svelte", "app-root", "react-root", "application", "q-app"}
_SCRIPT = re.compile(r"java\s?script", re.IGNORECASE)
_WAIT = re.compile(
    r"\s*(?:(?:page |content )?(?:is )?loading|please wait|wird geladen|(?:bitte|einen moment) (?:warten|bitte)"
    r"|chargement(?: en cours)?|cargando|caricamento(?: in corso)?|laden|carregando)\s*(?:\.*|…)\s*",
    re.IGNORECASE,
)
_UNSEEN = ("script", "style", "noscript", "template")


def missing_text(page: HtmlResponse) -> str | None:
    """Why the page is to be rendered; None where its text is there."""
    root = page.selector.root
    if next(root.iter("script"), None) is None:
        return None
    if sum(len(paragraph.text_content()) for paragraph in root.iter("p")) >= ENOUGH:
        return None
    from steep.gather.extraction import main_text

    try:
        length = len(main_text(page.text, page.url).text)
    except Unreadable:
        return NO_TEXT
    if length < HARDLY and (_asks_for_patience(root) or _letters(root) < 2 * HARDLY):
        return HARDLY_ANY
    return EMPTY if length < LITTLE and _has_empty_place(root) else None


def _asks_for_patience(root: HtmlElement) -> bool:
    """Or for JavaScript."""
    return any(_SCRIPT.search(text.text_content()) for text in root.iter("noscript")) or any(
        _WAIT.fullmatch(element.text or "") for element in root.iter("div", "p", "span", "h1", "h2")
    )


def _letters(root: HtmlElement) -> int:
    """Of what can be seen of the page without scripts."""
    texts = root.iter() if root.find("body") is None else root.find("body").iter()
    return sum(
        len((element.text or "").strip()) * (element.tag not in _UNSEEN) + len((element.tail or "").strip())
        for element in texts
        if isinstance(element.tag, str)
    )


def _has_empty_place(root: HtmlElement) -> bool:
    places = root.xpath("//*[@id]|//main|//app-root|//*[@role='main']")
    return any(
        not place.text_content().strip()
        for place in places
        if place.tag in ("main", "app-root") or place.get("role") == "main" or place.get("id", "").lower() in _ROOTS
    )

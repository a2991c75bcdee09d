"""Which pages are rendered: none of 91 real ones, and of made ones those whose text a script would write."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from scrapy.http import HtmlResponse

from servers.site import article, words
from steep.gather.missing import EMPTY, HARDLY_ANY, NO_TEXT, missing_text

SCRIPT = "<script src='/app.js'></script>"
BANNER = (
    "<div id='onetrust-consent-sdk'><p>We use cookies to give you the best kettles. By clicking accept you agree to "
    "the storing of cookies on your device, for kettles and for other things.</p><button>Accept all</button></div>"
)
NOSCRIPT = "<noscript>You need to enable JavaScript to run this app.</noscript>"
MENU = (
    "<nav>"
    + "".join(f"<a href='/{number}'>Kettles of the year {number}</a> " for number in range(1990, 2020))
    + "</nav>"
)


def why(html: str | bytes) -> str | None:
    body = html.encode() if isinstance(html, str) else html
    return missing_text(HtmlResponse("https://example.com/a", body=body, encoding="utf-8"))


def test_none_of_the_real_pages_is_rendered(steep_data: Path) -> None:
    pages = sorted((steep_data / "html" / "pages").glob("*.html.gz"))
    assert len(pages) == 91
    assert [page.name for page in pages if why(gzip.decompress(page.read_bytes()))] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"<div id='root'></div>{SCRIPT}", NO_TEXT),
        (f"<div id='app'></div>{NOSCRIPT}{SCRIPT}", NO_TEXT),
        (f"{MENU}<div id='__next'></div>{SCRIPT}", NO_TEXT),
        (f"{BANNER}<div id='root'></div>{SCRIPT}", NO_TEXT),
        (f"{MENU}<main><p>Loading…</p></main>{SCRIPT}", HARDLY_ANY),
        (f"<article><p>{words('A')}</p></article>{NOSCRIPT}{SCRIPT}", HARDLY_ANY),
        (f"<main></main><article><p>{words('A') * 4}</p></article>{SCRIPT}", EMPTY),
    ],
)
def test_a_page_that_waits_for_its_script_is_rendered_for_its_reason(body: str, reason: str) -> None:
    assert why(f"<html><head><title>App</title></head><body>{body}</body></html>") == reason


@pytest.mark.parametrize(
    "html",
    [
        "<html><body></body></html>",
        f"<html><body>{MENU}</body></html>",
        article("Kettles"),
        article("Kettles", extra=SCRIPT),
        article("Kettles", extra=SCRIPT + BANNER),
        f"<html><body>{MENU}<article><h1>Wren</h1><p>{words('the wren')}</p></article>{MENU}{SCRIPT}</body></html>",
    ],
    ids=["empty without script", "menu without script", "article", "with script", "with banner", "short with menus"],
)
def test_a_page_that_is_whole_is_not_rendered(html: str | bytes) -> None:
    assert why(html) is None

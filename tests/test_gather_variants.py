"""One crawl of a site on which every page has many addresses, and some pages have no end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from servers.pdfs import pdf
from servers.scripted import Script, Server, page, redirect, serving
from servers.site import article, gather, sitemap
from steep.gather.walk import PATIENCE
from steep.recipe.gather import WebSource
from steep.records import Document

TEXT = "The wren is the smallest kettle of the house and has been in its window for the longest time of all of them."


def canonical(address: str) -> str:
    return f"<link rel='canonical' href='{address}'>"


LINKS = (
    "/tea?utm_source=menu&utm_medium=x", "/tea?fbclid=1", "/tea;jsessionid=A1", "/tea?PHPSESSID=9", "/tea#top",
    "/print/tea", "/tea?sort=up", "/amp/tea", "/lost?view=print",
    "/a?x=1", "/b?x=1", "/about", "/history",
    "/session/", "/calendar/1", "/deeper/", "/wren.pdf", "/wren.pdf?utm_source=x", "/locked.pdf", "/scan.pdf",
)  # fmt: skip
TEMPLATED = [f"/shop/{number}" for number in range(6)]


def answers() -> dict[str, Script]:
    return {
        "/": page(article("Home", *LINKS, *TEMPLATED)),
        "/tea": page(article("Tea", head=canonical("/tea"))),
        "/tea?sort=up": page(article("Tea upwards", head=canonical("/tea?gclid=3"))),
        "/print/tea": page(article("Tea on paper", head=canonical("/tea"))),
        "/amp/tea": page(article("Tea on the phone", head=canonical("https://www.elsewhere.example/tea"))),
        "/lost?view=print": page(article("Lost", head=canonical("/lost"))),
        "/a?x=1": page(article("A", head=canonical("http://[bad"))),
        "/b?x=1": page(article("B", extra=canonical("/nowhere"))),
        "/about": page(article("About", head=canonical("/"))),
        "/history": page(article("History", head=canonical("/"))),
        **{path: page(article(f"Thing {path[-1]}", head=canonical("/shop"))) for path in TEMPLATED},
        "/session/": redirect("/session/;jsessionid=F00"),
        "/session/;jsessionid=F00": page(article("Session", "/session/more;jsessionid=F00")),
        "/session/more": redirect("/session/more?sid=4f3a9c0d7e5b4a6198fe"),
        "/session/more?sid=4f3a9c0d7e5b4a6198fe": page(article("More")),
        "/deeper/": page(article("Deeper", "deeper/")),
        "/wren.pdf": page(pdf([[TEXT]], metadata={"/Title": "The Wren"}), "application/pdf"),
        "/locked.pdf": page(pdf([[TEXT]], password="wren"), "application/octet-stream"),
        "/scan.pdf": page(pdf([[]]), "application/pdf"),
    }


class Endless(dict[str, Script]):
    """A calendar with a page for each month that will ever be, and a folder in each folder."""

    def get(self, path: str, default: Any = None) -> Any:
        if path.startswith("/calendar/"):
            month = int(path.rpartition("/")[2])
            return page(f"<html><body><h1>Month {month}</h1><a href='/calendar/{month + 1}'>next</a></body></html>")
        if re.fullmatch("/(deeper/)+", path):
            return page(article(f"Deeper {path.count('/')}", "deeper/"))
        return super().get(path, default)


@dataclass
class Crawl:
    server: Server
    documents: dict[str, Document]
    reasons: dict[str, str]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawl]:
    with serving({}) as server:
        server.answers = Endless(answers())
        server.answers["/sitemap.xml"] = page(sitemap(server.url("/listed?utm_campaign=x")), "application/xml")
        server.answers["/listed"] = page(article("Listed"))
        source = WebSource(web=server.url("/?utm_source=recipe"), sitemap=server.url("/sitemap.xml"), pdf=True)
        documents, failures = gather(source, tmp_path_factory.mktemp("state"))
        yield Crawl(
            server,
            {str(document.url).removeprefix(server.url("")): document for document in documents},
            {failure.where.removeprefix(server.url("")): failure.reason for failure in failures},
        )


def test_no_tracking_parameter_and_no_session_id_is_asked_for(crawl: Crawl) -> None:
    redirected = {"/session/;jsessionid=F00", "/session/more?sid=4f3a9c0d7e5b4a6198fe"}
    assert not [
        hit for hit in crawl.server.hits if re.search("utm|clid|sess|sid", hit.lower()) and "/session/" not in hit
    ]
    assert {hit for hit in crawl.server.hits if "sid=" in hit or ";" in hit} == redirected


def test_a_page_with_many_addresses_is_fetched_once(crawl: Crawl) -> None:
    assert crawl.server.hits.count("/tea") == 1
    assert crawl.server.hits.count("/") == 1
    assert crawl.server.hits.count("/wren.pdf") == 1


def test_of_pages_with_one_canonical_address_there_is_one_document(crawl: Crawl) -> None:
    assert crawl.documents["/tea"].title == "Tea"
    assert not {"/tea?sort=up", "/print/tea"} & set(crawl.documents)


def test_a_page_that_names_another_as_its_own_bears_its_address(crawl: Crawl) -> None:
    assert crawl.documents["/lost"].title == "Lost"
    assert "/lost" not in crawl.server.hits


@pytest.mark.parametrize("path", ["/amp/tea", "/a?x=1", "/b?x=1", "/about", "/history", *TEMPLATED])
def test_a_canonical_address_that_cannot_be_meant_is_ignored(crawl: Crawl, path: str) -> None:
    assert path in crawl.documents


def test_pages_behind_session_ids_are_gathered_under_their_plain_addresses(crawl: Crawl) -> None:
    assert crawl.documents["/session/"].title == "Session"
    assert crawl.documents["/session/more"].title == "More"


def test_an_endless_calendar_ends_and_is_told(crawl: Crawl) -> None:
    months = [hit for hit in crawl.server.hits if hit.startswith("/calendar/")]
    assert len(months) == 1 + PATIENCE
    why = f"not followed, nor others like it: {PATIENCE} in a row said nothing new but for numbers"
    assert crawl.reasons[f"/calendar/{len(months) + 1}"] == why


def test_a_folder_that_links_into_itself_is_left_after_a_few(crawl: Crawl) -> None:
    assert sorted(path for path in crawl.documents if path.startswith("/deeper/")) == ["/deeper/", "/deeper/deeper/"]


def test_the_text_and_the_title_of_a_pdf_are_a_document(crawl: Crawl) -> None:
    document = crawl.documents["/wren.pdf"]
    assert (document.text, document.title, document.meta) == (TEXT, "The Wren", {"pdf_pages": 1})
    assert document.robots == "no robots.txt"


def test_a_pdf_that_cannot_be_read_is_recorded_with_its_reason(crawl: Crawl) -> None:
    assert crawl.reasons["/locked.pdf"] == "encrypted: it needs a password"
    assert crawl.reasons["/scan.pdf"] == "no text in its 1 pages: a scan?"


def test_addresses_of_sitemaps_are_cleaned_too(crawl: Crawl) -> None:
    assert "/listed" in crawl.documents


def test_nothing_else_failed(crawl: Crawl) -> None:
    months = {path for path in crawl.reasons if path.startswith("/calendar/")}
    assert set(crawl.reasons) - months == {"/locked.pdf", "/scan.pdf"}
    assert all(urlsplit(str(document.url)).hostname == "127.0.0.1" for document in crawl.documents.values())

"""Crawls of small sites on loopback; one crawl of a site with every fault serves many tests."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servers.scripted import Script, Server, page, redirect, serving, status
from servers.site import LAST, article, gather, sitemap, start_gathering, titles
from steep.errors import SourceError
from steep.gather import gather_documents
from steep.gather.web import web_documents
from steep.recipe.gather import WebSource
from steep.records import Document, Failure

# ----------------------------------------------------------------------------------------- a site with every fault

LINKS = (
    "/good.html", "/latin.html", "/missing.html", "/broken.html", "/hangs.html", "/loop-a.html", "/huge.html",
    "/endless.html", "/secret/plan.html", "/leaflet", "/picture.png", "/menu.html", "/leaves.html", "/moved.html",
    "/reloads.html", "/good.html#again", "http://localhost:9/elsewhere.html", "/login/form.html",
    "mailto:a@example.com", "http://[bad", "http://127.0.0.1:port/", "ftp://127.0.0.1/x", "javascript:void(0)",
    "/nowhere.html", "/bomb.html", "/members.html", "/private.html", "/says-latin.html", "/says-utf-8.html",
    "/says-nothing.html", "/says-nonsense.html", "/damaged.html", "/banner.html", "/only-banner.html",
)  # fmt: skip
GERMAN = "Ein schöner Tag über Köln, naïve Gäste. "


BANNER = (
    "<div id='CybotCookiebotDialog'><h2>This website uses cookies</h2><p>We use cookies to personalise kettles and to "
    "measure how hot they get. You consent to them if you go on.</p><button>Allow all</button></div>"
    "<div class='c3'><p>And here we tell you once more, in a box without a name, that we store cookies on your device "
    "for kettles. You may accept that or not.</p><button>Accept all</button></div>"
)
BOMB = gzip.compress(b"<p>" + bytes(100_000_000), 1)


def hang(handler: Any) -> None:
    time.sleep(3)


def endless(handler: Any) -> None:
    """50 MB without saying so first."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    for _ in range(50):
        handler.wfile.write(b"<p>" + b"x" * 1_000_000)


@dataclass
class Crawl:
    server: Server
    source: WebSource
    state: Path
    documents: dict[str, Document]
    reasons: dict[str, str]
    order: list[str]
    seconds: float


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawl]:
    german = article("Café", body=GERMAN * 5)
    western = german.decode().encode("cp1252")
    answers: dict[str, Script] = {
        "/": page(article("Home", *LINKS)),
        "/robots.txt": page("User-agent: *\nDisallow: /secret/\n", "text/plain"),
        "/good.html": page(article("Good", "/", "/deeper.html")),
        "/deeper.html": page(article("Deeper")),
        "/latin.html": page(western, "text/html; charset=iso-8859-1"),
        "/says-latin.html": page(german, "text/html; charset=iso-8859-1"),
        "/says-utf-8.html": page(western, "text/html; charset=utf-8"),
        "/says-nothing.html": page(western, "text/html"),
        "/says-nonsense.html": page(german, "text/html; charset=klingon-1"),
        "/damaged.html": page(german.replace("Köln".encode(), b"K\xf6ln", 1), "text/html; charset=utf-8"),
        "/bomb.html": (200, {"Content-Type": "text/html", "Content-Encoding": "gzip"}, BOMB),
        "/banner.html": page(article("Banner", extra=BANNER)),
        "/only-banner.html": page(f"<html><body>{BANNER}</body></html>"),
        "/members.html": status(401),
        "/private.html": status(403),
        "/broken.html": status(500),
        "/hangs.html": hang,
        "/loop-a.html": redirect("/loop-b.html"),
        "/loop-b.html": redirect("/loop-a.html"),
        "/huge.html": page(b"<p>" + b"x" * 50_000_000),
        "/endless.html": endless,
        "/secret/plan.html": page(article("Secret")),
        "/leaflet": page(b"%PDF-1.4 " + b"x" * 2_000_000, "application/pdf"),
        "/menu.html": page(b"<html><body><img src='/picture.png' alt=''></body></html>"),
        "/leaves.html": redirect("http://localhost:9/elsewhere.html"),
        "/moved.html": redirect("/good.html"),
        "/nowhere.html": redirect("http://[bad"),
        "/empty.xml": page(b"", "application/xml"),
        "/reloads.html": page(
            article("Reloads").replace(b"<head>", b"<head><meta http-equiv=refresh content='60; url=/reloads.html'>")
        ),
        "/login/form.html": page(article("Login")),
    }
    with serving(answers) as server:
        server.answers["/sitemap.xml"] = page(sitemap(server.url("/pages.xml.gz"), index=True), "application/xml")
        pages = sitemap(server.url("/orphan.html"), "http://localhost:9/elsewhere.html")
        server.answers["/pages.xml.gz"] = page(gzip.compress(pages), "application/gzip")
        server.answers["/orphan.html"] = page(article("Orphan"))
        state = tmp_path_factory.mktemp("state")
        source = WebSource(
            web=server.url(),
            sitemap=[server.url("/sitemap.xml"), server.url("/empty.xml")],
            exclude=["/login/"],
            timeout=0.7,
            max_bytes=500_000,
            licence="own",
        )
        start = time.monotonic()
        documents, failures = gather(source, state)
        seconds = time.monotonic() - start
        path = {server.url(name): name for name in [*server.answers, "/missing.html"]}
        yield Crawl(
            server=server,
            source=source,
            state=state,
            documents={path[str(document.url)]: document for document in documents},
            reasons={path[failure.where]: failure.reason for failure in failures},
            order=[str(document.url) for document in documents],
            seconds=seconds,
        )


def test_every_page_that_links_or_a_sitemap_lead_to_is_a_document(crawl: Crawl) -> None:
    assert set(crawl.documents) == {
        "/", "/good.html", "/deeper.html", "/orphan.html", "/reloads.html", "/latin.html", "/says-latin.html",
        "/says-utf-8.html", "/says-nothing.html", "/says-nonsense.html", "/damaged.html", "/banner.html",
    }  # fmt: skip


def test_documents_come_in_the_order_of_their_addresses(crawl: Crawl) -> None:
    assert crawl.order == sorted(crawl.order)


def test_the_main_text_is_kept_without_menu_and_footer(crawl: Crawl) -> None:
    text = crawl.documents["/"].text
    assert text.startswith("This is what Home has to say")
    assert text.endswith(LAST)
    assert "good.html" not in text
    assert "All rights reserved" not in text


def test_a_cookie_banner_is_no_text(crawl: Crawl) -> None:
    assert "cookie" not in crawl.documents["/banner.html"].text
    assert crawl.documents["/banner.html"].text.endswith(LAST)


def test_title_author_and_date_come_from_the_page(crawl: Crawl) -> None:
    document = crawl.documents["/good.html"]
    assert (document.title, document.owner, document.source) == ("Good", "Ann Other", "127.0.0.1")
    assert document.published == datetime(2024, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("name", ["latin", "says-latin", "says-utf-8", "says-nothing", "says-nonsense", "damaged"])
def test_a_page_keeps_its_letters_whatever_encoding_it_declares(crawl: Crawl, name: str) -> None:
    assert GERMAN in crawl.documents[f"/{name}.html"].text


def test_each_document_tells_when_and_by_whose_leave_it_was_fetched(crawl: Crawl) -> None:
    document = crawl.documents["/good.html"]
    assert document.fetched is not None
    assert timedelta() <= datetime.now(UTC) - document.fetched < timedelta(minutes=5)
    assert document.robots == "allowed"
    assert document.licence == "own"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.html", "HTTP 404"),
        ("/broken.html", "HTTP 500"),
        ("/hangs.html", "no complete answer within 0.7 s"),
        ("/huge.html", "larger than 500,000 bytes"),
        ("/endless.html", "larger than 500,000 bytes"),
        ("/bomb.html", "larger than 500,000 bytes"),
        ("/members.html", "HTTP 401: needs a login"),
        ("/private.html", "HTTP 403: access refused"),
        ("/loop-a.html", "redirect loop: "),
        ("/secret/plan.html", "forbidden by robots.txt"),
        ("/leaves.html", "redirects to another site or an excluded address: http://localhost:9/elsewhere.html"),
        ("/menu.html", "no main text found"),
        ("/only-banner.html", "no main text found"),
        ("/nowhere.html", "Invalid IPv6 URL"),
        ("/empty.xml", "not a sitemap: "),
    ],
)
def test_a_page_that_fails_is_recorded_with_its_reason(crawl: Crawl, path: str, reason: str) -> None:
    assert crawl.reasons[path].startswith(reason)


def test_what_is_no_page_is_left_out_without_a_failure(crawl: Crawl) -> None:
    assert not {"/leaflet", "/picture.png"} & {*crawl.documents, *crawl.reasons}


def test_a_page_is_fetched_once_under_all_its_addresses(crawl: Crawl) -> None:
    assert crawl.server.hits.count("/good.html") == 1


def test_excluded_forbidden_and_binary_addresses_are_never_asked_for(crawl: Crawl) -> None:
    assert not {"/login/form.html", "/secret/plan.html", "/picture.png"} & set(crawl.server.hits)


def test_the_crawler_says_who_it_is(crawl: Crawl) -> None:
    agents = {headers["user-agent"] for headers in crawl.server.headers}
    assert agents == {"steep (+https://pypi.org/project/steep)"}


def test_the_crawler_opens_no_port(crawl: Crawl) -> None:
    (log,) = crawl.state.glob("web-*/crawl.log")
    assert "Spider closed (finished)" in log.read_text()
    assert "listening" not in log.read_text()


def test_a_finished_crawl_is_not_repeated(crawl: Crawl) -> None:
    hits = len(crawl.server.hits)
    documents, failures = gather(crawl.source, crawl.state)
    assert [document.url for document in documents] == crawl.order
    assert [document.fetched for document in documents] == [document.fetched for document in crawl.documents.values()]
    assert len(failures) == len(crawl.reasons)
    assert len(crawl.server.hits) == hits


def test_the_crawl_tells_how_many_pages_came_by_whose_leave(crawl: Crawl) -> None:
    told: dict[str, Any] = {}
    documents = web_documents(crawl.source, state=crawl.state, on_failure=lambda _: None, on_crawled=told.__setitem__)
    pages = len(list(documents)) + 2  # two are without text
    facts = {"fetched": pages, "rendered": {}, "robots": {"allowed": pages, "forbidden by robots.txt": 1}}
    assert told == {"127.0.0.1": facts}


def test_include_decides_what_is_kept_but_not_where_the_crawl_goes(crawl: Crawl) -> None:
    documents, _ = gather(crawl.source.model_copy(update={"include": ["/deeper"]}), crawl.state)
    assert titles(documents) == ["Deeper"]


# ------------------------------------------------------------------------------------------------ interruptions


def chain(pages: int) -> dict[str, Script]:
    """Each page links to the next three: several levels, several pages in each."""
    names = ["/", *(f"/{number:02}.html" for number in range(1, pages))]
    return {name: page(article(f"Page {at}", *names[at + 1 : at + 4])) for at, name in enumerate(names)}


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_after_an_interruption_no_finished_page_is_fetched_again(tmp_path: Path, blow: signal.Signals) -> None:
    with serving(chain(12), delay=0.06) as server:
        source = WebSource(web=server.url())
        process = start_gathering(source, tmp_path, start_new_session=True)
        while len(server.hits) < 7:
            time.sleep(0.02)
        if blow == signal.SIGINT:
            os.killpg(process.pid, blow)  # as a terminal does
        else:
            process.send_signal(blow)
        process.communicate(timeout=10)
        time.sleep(0.1)  # requests under way end
        before = len(server.hits)
        time.sleep(0.3)
        assert len(server.hits) == before, "the crawler outlived its parent"
        (record,) = tmp_path.glob("web-*/pages.jsonl")
        finished = {json.loads(line)["asked"] for line in record.read_text().splitlines(keepends=True) if "\n" in line}
        with record.open("ab") as stream:
            stream.write(b'{"asked": "half a li')
        server.delay = 0
        documents, failures = gather(source, tmp_path)
        again = {server.url(path) for path in server.hits[before:]}
    assert len(finished) >= 4
    assert not finished & again
    assert len(documents) == 12
    assert not failures


def test_the_page_limit_takes_the_same_pages_each_time(tmp_path: Path) -> None:
    with serving(chain(16)) as server:
        source = WebSource(web=server.url(), max_pages=6)
        documents, _ = gather(source, tmp_path)
    assert titles(documents) == [f"Page {number}" for number in range(6)]
    assert max(Counter(server.hits).values()) == 1
    assert len(server.hits) == 7  # and robots.txt


def test_links_are_followed_no_deeper_than_asked_for(tmp_path: Path) -> None:
    with serving(chain(9)) as server:
        documents, _ = gather(WebSource(web=server.url(), max_depth=1), tmp_path)
    assert titles(documents) == ["Page 0", "Page 1", "Page 2", "Page 3"]


def test_a_site_out_of_reach_is_named_and_tried_again_by_the_next_run(tmp_path: Path) -> None:
    with serving({}) as server:
        pass
    source = WebSource(web=server.url())
    with pytest.raises(SourceError) as error:
        gather(source, tmp_path)
    why = "taken for forbidden, since the site's robots.txt cannot be had: connection refused"
    assert str(error.value) == f"nothing was gathered: 1 failed:\n  {server.url()}: {why}"
    with serving({"/": page(article("Home"))}, port=server.port):
        documents, _ = gather(source, tmp_path)
    assert titles(documents) == ["Home"]


def test_a_full_disk_stops_the_crawl_with_its_reason(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with serving(chain(16)) as server:
        process = start_gathering(WebSource(web=server.url()), tmp_path, preexec_fn=limit)
        said = process.communicate(timeout=20)[1].decode()
    assert "the crawl of 127.0.0.1 stopped (OSError: [Errno 27] File too large); the same command goes on" in said


def test_the_crawl_delay_of_robots_txt_is_kept(tmp_path: Path) -> None:
    robots = (200, {"Content-Type": "text/plain"}, b"User-agent: *\nCrawl-delay: 1.5\n")
    with serving({**chain(2), "/robots.txt": robots}) as server:
        gather(WebSource(web=server.url()), tmp_path)
    assert server.hits == ["/robots.txt", "/", "/01.html"]
    assert all(later - earlier > 1.0 for earlier, later in itertools.pairwise(server.times))


def test_start_addresses_may_be_sitemaps_and_what_is_neither_page_nor_sitemap_is_left_out(tmp_path: Path) -> None:
    answers: dict[str, Script] = {
        "/": page(article("Home")),
        "/a.html": page(article("A")),
        "/b.html": page(article("B")),
        "/a.pdf": page("%PDF-1.4 nothing", "application/pdf"),
        "/empty": page(b"", "application/pdf"),
        "/rss": page("<?xml version='1.0'?><rss><channel/></rss>", "application/pdf"),
    }
    with serving(answers) as server:
        server.answers["/all.xml"] = page(sitemap(server.url("/pages.xml"), index=True), "application/xml")
        server.answers["/pages.xml"] = page(sitemap(server.url("/a.html")), "application/xml")
        server.answers["/taken-for-html"] = page(sitemap(server.url("/b.html")), "text/html")
        starts = ("/all.xml", "/taken-for-html", "/", "/a.pdf", "/empty", "/rss")
        documents, failures = gather(WebSource(web=[*map(server.url, starts)]), tmp_path)
    assert titles(documents) == ["Home", "A", "B"]
    assert not failures


def test_what_is_to_be_hidden_leaves_in_no_address_and_no_reason(tmp_path: Path) -> None:
    failures: list[Failure] = []
    with serving({"/?key=s3cret": page(article("Home", "/gone?key=s3cret", "/loop?key=s3cret"))}) as server:
        server.answers["/loop?key=s3cret"] = redirect("/loop?key=s3cret")
        documents = list(
            gather_documents(
                [WebSource(web=server.url("/?key=s3cret"))],
                folder=tmp_path,
                state=tmp_path,
                on_failure=failures.append,
                hide=lambda text: text.replace("s3cret", "${KEY}"),
            )
        )
    assert "/gone?key=s3cret" in server.hits
    assert [document.url for document in documents] == [server.url("/?key=${KEY}")]
    assert {failure.where for failure in failures} == {server.url(f"/{name}?key=${{KEY}}") for name in ("gone", "loop")}
    assert "s3cret" not in str(failures)


def test_a_module_in_the_users_folder_is_not_taken_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scrapy.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with serving({"/": page(article("Home"))}) as server:
        documents, _ = gather(WebSource(web=server.url()), tmp_path)
    assert titles(documents) == ["Home"]

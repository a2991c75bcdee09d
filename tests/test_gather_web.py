"""Crawls of small sites on loopback; one crawl of a site with every fault serves many tests."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from steep.errors import SourceError
from steep.gather import gather_documents
from steep.recipe.gather import WebSource
from steep.records import Document, Failure

Answer = tuple[int, dict[str, str], bytes]
LAST = "The last sentence of this page."


def article(name: str, *links: str, body: str = "") -> bytes:
    sentence = f"This is what {name} has to say about kettles, and it takes more than a few words to say it. "
    menu = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    return (
        f"<html><head><title>{name}</title><meta name='author' content='Ann Other'>"
        "<meta property='article:published_time' content='2024-05-06T07:08:09Z'></head>"
        f"<body><nav><ul>{menu}</ul></nav><article><h1>{name}</h1><p>{sentence * 6}</p><p>{body or sentence * 3}</p>"
        f"<p>{LAST}</p></article><footer>All rights reserved, mind the whistle.</footer></body></html>"
    ).encode()


def html(body: bytes, kind: str = "text/html; charset=utf-8") -> Answer:
    return 200, {"Content-Type": kind}, body


def redirect(to: str) -> Answer:
    return 302, {"Location": to, "Content-Type": "text/html"}, b""


@dataclass
class Server:
    answers: dict[str, Answer | Callable[[Any], None]]
    delay: float = 0.0
    hits: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    port: int = 0

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def serving(answers: dict[str, Answer | Callable[[Any], None]], delay: float = 0.0, port: int = 0) -> Iterator[Server]:
    server = Server(answers, delay)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.hits.append(self.path)
            server.times.append(time.monotonic())
            server.agents.add(self.headers["User-Agent"])
            time.sleep(server.delay)
            answer = server.answers.get(self.path, (404, {"Content-Type": "text/html"}, b"not here"))
            if callable(answer):
                answer(self)
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the crawler hung up, as it should
                super().handle()

    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    server.port = http.server_port
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def gather(source: WebSource, state: Path) -> tuple[list[Document], list[Failure]]:
    failures: list[Failure] = []
    documents = gather_documents([source], folder=state, state=state, on_failure=failures.append)
    return list(documents), failures


# ----------------------------------------------------------------------------------------- a site with every fault

LINKS = (
    "/good.html", "/latin.html", "/missing.html", "/broken.html", "/hangs.html", "/loop-a.html", "/huge.html",
    "/endless.html", "/secret/plan.html", "/leaflet", "/picture.png", "/menu.html", "/leaves.html", "/moved.html",
    "/reloads.html", "/good.html#again", "http://localhost:9/elsewhere.html", "/login/form.html",
    "mailto:a@example.com", "http://[bad", "http://127.0.0.1:port/", "ftp://127.0.0.1/x", "javascript:void(0)",
    "/nowhere.html",
)  # fmt: skip


def hang(handler: Any) -> None:
    time.sleep(3)


def endless(handler: Any) -> None:
    """50 MB without saying so first."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    for _ in range(50):
        handler.wfile.write(b"<p>" + b"x" * 1_000_000)


def sitemap(*urls: str, index: bool = False) -> bytes:
    outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    entries = "".join(f"<{inner}><loc>{url}</loc></{inner}>" for url in urls)
    return f'<{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{outer}>'.encode()


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
    latin = article("Café", body="Ein schöner Tag über Köln, naïve Gäste. " * 5)
    answers: dict[str, Answer | Callable[[Any], None]] = {
        "/": html(article("Home", *LINKS)),
        "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret/\n"),
        "/good.html": html(article("Good", "/", "/deeper.html")),
        "/deeper.html": html(article("Deeper")),
        "/latin.html": html(latin.decode().encode("latin-1"), "text/html; charset=iso-8859-1"),
        "/broken.html": (500, {"Content-Type": "text/html"}, b"oops"),
        "/hangs.html": hang,
        "/loop-a.html": redirect("/loop-b.html"),
        "/loop-b.html": redirect("/loop-a.html"),
        "/huge.html": html(b"<p>" + b"x" * 50_000_000),
        "/endless.html": endless,
        "/secret/plan.html": html(article("Secret")),
        "/leaflet": html(b"%PDF-1.4 " + b"x" * 2_000_000, "application/pdf"),
        "/menu.html": html(b"<html><body><img src='/picture.png' alt=''></body></html>"),
        "/leaves.html": redirect("http://localhost:9/elsewhere.html"),
        "/moved.html": redirect("/good.html"),
        "/nowhere.html": redirect("http://[bad"),
        "/empty.xml": html(b"", "application/xml"),
        "/reloads.html": html(
            article("Reloads").replace(b"<head>", b"<head><meta http-equiv=refresh content='60; url=/reloads.html'>")
        ),
        "/login/form.html": html(article("Login")),
    }
    with serving(answers) as server:
        answers["/sitemap.xml"] = html(sitemap(server.url("/pages.xml.gz"), index=True), "application/xml")
        pages = sitemap(server.url("/orphan.html"), "http://localhost:9/elsewhere.html")
        answers["/pages.xml.gz"] = html(gzip.compress(pages), "application/gzip")
        answers["/orphan.html"] = html(article("Orphan"))
        state = tmp_path_factory.mktemp("state")
        source = WebSource(
            web=server.url(),
            sitemap=[server.url("/sitemap.xml"), server.url("/empty.xml")],
            exclude=["/login/"],
            timeout=0.7,
            max_bytes=500_000,
        )
        start = time.monotonic()
        documents, failures = gather(source, state)
        seconds = time.monotonic() - start
        path = {server.url(name): name for name in [*answers, "/missing.html"]}
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
    assert set(crawl.documents) == {"/", "/good.html", "/deeper.html", "/latin.html", "/orphan.html", "/reloads.html"}


def test_documents_come_in_the_order_of_their_addresses(crawl: Crawl) -> None:
    assert crawl.order == sorted(crawl.order)


def test_the_main_text_is_kept_without_menu_and_footer(crawl: Crawl) -> None:
    text = crawl.documents["/"].text
    assert text.startswith("Home")
    assert text.endswith(LAST)
    assert "good.html" not in text
    assert "All rights reserved" not in text


def test_title_author_and_date_come_from_the_page(crawl: Crawl) -> None:
    document = crawl.documents["/good.html"]
    assert (document.title, document.owner, document.source) == ("Good", "Ann Other", "127.0.0.1")
    assert document.published == datetime(2024, 5, 6, tzinfo=UTC)


def test_a_latin_1_page_keeps_its_letters(crawl: Crawl) -> None:
    assert "schöner Tag über Köln, naïve Gäste" in crawl.documents["/latin.html"].text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.html", "HTTP 404"),
        ("/broken.html", "HTTP 500"),
        ("/hangs.html", "no complete answer within 0.7 s"),
        ("/huge.html", "larger than 500,000 bytes"),
        ("/endless.html", "larger than 500,000 bytes"),
        ("/loop-a.html", "redirect loop: "),
        ("/secret/plan.html", "Forbidden by robots.txt"),
        ("/leaves.html", "redirects to another site or an excluded address: http://localhost:9/elsewhere.html"),
        ("/menu.html", "no main text found"),
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
    assert crawl.server.agents == {"steep (+https://pypi.org/project/steep)"}


def test_the_crawler_opens_no_port(crawl: Crawl) -> None:
    (log,) = crawl.state.glob("web-*/crawl.log")
    assert "Spider closed (finished)" in log.read_text()
    assert "listening" not in log.read_text()


def test_a_finished_crawl_is_not_repeated(crawl: Crawl) -> None:
    hits = len(crawl.server.hits)
    documents, failures = gather(crawl.source, crawl.state)
    assert [document.url for document in documents] == crawl.order
    assert len(failures) == len(crawl.reasons)
    assert len(crawl.server.hits) == hits


def test_include_decides_what_is_kept_but_not_where_the_crawl_goes(crawl: Crawl) -> None:
    documents, _ = gather(crawl.source.model_copy(update={"include": ["/deeper"]}), crawl.state)
    assert [document.title for document in documents] == ["Deeper"]


# ------------------------------------------------------------------------------------------------ interruptions


def chain(pages: int) -> dict[str, Answer | Callable[[Any], None]]:
    """Each page links to the next three: several levels, several pages in each."""
    names = ["/", *(f"/{number:02}.html" for number in range(1, pages))]
    return {name: html(article(f"Page {at}", *names[at + 1 : at + 4])) for at, name in enumerate(names)}


def start_gathering(source: WebSource, state: Path, **options: Any) -> subprocess.Popen[bytes]:
    program = f"""
import pathlib, steep.gather, steep.recipe
source = steep.recipe.WebSource.model_validate({source.model_dump(exclude_unset=True)!r})
state = pathlib.Path({str(state)!r})
list(steep.gather.gather_documents([source], folder=state, state=state, on_failure=print))
"""
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, **options)


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
    assert [document.title for document in documents] == [f"Page {number}" for number in range(6)]
    assert max(Counter(server.hits).values()) == 1
    assert len(server.hits) == 7  # and robots.txt


def test_a_site_out_of_reach_is_named_and_tried_again_by_the_next_run(tmp_path: Path) -> None:
    with serving({}) as server:
        pass
    source = WebSource(web=server.url())
    with pytest.raises(SourceError) as error:
        gather(source, tmp_path)
    assert str(error.value) == f"nothing was gathered: 1 failed:\n  {server.url()}: connection refused"
    with serving({"/": html(article("Home"))}, port=server.port):
        documents, _ = gather(source, tmp_path)
    assert [document.title for document in documents] == ["Home"]


def test_a_full_disk_stops_the_crawl_with_its_reason(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with serving(chain(16)) as server:
        process = start_gathering(WebSource(web=server.url()), tmp_path, preexec_fn=limit)
        said = process.communicate(timeout=20)[1].decode()
    assert "the crawl of 127.0.0.1 stopped (OSError: [Errno 27] File too large); the same command goes on" in said


def test_the_crawl_delay_of_robots_txt_is_kept(tmp_path: Path) -> None:
    robots = (200, {"Content-Type": "text/plain"}, b"User-agent: *\nCrawl-delay: 0.8\n")
    with serving({**chain(2), "/robots.txt": robots}) as server:
        gather(WebSource(web=server.url()), tmp_path)
    assert server.hits == ["/robots.txt", "/", "/01.html"]
    assert all(later - earlier > 0.75 for earlier, later in itertools.pairwise(server.times))


@pytest.mark.parametrize("kind", ["application/xml", "text/html"])
def test_a_start_address_may_be_a_sitemap(tmp_path: Path, kind: str) -> None:
    with serving({"/a.html": html(article("A")), "/b.html": html(article("B"))}) as server:
        server.answers["/all.xml"] = html(sitemap(server.url("/pages.xml"), index=True), kind)
        server.answers["/pages.xml"] = html(sitemap(server.url("/a.html"), server.url("/b.html")), kind)
        documents, failures = gather(WebSource(web=server.url("/all.xml")), tmp_path)
    assert [document.title for document in documents] == ["A", "B"]
    assert not failures


@pytest.mark.parametrize("body", [b"%PDF-1.4 nothing", b"", b"<?xml version='1.0'?><rss><channel/></rss>"])
def test_a_start_address_that_is_neither_page_nor_sitemap_is_left_out(tmp_path: Path, body: bytes) -> None:
    with serving({"/a.pdf": html(body, "application/pdf"), "/": html(article("Home"))}) as server:
        documents, failures = gather(WebSource(web=[server.url("/a.pdf"), server.url("/")]), tmp_path)
    assert [document.title for document in documents] == ["Home"]
    assert not failures


def test_what_is_to_be_hidden_leaves_in_no_address_and_no_reason(tmp_path: Path) -> None:
    failures: list[Failure] = []
    with serving({"/?key=s3cret": html(article("Home", "/gone?key=s3cret", "/loop?key=s3cret"))}) as server:
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
    with serving({"/": html(article("Home"))}) as server:
        documents, _ = gather(WebSource(web=server.url()), tmp_path)
    assert [document.title for document in documents] == ["Home"]

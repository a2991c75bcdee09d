"""How the crawler treats servers that are busy, and sites whose robots.txt cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from servers.scripted import Script, Server, page, serving, status
from servers.site import article, gather, titles
from steep.errors import SourceError
from steep.recipe.gather import WebSource
from steep.records import Failure


def busy(handler: Any) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    handler.send_response(503)
    handler.send_header("Retry-After", moment)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@dataclass
class Crawl:
    titles: list[str | None]
    failures: list[Failure]
    server: Server
    alone: dict[str, float]
    """How long the server was left alone after the first request for each address."""


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    answers: dict[str, Script | list[Script]] = {
        "/": page(article("Home", "/closed", "/by-seconds", "/by-date", "/unsaid", "/x", "/y")),
        "/closed": status(503, Retry_After="86400"),
        "/by-seconds": [status(429, Retry_After="1"), page(article("A"))],
        "/by-date": [busy, page(article("B"))],
        "/unsaid": [status(429), page(article("C"))],
        "/x": page(article("X")),
        "/y": page(article("Y")),
    }
    with serving(answers) as server:
        documents, failures = gather(WebSource(web=server.url()), tmp_path_factory.mktemp("state"))
    alone: dict[str, float] = {}
    for hit, now, later in zip(server.hits, server.times, server.times[1:], strict=False):
        alone.setdefault(hit, later - now)
    return Crawl(titles(documents), failures, server, alone)


def test_what_a_busy_server_refuses_at_first_is_gathered(crawl: Crawl) -> None:
    assert sorted(map(str, crawl.titles)) == ["A", "B", "C", "Home", "X", "Y"]


def test_a_page_that_is_unavailable_for_long_is_not_asked_for_again(crawl: Crawl) -> None:
    assert [(failure.where, failure.reason) for failure in crawl.failures] == [
        (crawl.server.url("/closed"), "HTTP 503")
    ]
    assert crawl.server.hits.count("/closed") == 1


@pytest.mark.parametrize("path", ["/by-seconds", "/by-date", "/unsaid"])
def test_a_server_that_asks_for_patience_is_left_alone_as_a_whole(crawl: Crawl, path: str) -> None:
    assert crawl.alone[path] >= 0.98


def test_after_too_many_requests_the_pace_is_halved_for_good(crawl: Crawl) -> None:
    assert crawl.alone["/x"] >= 0.35  # after two of them; 0.05 without


def test_a_server_that_wants_to_be_left_alone_for_long_ends_the_crawl_and_the_next_run_goes_on(tmp_path: Path) -> None:
    answers: dict[str, Script | list[Script]] = {
        "/": page(article("Home", "/a", "/b")),
        "/a": [status(429, Retry_After="3600"), page(article("A"))],
        "/b": page(article("B")),
    }
    with serving(answers) as server:
        with pytest.raises(SourceError) as error:
            gather(WebSource(web=server.url()), tmp_path)
        assert str(error.value).startswith(
            "the crawl of 127.0.0.1 stopped (the server asks to come back in 3,600 s); the same command goes on"
        )
        documents, failures = gather(WebSource(web=server.url()), tmp_path)
    assert titles(documents) == ["Home", "A", "B"]
    assert not failures
    assert server.hits.count("/") == 1


def test_without_a_robots_txt_that_can_be_had_nothing_is_fetched(tmp_path: Path) -> None:
    answers = {"/": page(article("Home")), "/robots.txt": status(503)}
    with serving(answers) as server, pytest.raises(SourceError) as error:
        gather(WebSource(web=server.url()), tmp_path)
    assert "since the site's robots.txt cannot be had: HTTP 503" in str(error.value)
    assert set(server.hits) == {"/robots.txt"}

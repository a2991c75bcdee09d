"""Requests over real HTTP to a server that fails in every way that servers do."""

from __future__ import annotations

import gzip
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from servers.scripted import Server, page, redirect, serving, status
from steep.gather import http
from steep.gather.decoding import Unreadable
from steep.gather.http import Client, Kept, Reply, follow
from steep.gather.robots import Robots

AGENT = "tester/1.0"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.002)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(timeout=5, user_agent=AGENT) as client:
        yield client


def gaps(server: Server) -> list[float]:
    return [after - before for before, after in itertools.pairwise(server.times)]


# -------------------------------------------------------------------------------------------------- trying again


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_fails_in_passing_is_asked_for_again(client: Client, code: int) -> None:
    with serving({"/": [status(code), status(code), page("here")]}) as server:
        assert client.get(server.url()).body == b"here"
    assert len(server.hits) == 3


def test_each_wait_is_three_times_the_last(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.1)
    with serving({"/": [status(503), status(503), page("here")]}) as server:
        client.get(server.url())
    first, second = gaps(server)
    assert first >= 0.1
    assert second >= 0.3


def test_after_five_tries_the_last_answer_is_what_there_is(client: Client) -> None:
    with serving({"/": status(503)}) as server:
        assert client.get(server.url()).status == 503
    assert len(server.hits) == 5


def test_what_is_not_there_is_asked_for_once(client: Client) -> None:
    with serving({}) as server:
        assert client.get(server.url()).status == 404
    assert len(server.hits) == 1


def test_the_server_says_how_many_seconds_to_wait(client: Client) -> None:
    with serving({"/": [status(429, Retry_After="1"), page("here")]}) as server:
        assert client.get(server.url()).status == 200
    assert gaps(server)[0] >= 1.0


def test_the_server_says_until_when_to_wait(client: Client) -> None:
    until = format_datetime(
        datetime.now(UTC) + timedelta(seconds=2), usegmt=True
    )  # whole seconds: at least one from now
    with serving({"/": [status(503, Retry_After=until), page("here")]}) as server:
        assert client.get(server.url()).status == 200
    assert gaps(server)[0] >= 0.9


def test_a_server_that_wants_an_hour_is_not_waited_for(client: Client) -> None:
    begin = time.monotonic()
    with serving({"/": status(429, Retry_After="3600")}) as server:
        assert client.get(server.url()).status == 429
    assert len(server.hits) == 1
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("nonsense", ["soon", "-1", "²", "Mon, 99 Foo 2024"])
def test_a_wait_that_cannot_be_read_is_left_to_the_client(client: Client, nonsense: str) -> None:
    answer = (503, {"Retry-After": nonsense.encode().decode("latin-1")}, b"")
    with serving({"/": [answer, page("here")]}) as server:
        assert client.get(server.url()).status == 200


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"half")


def test_an_answer_that_was_cut_short_is_asked_for_again(client: Client) -> None:
    with serving({"/": [cut_short, page("whole")]}) as server:
        assert client.get(server.url()).body == b"whole"


def test_a_lost_connection_is_named_after_five_tries(client: Client) -> None:
    with serving({"/": cut_short}) as server, pytest.raises(Unreadable, match=r"^connection lost, tried 5 times$"):
        client.get(server.url())
    assert len(server.hits) == 5


def test_a_refused_connection_is_named(client: Client) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(Unreadable, match=r"^no connection \(.*refused\), tried 5 times$"):
            client.get(f"http://127.0.0.1:{held.getsockname()[1]}/")


# --------------------------------------------------------------------------------------------------------- limits


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drips(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("server_is", [silent, drips])
def test_a_slow_answer_ends_with_a_reason(server_is: Callable[[BaseHTTPRequestHandler], None]) -> None:
    begin = time.monotonic()
    with serving({"/": server_is}) as server, Client(timeout=0.3, user_agent=AGENT, tries=2) as client:
        with pytest.raises(Unreadable, match=r"^no complete answer within 0\.3 s, tried 2 times$"):
            client.get(server.url())
        assert time.monotonic() - begin < 2


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x" * 100_000)


def test_a_page_without_end_is_cut_off_and_not_asked_for_again(client: Client) -> None:
    with serving({"/": endless}) as server, pytest.raises(Unreadable, match=r"^larger than 10,000,000 bytes$"):
        client.get(server.url())
    assert len(server.hits) == 1


def test_the_limit_is_on_what_is_unpacked(client: Client) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    with (
        serving({"/": (200, {"Content-Encoding": "gzip"}, bomb)}) as server,
        pytest.raises(Unreadable, match=r"^larger than"),
    ):
        client.get(server.url())


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_codings_that_unpack_to_any_size_are_refused(client: Client, coding: str) -> None:
    body = gzip.compress(gzip.compress(b"x"))
    with (
        serving({"/": (200, {"Content-Encoding": coding}, body)}) as server,
        pytest.raises(Unreadable, match=f"^compressed as {coding}, which was not asked for$"),
    ):
        client.get(server.url())


def test_a_compressed_page_is_unpacked(client: Client) -> None:
    with serving({"/": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"kettle"))}) as server:
        assert client.get(server.url()).body == b"kettle"


def test_no_cookie_is_kept(client: Client) -> None:
    with serving({"/": (200, {"Set-Cookie": "session=1"}, b"")}) as server:
        client.get(server.url())
        client.get(server.url())
    assert not any("cookie" in headers for headers in server.headers)


def test_the_reader_names_itself_in_any_script() -> None:
    with serving({"/": page("")}) as server, Client(timeout=5, user_agent="käse") as client:
        client.get(server.url())
    assert server.headers[0]["user-agent"].encode("latin-1").decode() == "käse"


@pytest.mark.parametrize("address", ["file:///etc/hosts", "http://127.0.0.1:port/", "nothing", "http://"])
def test_what_is_no_web_address_is_refused(client: Client, address: str) -> None:
    with pytest.raises(Unreadable, match=r"^not a web address that can be asked for"):
        client.get(address)


# ------------------------------------------------------------------------------------------------------- redirects


def test_redirects_are_followed_to_where_they_lead(client: Client) -> None:
    with serving({"/": redirect("/b/"), "/b/": redirect("c", 308), "/b/c": page("here")}) as server:
        reply = follow(server.url(), client.get)
        assert (reply.url, reply.body) == (server.url("/b/c"), b"here")


def test_redirects_in_a_circle_end(client: Client) -> None:
    with (
        serving({"/": redirect("/b"), "/b": redirect("/")}) as server,
        pytest.raises(Unreadable, match=r"^redirect loop"),
    ):
        follow(server.url(), client.get)
    assert len(server.hits) == 2


def test_redirects_without_end_end(client: Client) -> None:
    answers = {f"/{n}": redirect(f"/{n + 1}") for n in range(50)}
    with serving(answers) as server, pytest.raises(Unreadable, match=r"^redirect loop"):
        follow(server.url("/0"), client.get)
    assert len(server.hits) == 11


# ------------------------------------------------------------------------------------------------- answers on disk


def reply(body: bytes = b"a\nb\n", **headers: str) -> Reply:
    return Reply("http://h/", 200, headers, body, datetime(2024, 5, 6, tzinfo=UTC), "allowed")


def test_what_is_kept_is_not_fetched_again(tmp_path: Path) -> None:
    Kept(tmp_path / "new").once("key", reply)
    again = Kept(tmp_path / "new").once("key", lambda: pytest.fail("fetched again"))
    assert (again.url, again.body, again.fetched, again.robots) == ("http://h/", b"a\nb\n", reply().fetched, "allowed")


def test_the_kind_of_an_answer_is_kept_but_no_other_header(tmp_path: Path) -> None:
    Kept(tmp_path).once("key", lambda: reply(**{"content-type": "text/html", "x-secret": "hidden"}))
    assert Kept(tmp_path).once("key", reply).kind == "text/html"
    assert b"hidden" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_what_was_not_written_to_the_end_is_fetched_again(tmp_path: Path) -> None:
    Kept(tmp_path).once("key", reply)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"")
    assert Kept(tmp_path).once("key", lambda: reply(b"new")).body == b"new"


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    def fail() -> Reply:
        raise Unreadable("HTTP 500")

    with pytest.raises(Unreadable):
        Kept(tmp_path).once("key", fail)
    assert Kept(tmp_path).once("key", reply).status == 200


# -------------------------------------------------------------------------------------------------------- robots.txt


def rules(text: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/plain"}, text.encode()


def test_a_page_that_robots_txt_allows_is_fetched_and_the_decision_noted(client: Client) -> None:
    with serving({"/robots.txt": rules("User-agent: *\nDisallow: /secret"), "/a": page("a")}) as server:
        assert Robots(client, AGENT).get(server.url("/a")).robots == "allowed"


def test_without_robots_txt_all_is_allowed(client: Client) -> None:
    with serving({"/a": page("a")}) as server:
        assert Robots(client, AGENT).get(server.url("/a")).robots == "no robots.txt"


def test_a_forbidden_page_is_not_asked_for(client: Client) -> None:
    with (
        serving({"/robots.txt": rules("User-agent: *\nDisallow: /secret"), "/secret": page("a")}) as server,
        pytest.raises(Unreadable, match=r"^forbidden by robots\.txt$"),
    ):
        Robots(client, AGENT).get(server.url("/secret"))
    assert server.hits == ["/robots.txt"]


def test_a_redirect_to_a_forbidden_page_is_not_followed(client: Client) -> None:
    answers = {
        "/robots.txt": rules("User-agent: *\nDisallow: /secret"),
        "/a": redirect("/secret"),
        "/secret": page("a"),
    }
    with serving(answers) as server, pytest.raises(Unreadable, match="forbidden"):
        follow(server.url("/a"), Robots(client, AGENT).get)
    assert server.hits == ["/robots.txt", "/a"]


def test_rules_for_the_reader_by_its_name_count(client: Client) -> None:
    with (
        serving({"/robots.txt": rules("User-agent: tester\nDisallow: /\n\nUser-agent: *\nAllow: /")}) as server,
        pytest.raises(Unreadable, match="forbidden"),
    ):
        Robots(client, AGENT).get(server.url("/a"))


def test_where_robots_txt_cannot_be_had_nothing_is_fetched(client: Client) -> None:
    with serving({"/robots.txt": status(503), "/a": page("a")}) as server:
        robots = Robots(client, AGENT)
        for _ in range(2):
            with pytest.raises(
                Unreadable, match=r"^taken for forbidden, since .* robots\.txt cannot be had: HTTP 503$"
            ):
                robots.get(server.url("/a"))
    assert server.hits == ["/robots.txt"] * 5  # the second page costs nothing


def test_robots_txt_is_asked_for_once(client: Client) -> None:
    with serving({"/robots.txt": rules(""), "/a": page("a"), "/b": page("b")}) as server:
        robots = Robots(client, AGENT)
        robots.get(server.url("/a"))
        robots.get(server.url("/b"))
    assert server.hits == ["/robots.txt", "/a", "/b"]


def test_the_crawl_delay_is_kept(client: Client) -> None:
    with serving({"/robots.txt": rules("User-agent: *\nCrawl-delay: 0.6"), "/a": page("a"), "/b": page("b")}) as server:
        robots = Robots(client, AGENT)
        robots.get(server.url("/a"))
        robots.get(server.url("/b"))
    assert gaps(server)[-1] >= 0.6


def test_a_site_rests_as_long_as_its_answer_took(client: Client) -> None:
    def takes_time(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        handler.send_response(200)
        handler.end_headers()

    with serving({"/a": takes_time, "/b": page("b")}) as server:
        robots = Robots(client, AGENT)
        robots.get(server.url("/a"))
        robots.get(server.url("/b"))
    assert gaps(server)[-1] >= 0.6

"""News from a loopback mediastack: what is asked for and paid for, what goes wrong, and where the key goes."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from servers import scripted
from servers.mediastack import KEY, VARIABLE, Mediastack, article, dripping, error, serving, slow
from steep.errors import SourceError
from steep.gather import gather_documents, http
from steep.gather.news import news_documents
from steep.recipe.gather import NewsSource
from steep.records import Document, Failure


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.002)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def source(server: Mediastack, **options: Any) -> NewsSource:
    return NewsSource(news="mediastack", access_key=VARIABLE, **{"address": server.address, **options})


def gather(asked: NewsSource, state: Path) -> tuple[list[Document], list[Failure]]:
    failures: list[Failure] = []
    return list(news_documents(asked, state=state, on_failure=failures.append)), failures


def urls(documents: list[Document]) -> list[str]:
    return [str(document.url) for document in documents]


def many(count: int) -> list[dict[str, Any]]:
    return [article(number) for number in range(count)]


# ------------------------------------------------------------------------------------------------ what is asked for


def test_an_article_is_its_description_with_what_the_service_says_of_it(tmp_path: Path) -> None:
    with serving(Mediastack([article(3, language="de")])) as server:
        ((document,), failures) = gather(source(server, licence="CC BY 4.0"), tmp_path)
    assert document.text.startswith("The harbour reports that kettle 3")
    assert document.title == "Kettle 3 is on the boil"
    assert (document.source, document.url) == ("mediastack", "https://news.example.com/3")
    assert document.published == datetime(2024, 5, 6, 9, tzinfo=UTC)
    assert (document.owner, document.licence, document.robots) == ("Author 3", "cc-by-4.0", None)
    assert document.fetched is not None
    assert document.meta["publisher"] == "Harbour News"
    assert document.meta["language"] == "de"
    assert not failures


def test_pages_of_100_are_fetched_until_there_are_as_many_as_wanted(tmp_path: Path) -> None:
    with serving(Mediastack(many(400))) as server:
        documents, _ = gather(source(server, limit=250), tmp_path)
    assert urls(documents) == [f"https://news.example.com/{number}" for number in range(250)]
    assert server.offsets == [0, 100, 200]
    assert {request["limit"] for request in server.requests} == {"100"}


def test_pages_are_fetched_until_there_are_no_more(tmp_path: Path) -> None:
    with serving(Mediastack(many(143))) as server:
        documents, _ = gather(source(server), tmp_path)
    assert len(documents) == 143
    assert server.offsets == [0, 100]


def test_no_more_is_asked_for_than_is_wanted(tmp_path: Path) -> None:
    with serving(Mediastack(many(400))) as server:
        gather(source(server).at_most(20), tmp_path)
    assert [(request["limit"], request["offset"]) for request in server.requests] == [("20", "0")]


def test_every_choice_of_the_recipe_reaches_the_service(tmp_path: Path) -> None:
    choices = {
        "keywords": ["kettle", "-virus"], "categories": ["health", "-sports"], "countries": ["gb", "-us"],
        "languages": ["en"], "sources": ["bbc"],
    }  # fmt: skip
    with serving(Mediastack([])) as server:
        gather(source(server, **choices, sort="popularity"), tmp_path)
    (asked,) = server.requests
    assert asked == {
        "keywords": "kettle,-virus", "categories": "health,-sports", "countries": "gb,-us", "languages": "en",
        "sources": "bbc", "sort": "popularity", "limit": "100", "offset": "0",
    }  # fmt: skip


def test_the_live_search_has_no_date(tmp_path: Path) -> None:
    with serving(Mediastack(many(1))) as server:
        gather(source(server), tmp_path)
    assert "date" not in server.requests[0]


@pytest.mark.parametrize(
    ("until", "asked", "found"), [(None, "2024-05-05", 24), ("2024-05-06", "2024-05-05,2024-05-06", 37)]
)
def test_with_a_first_day_the_past_is_searched(tmp_path: Path, until: str | None, asked: str, found: int) -> None:
    days = {"since": date(2024, 5, 5)} | ({"until": date.fromisoformat(until)} if until else {})
    with serving(Mediastack(many(60))) as server:
        documents, _ = gather(source(server, **days), tmp_path)
    assert server.requests[0]["date"] == asked
    assert len(documents) == found


def test_over_https_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Mediastack(many(3)), tls=tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        assert len(gather(source(server), tmp_path / "state")[0]) == 3
    assert server.address.startswith("https://")


def test_a_certificate_that_nobody_vouches_for_ends_it(tmp_path: Path) -> None:
    with (
        serving(Mediastack(many(3)), tls=tmp_path) as server,
        pytest.raises(SourceError, match=r"no connection \(.*self-signed certificate"),
    ):
        gather(source(server), tmp_path / "state")
    assert not server.keys


def test_the_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"data": [article(1)]}).encode()
    with scripted.serving({}) as proxy:
        monkeypatch.setattr(proxy, "next", lambda path: (200, {}, body))
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        documents, _ = gather(
            NewsSource(news="mediastack", access_key=VARIABLE, address="http://far.test/v1"), tmp_path
        )
    assert len(documents) == 1
    assert proxy.hits[0].startswith("http://far.test/v1/news?")


# ------------------------------------------------------------------------------------------- each article once


def test_an_article_under_several_dates_is_one_document_with_the_first(tmp_path: Path) -> None:
    again = [article(number, url="https://news.example.com/old", title="Old") for number in (1, 30, 150)]
    with serving(Mediastack([*many(1), *again, *(article(number) for number in range(31, 149))])) as server:
        documents, failures = gather(source(server), tmp_path)
    (old,) = (document for document in documents if document.title == "Old")
    assert old.published == datetime(2024, 4, 30, 6, tzinfo=UTC)  # the last of two pages
    assert old.meta["times"] == 3
    assert len(documents) == 120
    assert not failures


def test_the_limit_counts_articles_not_their_dates(tmp_path: Path) -> None:
    rows = [article(number, url=f"https://news.example.com/{number // 2}") for number in range(300)]
    with serving(Mediastack(rows)) as server:
        documents, _ = gather(source(server, limit=100), tmp_path)
    assert len(set(urls(documents))) == len(documents) == 100
    assert server.offsets == [0, 100]


def test_spellings_of_an_address_are_one(tmp_path: Path) -> None:
    spelt = ["https://www.example.com/a?x=1&y=2&utm_source=rss", "http://example.com/a?y=2&x=1#comments"]
    with serving(Mediastack([article(number, url=url) for number, url in enumerate(spelt)])) as server:
        ((document,), _) = gather(source(server), tmp_path)
    assert document.url == "http://example.com/a?y=2&x=1"


def test_a_service_that_repeats_itself_is_left(tmp_path: Path) -> None:
    body = json.dumps({"pagination": {"limit": 100, "total": 10**9}, "data": many(100)}).encode()
    with serving(Mediastack([], always=(200, {}, body))) as server:
        documents, (failure,) = gather(source(server), tmp_path)
    assert len(documents) == 100
    assert len(server.requests) == 3
    assert failure.reason == "2 pages in a row brought nothing new; kept: what came before"


@pytest.mark.parametrize("total", [0, 7, 10**9])
def test_the_total_that_the_service_names_may_be_wrong(tmp_path: Path, total: int) -> None:
    with serving(Mediastack(many(250), total=total)) as server:
        documents, failures = gather(source(server), tmp_path)
    assert len(documents) == 250
    assert not failures
    assert len(server.requests) <= 4


def test_a_plan_with_shorter_pages_gives_all_the_same(tmp_path: Path) -> None:
    with serving(Mediastack(many(60), page=25, total=0)) as server:
        assert len(gather(source(server), tmp_path)[0]) == 60
    assert server.offsets == [0, 25, 50]


def test_a_short_page_is_not_the_last_where_the_service_counts_more(tmp_path: Path) -> None:
    rows = many(30)
    bodies = [{"pagination": {"limit": 100, "total": 30}, "data": part} for part in (rows[:20], rows[20:])]
    answers = [(200, {}, json.dumps(body).encode()) for body in bodies]
    with serving(Mediastack([], trouble=[answers[0]], always=answers[1])) as server:
        assert len(gather(source(server), tmp_path)[0]) == 30
    assert server.offsets == [0, 20]


def test_where_nothing_matches_it_says_so(tmp_path: Path) -> None:
    with serving(Mediastack(many(3))) as server:
        documents, (failure,) = gather(source(server, keywords=["submarine"]), tmp_path)
    assert not documents
    assert failure.where == f"{server.address}/news"
    assert failure.reason == "no article matches: ask for less at once, or for other days"


# ----------------------------------------------------------------------------------------------- paid for only once


def test_a_finished_page_is_never_asked_for_again(tmp_path: Path) -> None:
    with serving(Mediastack(many(250))) as server:
        server.trouble = [server.answer("/v1/news", {"limit": "100", "offset": "0"}, KEY)]
        server.always = (500, {}, b"")
        with pytest.raises(
            SourceError, match=r"stopped after 100 articles, which are kept: HTTP 500. The same command"
        ):
            gather(source(server), tmp_path)
        server.requests.clear()
        server.always = None
        documents, _ = gather(source(server), tmp_path)
    assert len(documents) == 250
    assert server.offsets == [100, 200]


def test_a_gathering_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving(Mediastack(many(250))) as server:
        pages = [server.answer("/v1/news", {"limit": "100", "offset": offset}, KEY) for offset in ("0", "100")]
        server.trouble = [*pages, slow(30)]
        program = (
            "import sys; from pathlib import Path; from steep.gather.news import news_documents; "
            "from steep.recipe.gather import NewsSource; source = NewsSource.model_validate_json(sys.argv[1]); "
            "list(news_documents(source, state=Path(sys.argv[2]), on_failure=print))"
        )
        child = subprocess.Popen([sys.executable, "-c", program, source(server).model_dump_json(), tmp_path])
        while len(server.requests) < 3:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        documents, _ = gather(source(server), tmp_path)
    assert len(documents) == 250
    assert server.offsets == [0, 100, 200, 200]


def test_another_question_is_asked_anew(tmp_path: Path) -> None:
    with serving(Mediastack(many(3))) as server:
        gather(source(server), tmp_path)
        gather(source(server, languages=["de"]), tmp_path)
        assert len(server.requests) == 2


def test_when_the_quota_ends_in_the_middle_what_came_is_kept(tmp_path: Path) -> None:
    with serving(Mediastack(many(500), quota=2)) as server:
        documents, (failure,) = gather(source(server), tmp_path)
    assert len(documents) == 200
    assert failure.reason == (
        "the monthly quota of the access key is used up: it is renewed every month, and larger with another plan; "
        "kept: the 200 articles that came before"
    )
    assert len(server.requests) == 3  # a spent quota is not asked again


def test_a_rate_limit_that_does_not_end_keeps_what_came(tmp_path: Path) -> None:
    with serving(Mediastack(many(500))) as server:
        server.trouble = [server.answer("/v1/news", {"limit": "100", "offset": "0"}, KEY)]
        server.always = error("rate_limit_reached")
        documents, (failure,) = gather(source(server), tmp_path)
    assert len(documents) == 100
    assert failure.reason.startswith("the service wants longer pauses between requests than steep makes; kept: the 100")
    assert len(server.requests) == 6


def test_a_quota_that_is_used_up_before_the_first_page_leaves_nothing(tmp_path: Path) -> None:
    with (
        serving(Mediastack(many(5), quota=0)) as server,
        pytest.raises(
            SourceError, match=r"nothing was gathered: 1 failed:\n.*monthly quota of the access key is used up"
        ),
    ):
        list(gather_documents([source(server)], folder=tmp_path, state=tmp_path, on_failure=lambda failure: None))


# ---------------------------------------------------------------------------------------------------- what goes wrong


def test_a_rate_limit_is_waited_for_as_long_as_the_service_asks(tmp_path: Path) -> None:
    with serving(Mediastack(many(3), trouble=[error("rate_limit_reached", {"Retry-After": "1"})])) as server:
        assert len(gather(source(server), tmp_path)[0]) == 3
    assert server.times[1] - server.times[0] >= 1


@pytest.mark.parametrize(
    "trouble",
    [
        (200, {}, b""),
        (200, {}, b'{"pagination": {"limit"'),
        (200, {}, b"<html>Good evening</html>"),
        (200, {}, b"[]"),
        (503, {}, b"<html>Be right back</html>"),
        error("internal_error"),
        slow(0.6),
    ],
    ids=["0 bytes", "half", "html", "list", "503", "internal", "slow"],
)
def test_trouble_that_passes_leaves_no_trace(tmp_path: Path, trouble: Any) -> None:
    with serving(Mediastack(many(3), trouble=[trouble])) as server:
        documents, failures = gather(source(server, timeout=0.5), tmp_path)
    assert len(documents) == 3
    assert not failures


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ((200, {}, b""), "stopped: an empty answer. The same command goes on where it was"),
        ((200, {}, b"<html>"), "stopped: the answer holds no articles"),
        ((502, {}, b""), "stopped: HTTP 502"),
        (error("internal_error"), "stopped: An internal error occurred."),
        (slow(0.25), "stopped: no complete answer within 0.1 s, tried 5 times"),
        (dripping(0.25), "stopped: no complete answer within 0.1 s, tried 5 times"),
    ],
    ids=["0 bytes", "html", "502", "internal", "slow", "dripping"],
)
def test_trouble_that_stays_is_named(tmp_path: Path, trouble: Any, reason: str) -> None:
    with serving(Mediastack([], always=trouble)) as server, pytest.raises(SourceError) as caught:
        gather(source(server, timeout=0.1), tmp_path)
    assert f"{server.address}/news {reason}" in str(caught.value)
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (
            "invalid_access_key",
            f"the access key in {VARIABLE} is not valid: copy it again from mediastack.com/dashboard",
        ),
        ("missing_access_key", f"the access key in {VARIABLE} did not arrive: is `address` (http://127.0.0.1"),
        ("inactive_user", f"the account of the access key in {VARIABLE} is not active"),
        ("https_access_restricted", "the plan of this access key has no HTTPS: set `address` to http://"),
        ("invalid_api_function", "there is no such service at http://127.0.0.1"),
        ("function_access_restricted", "the plan of this access key does not include this: The Subscription Plan"),
    ],
)
def test_an_error_of_the_service_says_what_to_do(tmp_path: Path, code: str, advice: str) -> None:
    with serving(Mediastack([], always=error(code))) as server, pytest.raises(SourceError) as caught:
        gather(source(server), tmp_path)
    assert f"mediastack: {advice}" in str(caught.value)
    assert len(server.requests) == 1


def test_an_error_may_come_as_success(tmp_path: Path) -> None:
    _, headers, body = error("invalid_access_key")
    with (
        serving(Mediastack([], always=(200, headers, body))) as server,
        pytest.raises(SourceError, match="is not valid"),
    ):
        gather(source(server), tmp_path)


def test_the_past_needs_a_plan_that_has_it(tmp_path: Path) -> None:
    with (
        serving(Mediastack(many(3), paid=False)) as server,
        pytest.raises(SourceError, match="articles of the past need another plan; leave out `since` and `until`"),
    ):
        gather(source(server, since=date(2024, 5, 1)), tmp_path)


def test_a_value_that_is_not_accepted_is_named_as_in_the_recipe(tmp_path: Path) -> None:
    with (
        serving(Mediastack([])) as server,
        pytest.raises(SourceError, match=r"it does not accept `categories`: Validation error .*NO_SUCH_CHOICE_ERROR"),
    ):
        gather(source(server, categories=["politics"]), tmp_path)


def test_an_address_without_the_service_is_to_be_corrected(tmp_path: Path) -> None:
    with (
        serving(Mediastack([])) as server,
        pytest.raises(SourceError, match=r"there is no such service at .*/v2: correct `address`"),
    ):
        gather(source(server, address=server.address.replace("v1", "v2")), tmp_path)


def test_without_a_key_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " ")
    with (
        serving(Mediastack([])) as server,
        pytest.raises(SourceError, match=f"^{VARIABLE} is not set: export {VARIABLE}=…"),
    ):
        gather(source(server), tmp_path)
    assert not server.requests


def test_a_key_from_a_file_may_end_in_a_line_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{KEY}\n")
    with serving(Mediastack(many(1))) as server:
        assert len(gather(source(server), tmp_path)[0]) == 1


def test_rows_that_are_no_articles_are_reported_and_the_rest_kept(tmp_path: Path) -> None:
    rows = [
        article(0),
        [],
        None,
        article(1, description=None),
        article(2, description=7, title=["a"], url=8),
        article(3),
    ]
    body = json.dumps({"data": rows}).encode()
    with serving(Mediastack([], always=(200, {}, body))) as server:
        documents, failures = gather(source(server), tmp_path)
    assert urls(documents) == ["https://news.example.com/0", "https://news.example.com/3"]
    assert [(failure.where, failure.reason) for failure in failures] == [
        ("article 2", "a JSON list, not an article"),
        ("article 3", "a JSON NoneType, not an article"),
        ("https://news.example.com/1", "nothing but a title; `articles: true` fetches the page"),
        ("", "nothing but a title; `articles: true` fetches the page"),
    ]


def test_debris_of_html_is_taken_out(tmp_path: Path) -> None:
    rows = [article(0, title="Kettle&apos;s end", description="It&#39;s <b>over</b>.<br/>Tea &amp; toast for 3 < 4.")]
    with serving(Mediastack(rows)) as server:
        ((document,), _) = gather(source(server), tmp_path)
    assert (document.title, document.text) == ("Kettle's end", "It's over.\nTea & toast for 3 < 4.")


# --------------------------------------------------------------------------------------------------- where the key goes


@pytest.fixture
def elsewhere() -> Iterator[scripted.Server]:
    with scripted.serving({}) as server:
        yield server


def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path, elsewhere: scripted.Server) -> None:
    to = elsewhere.url(f"/v1/news?access_key={KEY}")
    with serving(Mediastack([], always=(302, {"Location": to}, b""))) as server, pytest.raises(SourceError) as caught:
        gather(source(server), tmp_path)
    assert f"/news sends its callers to {elsewhere.url('/v1')}: set `address` to it if you trust it" in str(
        caught.value
    )
    assert KEY not in str(caught.value)
    assert not elsewhere.hits


ECHO = f"the key {KEY} of http://h/?access_key={KEY}"
"""A service that repeats the request."""
TROUBLES: dict[str, dict[str, Any]] = {
    "articles": {"articles": [article(0, description=ECHO), *many(150)]},
    "quota": {"articles": many(150), "quota": 1},
    "refused": {"articles": [], "always": (401, {}, json.dumps({"error": {"code": "new", "message": ECHO}}).encode())},
    "0 bytes": {"articles": [], "always": (200, {}, b"")},
    "echo": {"articles": [], "always": (200, {"X-Echo": KEY}, ECHO.encode())},
    "slow": {"articles": [], "always": slow(0.25)},
    "cut short": {"articles": [], "always": (200, {"Content-Length": "9999", "Connection": "close"}, ECHO.encode())},
    "no http": {"articles": [], "always": lambda handler: handler.wfile.write(ECHO.encode() * 99)},
    "redirect": {"articles": [], "always": (302, {"Location": f"/v1/news?access_key={KEY}"}, b"")},
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_key_is_in_no_document_failure_error_log_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx")
    failures: list[Failure] = []
    seen: list[str] = []
    with serving(Mediastack(**TROUBLES[trouble])) as server:
        asked = source(server, timeout=0.1 if trouble == "slow" else 5)
        try:
            seen += map(repr, gather_documents([asked], folder=tmp_path, state=tmp_path, on_failure=failures.append))
        except SourceError as caught:
            seen += traceback.TracebackException.from_exception(caught, capture_locals=False).format()
    seen += [*map(repr, failures), caplog.text]
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert server.keys[0] == KEY
    assert [text for text in seen if KEY in text] == []


def test_the_key_does_not_go_to_the_sites_of_the_articles(tmp_path: Path) -> None:
    with scripted.serving({"/a": scripted.page(page("A"))}) as site, serving(Mediastack([])) as server:
        server.articles = [article(0, url=site.url("/a"))]
        gather(source(server, articles=True), tmp_path)
    assert site.hits == ["/robots.txt", "/a"]
    assert KEY not in str(site.headers)


# ------------------------------------------------------------------------------------------------------ full articles


def page(name: str, head: str = "") -> str:
    sentence = f"This is what {name} has to say about kettles, and it takes more than a few words to say it. "
    return (
        f"<html><head><title>{name}</title><meta name='author' content='Ann Other'>{head}</head><body><nav>Menu</nav>"
        f"<article><h1>{name}</h1><p>{sentence * 6}</p><p>The last sentence.</p></article></body></html>"
    )


LICENCE = "<link rel='license' href='https://creativecommons.org/licenses/by/4.0/'>"
OLD = "<meta property='article:published_time' content='2023-09-07'>"
SITE = {
    "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret"),
    "/good": scripted.page(page("good", LICENCE)),
    "/old": scripted.page(page("old", OLD)),
    "/latin": scripted.page(page("Käse").encode("latin-1"), "text/html; charset=iso-8859-1"),
    "/moved": scripted.redirect("/good-too"),
    "/good-too": scripted.page(page("good too")),
    "/secret": scripted.page(page("secret")),
    "/film": scripted.page(b"\0\1", "video/mp4"),
    "/empty": scripted.page("<html></html>"),
}


@pytest.fixture(scope="module")
def in_full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Gathered twice: what each address gave, and which requests each time took."""
    tmp_path, rows = tmp_path_factory.mktemp("full"), []
    with pytest.MonkeyPatch.context() as patch, scripted.serving(SITE) as site:
        patch.setenv(VARIABLE, KEY)
        paths = ["/good", "/old", "/latin", "/moved", "/secret", "/film", "/empty", "/missing"]
        rows = [article(number, url=site.url(path)) for number, path in enumerate(paths)]
        with serving(Mediastack([*rows, article(98, url=None), article(99, url="file:///etc/hosts")])) as server:
            asked = source(server, articles=True, licence="own")
            documents, failures = gather(asked, tmp_path)
            first = site.hits.copy()
            site.hits.clear()
            again, _ = gather(asked, tmp_path)
        yield {
            "documents": {str(document.url).removeprefix(site.url("")): document for document in documents},
            "reasons": {failure.where.removeprefix(site.url("")): failure.reason for failure in failures},
            "first": first,
            "second": site.hits.copy(),
            "again": again == documents,
        }


def test_the_text_is_the_main_text_of_the_page(in_full: dict[str, Any]) -> None:
    document = in_full["documents"]["/good"]
    assert document.text.endswith("The last sentence.")
    assert "Menu" not in document.text
    assert document.title == "Kettle 0 is on the boil"
    assert document.owner == "Ann Other"


def test_a_page_says_when_and_by_whose_leave_it_was_fetched(in_full: dict[str, Any]) -> None:
    document = in_full["documents"]["/good"]
    assert document.robots == "allowed"
    assert (datetime.now(UTC) - document.fetched).total_seconds() < 600


def test_the_licence_of_the_page_counts_before_that_of_the_recipe(in_full: dict[str, Any]) -> None:
    assert in_full["documents"]["/good"].licence == "cc-by-4.0"
    assert in_full["documents"]["/latin"].licence == "own"


def test_an_earlier_day_on_the_page_is_believed(in_full: dict[str, Any]) -> None:
    assert in_full["documents"]["/old"].published == datetime(2023, 9, 7, tzinfo=UTC)
    assert in_full["documents"]["/good"].published == datetime(2024, 5, 6, 12, tzinfo=UTC)


def test_the_charset_of_the_page_is_heeded(in_full: dict[str, Any]) -> None:
    assert "what Käse has to say" in in_full["documents"]["/latin"].text


def test_a_page_has_the_address_where_redirects_led(in_full: dict[str, Any]) -> None:
    assert "/good-too" in in_full["documents"]


def test_pages_that_cannot_be_had_are_reported(in_full: dict[str, Any]) -> None:
    assert in_full["reasons"] == {
        "/secret": "forbidden by robots.txt",
        "/film": "video/mp4, not a web page",
        "/empty": "no main text found",
        "/missing": "HTTP 404",
        "Kettle 98 is on the boil": "without an address there is no page to fetch",
        "Kettle 99 is on the boil": "without an address there is no page to fetch",
    }


def test_a_finished_page_is_not_fetched_again(in_full: dict[str, Any]) -> None:
    assert Counter(in_full["first"])["/good"] == 1
    assert in_full["second"] == ["/robots.txt", "/film", "/missing"]  # failures are tried again
    assert in_full["again"]


# -------------------------------------------------------------------------------------------------- recorded replies


@pytest.fixture
def recorded(steep_data: Path) -> dict[int, bytes]:
    """Real replies by their size."""
    paths = sorted((steep_data / "news" / "mediastack").glob("response_*.json"))
    return {len(body): body for body in (path.read_bytes() for path in paths)}


def answered(tmp_path: Path, *bodies: bytes) -> tuple[list[Document], list[Failure]]:
    answers = [(200, {"Content-Type": "application/json"}, body) for body in bodies]
    with serving(Mediastack([], trouble=answers[:-1], always=answers[-1])) as server:
        return gather(source(server), tmp_path)


def test_the_recorded_page_with_repeated_addresses_gives_each_once(tmp_path: Path, recorded: dict[int, bytes]) -> None:
    documents, failures = answered(tmp_path, recorded[31217])
    assert len(documents) == len(set(urls(documents))) == 26
    (tennis,) = (document for document in documents if "tennis" in str(document.url))
    assert tennis.meta["times"] == 18
    assert tennis.published == min(
        datetime.fromisoformat(row["published_at"])
        for row in json.loads(recorded[31217])["data"]
        if "tennis" in row["url"]
    )
    assert not failures


def test_the_recorded_full_page_gives_a_document_for_each_article(tmp_path: Path, recorded: dict[int, bytes]) -> None:
    documents, _ = answered(tmp_path, recorded[86969], recorded[127])
    assert len(documents) == 100
    assert all(document.text and document.title and document.published and document.url for document in documents)
    assert not any("&apos;" in f"{document.title}{document.text}" for document in documents)


def test_the_recorded_error_ends_it_and_keeps_what_came(tmp_path: Path, recorded: dict[int, bytes]) -> None:
    documents, (failure,) = answered(tmp_path, recorded[86969], recorded[166])
    assert len(documents) == 100
    assert "monthly quota" in failure.reason


def test_the_recorded_empty_page_matches_nothing(tmp_path: Path, recorded: dict[int, bytes]) -> None:
    documents, (failure,) = answered(tmp_path, recorded[127])
    assert not documents
    assert failure.reason.startswith("no article matches")


def test_the_recorded_reply_of_0_bytes_is_asked_for_again(tmp_path: Path, recorded: dict[int, bytes]) -> None:
    documents, failures = answered(tmp_path, recorded[0], recorded[31217])
    assert len(documents) == 26
    assert not failures

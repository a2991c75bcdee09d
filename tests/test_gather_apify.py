"""Live runs of Apify's actors, against a loopback server that speaks the parts of its REST API that are used."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from conftest import steep
from steep.errors import SourceError
from steep.gather import gather_documents
from steep.gather.apify_account import Account
from steep.recipe.gather import ApifySource
from steep.records import Document, Failure

TOKEN = "apify_api_0123456789ThatIsNowhere"
INSTAGRAM = "https://www.instagram.com/hollowoak"
FACEBOOK = "https://www.facebook.com/hollow.oak"
STRANGER = "zzstranger"
FINISHED = "2024-05-06T07:08:09.000Z"
ACTORS = {"apify~instagram-scraper": "instagram", "apify~facebook-posts-scraper": "facebook"}


def instagram_post(number: int, owner: str = "hollowoak", day: str = "2024-05-01") -> dict[str, Any]:
    return {
        "id": f"{number}",
        "shortCode": f"s{number}",
        "caption": f"Post {number} of {owner} #GoodTea",
        "url": f"https://www.instagram.com/p/s{number}/",
        "timestamp": f"{day}T10:00:00.000Z",
        "ownerUsername": owner,
        "latestComments": [{"text": "Lovely", "ownerUsername": STRANGER}],
    }


def facebook_post(number: int) -> dict[str, Any]:
    return {
        "postId": f"{number}",
        "pageName": "Hollow Oak",
        "text": f"Post {number}\n\nShared words of {STRANGER}",
        "url": f"https://www.facebook.com/posts/{number}",
        "time": "2024-05-01T10:00:00.000Z",
        "user": {"id": "7", "name": "Hollow Oak"},
        "sharedPost": {"text": f"Shared words of {STRANGER}", "user": {"name": STRANGER}},
        "topComments": [{"text": "Lovely", "profileName": STRANGER}],
    }


@dataclass
class Apify:
    """What the server is to do, and what it was asked."""

    posts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=lambda: ["SUCCEEDED"])
    """Of the run, one at each look at it; the last one stays."""
    refusals: dict[str, list[tuple[int, dict[str, Any] | bytes]]] = field(default_factory=dict)
    """What `start`, `run`, `items` and `runs` answer first."""
    lose_answers: int = 0
    """So many starts are heard, but the connection ends before the answer."""
    slow_start: float = 0
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Request lines."""
    started: threading.Event = field(default_factory=threading.Event)

    def times(self, kind: str) -> int:
        return Counter(kind for kind, _ in self.asked)[kind]

    def start(self, actor: str, given: dict[str, Any]) -> dict[str, Any]:
        self.inputs.append((ACTORS[actor], given))
        number = f"run{len(self.inputs)}"
        now = datetime.now(UTC).isoformat()
        self.runs[number] = {
            "id": number, "actId": actor, "userId": "u", "startedAt": now, "finishedAt": None, "status": "READY",
            "statusMessage": "[/] 3 of 5 posts", "meta": {"origin": "API"}, "stats": {}, "buildId": "b",
            "options": {"build": "latest", "timeoutSecs": 60, "memoryMbytes": 1024, "diskMbytes": 2048},
            "defaultDatasetId": number, "defaultKeyValueStoreId": number, "defaultRequestQueueId": "q",
            "usageTotalUsd": 0.1,
        }  # fmt: skip
        return self.runs[number]

    def listed(self, actor: str, query: dict[str, str]) -> dict[str, Any]:
        since = datetime.fromisoformat(query["startedAfter"])
        runs = [run for run in self.runs.values() if datetime.fromisoformat(run["startedAt"]) >= since]
        runs = [run | {"status": "RUNNING"} for run in runs[::-1] if run["actId"] == actor]
        page = {"total": len(runs), "offset": 0, "limit": 20, "desc": True, "count": len(runs)}
        return {"data": page | {"items": runs}}

    def look(self, number: str) -> dict[str, Any]:
        run = self.runs[number]
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return run | {"status": status, "finishedAt": FINISHED if status == "SUCCEEDED" else None}

    def items(self, number: str, query: dict[str, str]) -> list[dict[str, Any]]:
        items = self.posts[ACTORS[self.runs[number]["actId"]]]
        offset, limit = int(query["offset"]), int(query["limit"])
        return [
            {key: item[key] for key in query["fields"].split(",") if key in item}
            for item in items[offset : offset + limit]
        ]


class Handler(BaseHTTPRequestHandler):
    apify: Apify

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match parts.path.removeprefix("/v2/").split("/"):
            case ["actors", actor, "runs"]:
                self.answer("runs", query, self.apify.listed(actor, query))
            case ["key-value-stores", number, "records", "INPUT"]:
                given = self.apify.inputs[int(number.removeprefix("run")) - 1][1]
                self.answer("input", query, given | {"filled in by": "the actor's defaults"})
            case ["actor-runs", number] if number in self.apify.runs:
                self.answer("run", query, {"data": self.apify.look(number)})
            case ["datasets", number, "items"]:
                items = self.apify.items(number, query)
                self.answer("items", query, items, headers=pagination(query, len(items)))
            case _:
                self.answer("lost", query, {"error": {"type": "record-not-found", "message": "Not found"}}, 404)

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, _, actor, _ = urlsplit(self.path).path.split("/")
        if refusal := self.refusal("start", {}):
            self.send(*refusal)
            return
        run = self.apify.start(actor, given)
        self.apify.started.set()
        time.sleep(self.apify.slow_start)
        if self.apify.lose_answers:
            self.apify.lose_answers -= 1
            self.close_connection = True
            self.connection.close()
        else:
            self.send(201, {"data": run})

    def refusal(self, kind: str, query: dict[str, str]) -> tuple[int, Any] | None:
        self.apify.asked.append((kind, query))
        self.apify.lines.append(self.requestline)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            said = f"User was not found or authentication token is not valid: {self.headers['Authorization']}"
            return 401, {"error": {"type": "user-or-token-not-found", "message": said}}
        waiting = self.apify.refusals.get(kind)
        return waiting.pop(0) if waiting else None

    def answer(self, kind: str, query: dict[str, str], body: Any, status: int = 200, headers: Any = None) -> None:
        self.send(*(self.refusal(kind, query) or (status, body)), headers=headers)

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "text/html" if isinstance(body, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(sent)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # the client hung up, or was hung up on
            super().handle()


def pagination(query: dict[str, str], found: int) -> dict[str, str]:
    facts = {"total": "999", "offset": query.get("offset", "0"), "count": f"{found}", "limit": "1000", "desc": "false"}
    return {f"X-Apify-Pagination-{name}": value for name, value in facts.items()}


@pytest.fixture
def apify(monkeypatch: pytest.MonkeyPatch) -> Iterator[Apify]:
    served = Apify(
        posts={
            "instagram": [instagram_post(1), instagram_post(2, owner=STRANGER), instagram_post(3)],
            "facebook": [facebook_post(7)],
        }
    )
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"apify": served}))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("APIFY_API_BASE_URL", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("APIFY_TOKEN", TOKEN)
    monkeypatch.setattr(Account, "pause", timedelta(milliseconds=10))
    monkeypatch.setattr("steep.gather.apify.POLL", timedelta(milliseconds=500))
    yield served
    http.shutdown()
    http.server_close()


def source(*addresses: str, **options: Any) -> ApifySource:
    return ApifySource(apify=list(addresses) or INSTAGRAM, owner=["hollowoak", "Hollow Oak"], **options)


def gather(asked: ApifySource, state: Path) -> tuple[list[Document], list[Failure]]:
    failures: list[Failure] = []
    documents = list(gather_documents([asked], folder=state, state=state, on_failure=failures.append))
    for document in documents:
        assert STRANGER not in str(document.row())
    return documents, failures


def refused(asked: ApifySource, state: Path) -> str:
    with pytest.raises(SourceError) as error:
        gather(asked, state)
    assert TOKEN not in str(error.value)
    assert error.value.__cause__ is None
    return str(error.value)


def test_the_posts_of_each_network_become_documents(apify: Apify, tmp_path: Path) -> None:
    documents, failures = gather(source(INSTAGRAM, FACEBOOK), tmp_path)
    assert not failures
    first, _, last = documents
    assert first == Document(
        text="Post 1 of hollowoak #GoodTea",
        source="instagram",
        url="https://www.instagram.com/p/s1/",
        published=datetime(2024, 5, 1, 10, tzinfo=UTC),
        owner="hollowoak",
        fetched=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        meta={"network": "instagram", "post": "1"},
    )
    assert (last.text, last.source, last.owner) == ("Post 7", "facebook", "Hollow Oak")


def test_the_actors_are_asked_in_their_own_words(apify: Apify, tmp_path: Path) -> None:
    other = "https://m.facebook.com/other"
    gather(source(INSTAGRAM, FACEBOOK, other, limit=20, since=date(2024, 1, 2)), tmp_path)
    assert apify.inputs == [
        (
            "instagram",
            {
                "directUrls": [INSTAGRAM],
                "resultsType": "posts",
                "resultsLimit": 20,
                "onlyPostsNewerThan": "2024-01-02",
            },
        ),
        (
            "facebook",
            {
                "startUrls": [{"url": FACEBOOK}, {"url": other}],
                "resultsLimit": 20,
                "onlyPostsNewerThan": "2024-01-02",
            },
        ),
    ]
    starts = [line.split()[1] for line in apify.lines if line.startswith("POST")]
    assert [start.rpartition("/")[2] for start in starts] == ["runs?maxItems=20", "runs?maxItems=40"]


def test_a_date_that_is_not_asked_for_is_not_paid_for(apify: Apify, tmp_path: Path) -> None:
    gather(source(), tmp_path)
    assert "onlyPostsNewerThan" not in apify.inputs[0][1]


def test_pinned_posts_of_before_the_first_day_are_left_out(apify: Apify, tmp_path: Path) -> None:
    apify.posts["instagram"] = [instagram_post(1, day="2019-01-01"), instagram_post(2), instagram_post(3)]
    documents, failures = gather(source(since=date(2024, 5, 1)), tmp_path)
    assert ([document.meta["post"] for document in documents], failures) == (["2", "3"], [])


def test_options_of_the_recipe_are_kept(apify: Apify, tmp_path: Path) -> None:
    (first, _), _ = gather(source(name="posts", licence="CC0", hashtags="split"), tmp_path)
    assert (first.source, first.licence, first.text) == ("posts", "cc0", "Post 1 of hollowoak Good Tea")


def test_the_run_is_waited_for(apify: Apify, tmp_path: Path) -> None:
    apify.statuses = ["READY", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert len(gather(source(), tmp_path)[0]) == 2
    assert (apify.times("start"), apify.times("run")) == (1, 4)


def test_no_more_is_asked_for_than_it_takes(apify: Apify, tmp_path: Path) -> None:
    gather(source(), tmp_path)
    assert [kind for kind, _ in apify.asked] == ["start", "run", "items", "items"]


def test_posts_come_in_pages(apify: Apify, tmp_path: Path) -> None:
    apify.posts["instagram"] = [instagram_post(number) for number in range(2345)]
    assert len(gather(source(), tmp_path)[0]) == 2345
    offsets = [int(query["offset"]) for kind, query in apify.asked if kind == "items"]
    assert offsets == [0, 1000, 2000, 2345]


def test_nothing_that_others_wrote_lies_in_the_state(apify: Apify, tmp_path: Path) -> None:
    apify.posts["instagram"] = [instagram_post(1)]
    gather(source(INSTAGRAM, FACEBOOK), tmp_path)
    kept = [path.read_text() for path in tmp_path.rglob("*.jsonl")]
    assert len(kept) == 2
    assert STRANGER not in "".join(kept)


def test_a_server_that_ignores_which_fields_were_asked_for_changes_nothing(
    apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Apify, "items", lambda self, number, query: [] if int(query["offset"]) else [facebook_post(1)])
    assert len(gather(source(FACEBOOK), tmp_path)[0]) == 1
    assert STRANGER not in "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_a_second_gather_asks_apify_for_nothing(apify: Apify, tmp_path: Path) -> None:
    first = gather(source(INSTAGRAM, FACEBOOK), tmp_path)
    apify.asked.clear()
    assert gather(source(INSTAGRAM, FACEBOOK), tmp_path) == first
    assert apify.asked == []


def test_other_wishes_are_another_run(apify: Apify, tmp_path: Path) -> None:
    gather(source(), tmp_path)
    gather(source(limit=5), tmp_path)
    assert apify.times("start") == 2


def test_a_second_network_is_not_paid_for_where_the_first_is_enough(apify: Apify, tmp_path: Path) -> None:
    found = gather_documents([source(INSTAGRAM, FACEBOOK)], folder=tmp_path, state=tmp_path, on_failure=print, limit=2)
    assert len(list(found)) == 2
    assert [network for network, _ in apify.inputs] == ["instagram"]


def test_what_apify_could_not_get_is_reported(apify: Apify, tmp_path: Path) -> None:
    gone = {"inputUrl": INSTAGRAM, "error": "no_items", "errorDescription": "Empty or private data"}
    apify.posts["instagram"] = [gone, instagram_post(2, owner="other")]
    _, failures = gather(source(INSTAGRAM, FACEBOOK), tmp_path)
    assert failures == [
        Failure("instagram", INSTAGRAM, "Apify says: Empty or private data"),
        Failure("instagram", INSTAGRAM, "no post with text by 'hollowoak, Hollow Oak'; there are posts by other"),
    ]


# -------------------------------------------------------------------------------------------- interrupted and resumed

GATHER = f"""
from pathlib import Path
from steep.gather import gather_documents
from steep.recipe.gather import ApifySource
source = ApifySource(apify="{INSTAGRAM}", owner="hollowoak")
for document in gather_documents([source], folder=Path(), state=Path("state"), on_failure=print):
    print(document.text)
"""


def interrupt(apify: Apify, folder: Path, kind: str) -> str:
    """Start a gather as a process of its own and press Ctrl-C once the server was asked for ``kind``."""
    process = subprocess.Popen(
        [sys.executable, "-c", GATHER], cwd=folder, stderr=subprocess.PIPE, env=os.environ, text=True
    )
    assert process.stderr is not None
    until = time.monotonic() + 30
    while not (apify.started.is_set() if kind == "start" else apify.times(kind)) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode
    assert "KeyboardInterrupt" in said
    return said


@pytest.mark.parametrize("kind", ["start", "run", "items"])
def test_ctrl_c_costs_no_second_run(apify: Apify, tmp_path: Path, kind: str) -> None:
    apify.slow_start = 0.5 if kind == "start" else 0
    apify.statuses = ["RUNNING"] if kind == "run" else ["SUCCEEDED"]
    apify.refusals = {"items": [(503, {})] * 3} if kind == "items" else {}
    assert TOKEN not in interrupt(apify, tmp_path, kind)
    apify.statuses, apify.refusals = ["SUCCEEDED"], {}
    documents, _ = gather(source(), tmp_path / "state")
    assert (len(documents), len(apify.inputs)) == (2, 1)


def test_posts_that_came_before_an_end_are_not_fetched_again(apify: Apify, tmp_path: Path) -> None:
    apify.posts["instagram"] = [instagram_post(number) for number in range(9)]
    whole, _ = gather(source(), tmp_path)
    (folder,) = tmp_path.glob("apify-*")
    lines = (folder / "posts.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "posts.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:7])
    (folder / "run.json").write_text(json.dumps({"run": "run1"}))
    apify.asked.clear()
    assert gather(source(), tmp_path)[0] == whole
    assert [query["offset"] for kind, query in apify.asked if kind == "items"] == ["4", "9"]


@pytest.mark.parametrize("lost", [1, 3])
def test_a_start_whose_answer_is_lost_is_not_made_twice(apify: Apify, tmp_path: Path, lost: int) -> None:
    apify.lose_answers = lost
    assert len(gather(source(), tmp_path)[0]) == 2
    assert len(apify.inputs) == 1


def test_another_run_is_not_taken_for_a_lost_one(apify: Apify, tmp_path: Path) -> None:
    gather(source(), tmp_path / "hours ago")
    apify.runs["run1"]["startedAt"] = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    apify.start("apify~instagram-scraper", {"directUrls": ["https://www.instagram.com/other"]})
    apify.refusals["start"] = [(503, {"error": {"type": "busy", "message": "Busy"}})]
    gather(source(), tmp_path / "now")
    assert [given["directUrls"] for _, given in apify.inputs][2:] == [[INSTAGRAM]]


def test_what_the_run_is_at_is_shown(apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apify.statuses = ["RUNNING"] * 5 + ["SUCCEEDED"]
    screen, terminal = pty.openpty()
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        gather(source(), tmp_path)
        shown = os.read(screen, 65536)
    os.close(screen)
    assert b"apify instagram" in shown
    assert b"[/] 3 of 5 posts" in shown


# ---------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("status", ["FAILED", "TIMED-OUT", "ABORTED"])
def test_a_run_that_failed_says_what_to_do(apify: Apify, tmp_path: Path, status: str) -> None:
    apify.statuses = ["RUNNING", status]
    assert refused(source(), tmp_path) == (
        f"the run run1 of apify/instagram-scraper ended as {status} ([/] 3 of 5 posts). Its log is at "
        "https://console.apify.com/view/runs/run1. Resurrect it there to keep what it has, and the same command goes "
        "on with it; otherwise the same command starts a new run, which costs again"
    )


def test_a_run_that_failed_is_followed_by_a_new_one(apify: Apify, tmp_path: Path) -> None:
    apify.statuses = ["FAILED"]
    refused(source(), tmp_path)
    apify.statuses = ["FAILED", "SUCCEEDED"]
    assert len(gather(source(), tmp_path)[0]) == 2
    assert len(apify.inputs) == 2


def test_a_run_that_was_resurrected_is_waited_for(apify: Apify, tmp_path: Path) -> None:
    apify.statuses = ["TIMED-OUT"]
    refused(source(), tmp_path)
    apify.statuses = ["RUNNING", "SUCCEEDED"]
    assert len(gather(source(), tmp_path)[0]) == 2
    assert len(apify.inputs) == 1


def test_a_run_that_apify_does_not_know_says_so(apify: Apify, tmp_path: Path) -> None:
    apify.statuses = ["FAILED"]
    refused(source(), tmp_path)
    (record,) = tmp_path.glob("apify-*/run.json")
    record.write_text(json.dumps({"run": "gone"}))
    assert "Apify knows no run gone of apify/instagram-scraper" in refused(source(), tmp_path)
    apify.statuses = ["SUCCEEDED"]
    assert len(gather(source(), tmp_path)[0]) == 2


def test_posts_that_apify_no_longer_keeps_are_asked_for_anew(apify: Apify, tmp_path: Path) -> None:
    apify.refusals["items"] = [(404, {"error": {"type": "record-not-found", "message": "Dataset was not found"}})]
    assert refused(source(), tmp_path) == (
        "Apify has not, or no longer, what it was asked for (Dataset was not found); the same command asks for it anew"
    )
    assert len(gather(source(), tmp_path)[0]) == 2
    assert len(apify.inputs) == 2


def test_a_wrong_token_is_refused_and_not_quoted(apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "apify_api_wrong")
    said = refused(source(token="MY_TOKEN"), tmp_path)
    assert said == (
        "Apify does not accept the token in MY_TOKEN (User was not found or authentication token is not valid: "
        "Bearer ${MY_TOKEN}): take a valid one from https://console.apify.com/settings/integrations"
    )
    assert apify.times("start") == 1


REFUSALS = [
    (402, "not-enough-usage-to-run-paid-actor", "the Apify account cannot pay for apify/instagram-scraper (Said.): "),
    (403, "platform-feature-disabled", "the Apify account cannot pay for apify/instagram-scraper (Said.): "),
    (402, "actor-memory-limit-exceeded", "the Apify account has no room for another run (Said.): wait for its other"),
    (
        403,
        "insufficient-permissions",
        "Apify does not let the token in APIFY_TOKEN run apify/instagram-scraper (Said.)",
    ),
    (404, "record-not-found", "Apify has not, or no longer, what it was asked for (Said.); the same command"),
    (400, "invalid-input", "Apify refuses what it was asked (HTTP 400: Said.): check the addresses of the recipe"),
]


@pytest.mark.parametrize(("status", "kind", "expected"), REFUSALS)
def test_a_refusal_says_what_to_do(apify: Apify, tmp_path: Path, status: int, kind: str, expected: str) -> None:
    apify.refusals["start"] = [(status, {"error": {"type": kind, "message": "Said."}})]
    assert refused(source(), tmp_path).startswith(expected)
    assert apify.times("start") == 1


def test_a_server_out_of_order_is_asked_again_and_then_reported(apify: Apify, tmp_path: Path) -> None:
    busy: tuple[int, dict[str, Any] | bytes] = (503, {"error": {"type": "busy", "message": "Come back."}})
    apify.refusals = {"start": [busy] * 3, "run": [busy], "items": [busy]}
    assert len(gather(source(), tmp_path)[0]) == 2
    apify.refusals = {"start": [busy] * 4}
    assert refused(source(limit=7), tmp_path) == (
        "Apify is busy or out of order (HTTP 503: Come back.); the same command goes on where it was"
    )


def test_a_server_that_is_not_there_is_named(apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIFY_API_BASE_URL", "http://127.0.0.1:9")
    said = "http://127.0.0.1:9 cannot be reached (ConnectError); the same command goes on where it was"
    assert refused(source(), tmp_path) == said


@pytest.mark.parametrize("answer", [b"<html>Log in to the hotel's network</html>", []])
def test_an_answer_that_is_not_of_apify_is_reported(apify: Apify, tmp_path: Path, answer: Any) -> None:
    apify.refusals["run"] = [(200, answer)]
    assert refused(source(), tmp_path).startswith("Apify's answer cannot be understood (")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://x.com/hollowoak", "x.com is not known; Apify is asked for pages of facebook.com and profiles of"),
        ("https://instagram.com.example.org/hollowoak", "instagram.com.example.org is not known; Apify is asked"),
        ("https://www.instagram.com/", "names no page; write it as https://www.instagram.com/brand_tea"),
        ("https://[facebook.com/x", "not an address (Invalid IPv6 URL)"),
    ],
)
def test_a_wrong_address_is_found_before_anything_costs(
    apify: Apify, tmp_path: Path, address: str, reason: str
) -> None:
    assert refused(source(FACEBOOK, address), tmp_path).startswith(f"{address}: {reason}")
    assert apify.asked == []


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "APIFY_TOKEN is not set: export APIFY_TOKEN=… with an API token from"),
        (" ", "APIFY_TOKEN is not set: export APIFY_TOKEN=… with an API token from"),
        ("two words", "APIFY_TOKEN holds no API token of Apify: take one from"),
        ("tökén", "APIFY_TOKEN holds no API token of Apify: take one from"),
    ],
)
def test_a_missing_token_says_where_to_get_one(
    apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, reason: str
) -> None:
    monkeypatch.delenv("APIFY_TOKEN")
    if token:
        monkeypatch.setenv("APIFY_TOKEN", token)
    assert refused(source(), tmp_path) == f"{reason} https://console.apify.com/settings/integrations"


def test_blanks_around_a_token_do_no_harm(apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIFY_TOKEN", f" {TOKEN}\n")
    assert len(gather(source(), tmp_path)[0]) == 2


def test_a_missing_package_is_named(apify: Apify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apify_client", None)
    assert refused(source(), tmp_path) == "`apify:` needs the package apify-client: pip install steep[social]"


# --------------------------------------------------------------------------------------------------------- the token

RECIPE = f"""
name: posts
gather:
  - apify: {INSTAGRAM}
    owner: hollowoak
clean: [whitespace]
model: {{base: tiny}}
train: {{max_steps: 1}}
"""


def test_the_token_is_nowhere(apify: Apify, tmp_path: Path) -> None:
    (tmp_path / "posts.yaml").write_text(RECIPE)
    apify.statuses = ["RUNNING", "FAILED"]
    failed = steep("gather", "posts.yaml", cwd=tmp_path)
    assert failed.returncode == 1
    assert "ended as FAILED" in re.sub(r"\s+", " ", failed.stderr)
    apify.statuses = ["FAILED", "SUCCEEDED"]
    apify.refusals["start"] = [(401, {"error": {"type": "x", "message": f"Bad token {TOKEN}"}})]
    bad = steep("gather", "posts.yaml", cwd=tmp_path)
    assert "${APIFY_TOKEN}" in bad.stderr
    waiting = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in waiting)
    assert not [path for path in waiting if TOKEN.encode() in path.read_bytes()]
    done = steep("gather", "posts.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in files)
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    said = [done.stdout, done.stderr, failed.stdout, failed.stderr, bad.stdout, bad.stderr, *apify.lines]
    assert TOKEN not in "".join(said)


def test_the_token_is_in_no_log(apify: Apify, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    apify.refusals["start"] = [(503, {"error": {"type": "x", "message": f"Bad token {TOKEN}"}})]
    gather(source(), tmp_path)
    assert caplog.records
    kept = [record.getMessage() + str(vars(record)) for record in caplog.records]
    assert TOKEN not in "".join(kept)

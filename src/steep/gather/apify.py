"""Posts of Facebook pages and Instagram profiles, fetched now by Apify's actors. Runs cost money.

So nothing is paid for twice: ``state`` keeps the id of the run and the posts as they come, a gather that was
interrupted goes on waiting for the same run, and a start whose answer was lost is looked for among the account's runs
before another one is made. Networks are fetched one after the other rather than at once, which takes minutes longer,
since the second is not paid for where the first fails or already gives as many documents as were asked for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from steep.errors import SourceError
from steep.gather.apify_account import Account
from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable
from steep.gather.rows import Row, jsonl_rows
from steep.gather.social import FIELDS, essence, owned_posts
from steep.recipe.gather import ApifySource
from steep.records import Document, Failure
from steep.terminal import progress

if TYPE_CHECKING:
    from apify_client import ApifyClient

ACTORS = {"facebook": "apify/facebook-posts-scraper", "instagram": "apify/instagram-scraper"}
HOSTS = {"facebook.com": "facebook", "fb.com": "facebook", "instagram.com": "instagram"}
FAILED = ("FAILED", "TIMED-OUT", "ABORTED")
POLL = timedelta(seconds=3)
"""How long a request for the state of a run waits; Ctrl-C is heard after it."""
STARTS = 4
CLOCKS_DIFFER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Job:
    """The pages of one network: what its actor is asked, and the folder that keeps how far it is."""

    network: str
    addresses: list[str]
    asked: dict[str, Any]
    most: int
    folder: Path

    @property
    def actor(self) -> str:
        return ACTORS[self.network]

    @property
    def posts(self) -> Path:
        return self.folder / "posts.jsonl"

    def noted(self) -> dict[str, Any]:
        """`asked` (when), `run`, `failed` (how), `fetched` (when all of the run's posts were there)."""
        path = self.folder / "run.json"
        return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}

    def note(self, **facts: str | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / "run.json.part"
        written.write_text(json.dumps(self.noted() | facts), "utf-8")
        written.replace(self.folder / "run.json")

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def apify_documents(source: ApifySource, *, state: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    for job in _jobs(source, state):
        if not job.noted().get("fetched"):
            _fetch(job, Account(source.token, job.actor))
        yield from _documents(job, source, on_failure)


def _jobs(source: ApifySource, state: Path) -> list[Job]:
    addresses: dict[str, list[str]] = {}
    for address in dict.fromkeys(source.places):
        addresses.setdefault(_network(address), []).append(address)
    return [_job(network, pages, source, state) for network, pages in addresses.items()]


def _network(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError as error:
        raise SourceError(f"{address}: not an address ({error})") from None
    network = next((HOSTS[known] for known in HOSTS if host == known or host.endswith(f".{known}")), None)
    if network is None:
        raise SourceError(
            f"{address}: {host} is not known; Apify is asked for pages of facebook.com and profiles of instagram.com"
        )
    if not parts.path.strip("/"):
        raise SourceError(f"{address}: names no page; write it as https://www.{network}.com/brand_tea")
    return network


def _job(network: str, addresses: list[str], source: ApifySource, state: Path) -> Job:
    """As the actors' input schemas name things; both take the limit for each address."""
    asked: dict[str, Any] = {"resultsLimit": source.limit}
    if network == "facebook":
        asked["startUrls"] = [{"url": address} for address in addresses]
    else:
        asked |= {"directUrls": addresses, "resultsType": "posts"}
    if source.since:  # without it the filter costs nothing
        asked["onlyPostsNewerThan"] = source.since.isoformat()
    written = json.dumps(asked, sort_keys=True).encode()
    folder = state / f"apify-{network}-{hashlib.sha256(written).hexdigest()[:12]}"
    return Job(network, addresses, asked, source.limit * len(addresses), folder)


def _fetch(job: Job, account: Account) -> None:
    with account.explained():
        run_id = _run(job, account)
        dataset, finished = _finished(job, run_id, account)
        _download(job, dataset, account)
    job.note(fetched=finished.isoformat())


def _run(job: Job, account: Account) -> str:
    """The id of the run on record; of a new one where there is none, or where it failed and that was said."""
    noted = job.noted()
    run_id: str | None = noted.get("run")
    if run_id and noted.get("failed"):
        run = account.client.run(run_id).get()
        if run is None or run.status in FAILED:  # not resurrected since
            job.forget()
            run_id = None
        else:
            job.note(failed=None)
    if run_id is None:
        run_id = _started(job, account)
        job.note(run=run_id)
    return run_id


def _started(job: Job, account: Account) -> str:
    """apify-client itself would send a start again whose answer was lost, and two runs would be paid for."""
    attempt = 0
    while True:
        asked = job.noted().get("asked")
        if asked and (lost := _lost(job, account.client, datetime.fromisoformat(asked))):
            return lost
        job.note(asked=asked or datetime.now(UTC).isoformat())
        try:
            return account.without_retries.actor(job.actor).start(run_input=job.asked, max_items=job.most).id
        except Exception as error:
            attempt += 1
            if attempt == STARTS or not account.may_pass(error):
                raise
            time.sleep(account.pause.total_seconds() * 2**attempt)


def _lost(job: Job, client: ApifyClient, asked: datetime) -> str | None:
    """A run for the same input that was started since; its input holds the actor's defaults as well."""
    runs = client.actor(job.actor).runs().list(desc=True, limit=20, started_after=asked - CLOCKS_DIFFER)
    for run in runs.items:
        record = client.key_value_store(run.default_key_value_store_id).get_record("INPUT") or {}
        given = record.get("value")
        same = isinstance(given, dict) and all(given.get(key) == value for key, value in job.asked.items())
        if same and run.status not in FAILED:
            return run.id
    return None


def _finished(job: Job, run_id: str, account: Account) -> tuple[str, datetime]:
    """Waits for the run; the id of its posts, and when they were fetched."""
    from rich.markup import escape

    with progress(f"apify {job.network}") as update:
        while True:
            run = account.client.run(run_id).wait_for_finish(wait_duration=POLL, timeout=timedelta(seconds=60))
            if run is None:
                job.note(failed="UNKNOWN")
                raise SourceError(
                    f"Apify knows no run {run_id} of {job.actor}: it was deleted, or belongs to another account than "
                    f"the token in {account.variable}. With the right token the same command goes on with it; "
                    "otherwise it starts a new run, which costs again"
                )
            if run.status == "SUCCEEDED":
                return run.default_dataset_id, run.finished_at or datetime.now(UTC)
            if run.status in FAILED:
                job.note(failed=run.status)
                raise SourceError(_failed(job, run_id, run.status, run.status_message))
            update(0, note=escape(run.status_message or run.status))


def _failed(job: Job, run_id: str, status: str, message: str | None) -> str:
    why = f" ({message})" if message else ""
    return (
        f"the run {run_id} of {job.actor} ended as {status}{why}. Its log is at "
        f"https://console.apify.com/view/runs/{run_id}. Resurrect it there to keep what it has, and the same command "
        "goes on with it; otherwise the same command starts a new run, which costs again"
    )


def _download(job: Job, dataset: str, account: Account) -> None:
    from apify_client.errors import NotFoundError

    try:
        _append_posts(job, dataset, account)
    except NotFoundError:  # Apify keeps them for some days only
        job.forget()
        raise


def _append_posts(job: Job, dataset: str, account: Account) -> None:
    done = _whole_lines(job.posts)
    found = account.client.dataset(dataset).iterate_items(offset=done, fields=list(FIELDS))
    with progress(f"posts of {job.network}") as update, job.posts.open("a", encoding="utf-8") as lines:
        update(done)
        for item in found:
            lines.write(json.dumps(essence(item)) + "\n")
            update()


def _whole_lines(path: Path) -> int:
    """How many there are, after the one that a crash may have cut is taken off."""
    if not path.exists():
        return 0
    with path.open("rb+") as stream:
        whole = stream.read()
        stream.truncate(whole.rfind(b"\n") + 1)
    return whole.count(b"\n")


def _documents(job: Job, source: ApifySource, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    name = source.name or job.network
    everywhere = ", ".join(job.addresses)
    fetched = parse_date(job.noted()["fetched"])

    def report(where: str, reason: str) -> None:
        on_failure(Failure(name, where, reason))

    items = ((_address(item) or everywhere, item) for _, item in jsonl_rows(job.posts, "utf-8", report))
    try:
        for document in owned_posts(items, source, name, report):
            # pinned posts come whatever their age
            if not (source.since and document.published and document.published.date() < source.since):
                yield replace(document, fetched=fetched)
    except Unreadable as error:
        report(everywhere, str(error))


def _address(item: Row) -> str:
    return str(item.get("inputUrl") or item.get("url") or "")

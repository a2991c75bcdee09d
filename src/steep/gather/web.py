"""Documents from websites: a crawl in a child process, then the main text of every page that it kept.

Pages are kept as they came, so a crawl that was interrupted goes on where it was, and only a finished one is
extracted from, in the order of the addresses. Of pages with one canonical address there is one document.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from steep.errors import SourceError
from steep.gather.decoding import Unreadable
from steep.gather.pages import Fetched, Pages
from steep.gather.robots import FORBIDDEN
from steep.licences import licence_id
from steep.recipe.gather import WebSource
from steep.records import Document, Failure
from steep.terminal import progress

if TYPE_CHECKING:
    from steep.gather.extraction import Page

SECONDS_TO_END = 5


def web_documents(
    source: WebSource,
    *,
    state: Path,
    on_failure: Callable[[Failure], None],
    on_crawled: Callable[[str, dict[str, Any]], None] = lambda name, facts: None,
) -> Iterator[Document]:
    """``on_crawled`` hears the source's name and what is to be known of the crawl: pages fetched, rendered and why."""
    plan = plan_of(source)
    name = source.name or urlsplit(plan["addresses"][0]).hostname or ""
    written = json.dumps(plan, sort_keys=True).encode()
    folder = state / f"web-{hashlib.sha256(written).hexdigest()[:12]}"
    if not (folder / "finished").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if source.render != "never":
            from steep.gather.chromium import chromium

            chromium()  # no crawl without
        crawl(folder, name, written)
    pages = Pages.read(folder / "pages.jsonl")
    failures = [json.loads(line) for line in (folder / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    for failure in failures:
        on_failure(Failure(name, **failure))
    on_crawled(name, _facts(pages, failures))
    yield from _extracted(pages, source, name, on_failure)
    pages.close()


def plan_of(source: WebSource) -> dict[str, Any]:
    """All that decides which pages are fetched; a crawl is resumed only under the same plan."""
    return {
        "addresses": [source.web] if isinstance(source.web, str) else source.web,
        "sitemaps": [source.sitemap] if isinstance(source.sitemap, str) else source.sitemap,
        **source.model_dump(
            include={"max_pages", "max_depth", "exclude", "render", "pdf", "timeout", "max_bytes", "user_agent"}
        ),
    }


def crawl(folder: Path, name: str, plan: bytes) -> None:
    """`SourceError` where the crawl does not come to its end; what it fetched stays in the folder."""
    with (folder / "crawl.log").open("ab") as log:
        child = subprocess.Popen(
            # -P: files of the folder that the user is in are no modules
            [sys.executable, "-P", "-m", "steep.gather.crawler", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        _tell(child, plan)
        last = _follow(child, name)
    finally:
        _end(child)
    if not last.get("finished"):
        why = last.get("error") or f"exit code {child.returncode}"
        raise SourceError(f"the crawl of {name} stopped ({why}); the same command goes on; its log: {folder}/crawl.log")


def _tell(child: subprocess.Popen[bytes], plan: bytes) -> None:
    """Through the pipe, since a plan may hold a secret of the environment, which belongs in no file."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it ended already; its exit code tells
        os.write(child.stdin.fileno(), plan + b"\n")


def _follow(child: subprocess.Popen[bytes], name: str) -> dict[str, Any]:
    """Shows how far the crawl is until it ends; returns the last thing that it told."""
    said: dict[str, Any] = {}
    done = 0
    assert child.stdout is not None
    with progress(f"crawl {name}") as update:
        for line in child.stdout:
            said = json.loads(line)
            if "pages" in said:
                now = said["pages"] + said["failed"]
                update(now - done, total=now + said["waiting"], note=f"{said['failed']} failed")
                done = now
            elif "pause" in said:
                update(0, note=f"waits {said['pause']:.0f} s, as the server asks")
    return said


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _facts(pages: Pages, failures: list[dict[str, str]]) -> dict[str, Any]:
    forbidden = sum(failure["reason"] == FORBIDDEN for failure in failures)
    robots = {**pages.robots, FORBIDDEN: forbidden} if forbidden else dict(pages.robots)
    return {"fetched": pages.count, "rendered": dict(pages.rendered), "robots": robots}


def _extracted(pages: Pages, source: WebSource, name: str, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    chosen = pages.chosen()
    with progress(f"read {name}", total=len(chosen)) as update:
        for url, asked in chosen.items():
            update()
            if source.include and not any(re.search(pattern, url) for pattern in source.include):
                continue
            page = pages.get(asked)
            assert page is not None
            try:
                yield _document(page, url, name, source.licence)
            except Unreadable as error:
                on_failure(Failure(name, url, str(error)))


def _document(fetched: Fetched, url: str, name: str, licence: str | None) -> Document:
    page = _content(fetched, url)
    return Document(
        page.text,
        title=page.title,
        source=name,
        url=url,
        published=page.published,
        owner=page.author,
        licence=page.licence or licence_id(licence),
        fetched=datetime.fromisoformat(fetched.at) if fetched.at else None,
        robots=fetched.robots,
        meta={**page.meta, "rendered": fetched.rendered} if fetched.rendered else page.meta,
    )


def _content(fetched: Fetched, url: str) -> Page:
    if fetched.pdf is not None:
        from steep.gather.pdf import pdf_text

        return pdf_text(io.BytesIO(base64.b64decode(fetched.pdf)))
    from steep.gather.extraction import main_text

    return main_text(fetched.html or "", url)

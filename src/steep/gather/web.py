"""Documents from websites: a crawl in a child process, then the main text of every page that it kept.

Pages are kept as they came, so a crawl that was interrupted goes on where it was, and only a finished one is
extracted from, in the order of the addresses.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from steep.errors import SourceError
from steep.gather.decoding import Unreadable
from steep.gather.pages import Fetched, Pages
from steep.recipe.gather import WebSource
from steep.records import Document, Failure
from steep.terminal import progress

SECONDS_TO_END = 5


def web_documents(source: WebSource, *, state: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    plan = _plan(source)
    name = source.name or urlsplit(plan["addresses"][0]).hostname or ""
    written = json.dumps(plan, sort_keys=True).encode()
    folder = state / f"web-{hashlib.sha256(written).hexdigest()[:12]}"
    if not (folder / "finished").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _crawl(folder, name, written)
    with (folder / "failures.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            on_failure(Failure(name, **json.loads(line)))
    yield from _extracted(folder, source, name, on_failure)


def _plan(source: WebSource) -> dict[str, Any]:
    """All that decides which pages are fetched; a crawl is resumed only under the same plan."""
    return {
        "addresses": [source.web] if isinstance(source.web, str) else source.web,
        "sitemaps": [source.sitemap] if isinstance(source.sitemap, str) else source.sitemap,
        **source.model_dump(include={"max_pages", "exclude", "timeout", "max_bytes", "user_agent"}),
    }


def _crawl(folder: Path, name: str, plan: bytes) -> None:
    with (folder / "crawl.log").open("ab") as log:
        child = subprocess.Popen(
            # -P: files of the folder that the user is in are no modules
            [sys.executable, "-P", "-m", "steep.gather.spider", str(folder)],
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


def _extracted(folder: Path, source: WebSource, name: str, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    pages = Pages.read(folder / "pages.jsonl")
    with progress(f"read {name}", total=pages.count) as update:
        for page in pages:
            if page.html is None:
                continue
            update()
            if source.include and not any(re.search(pattern, page.url) for pattern in source.include):
                continue
            try:
                yield _document(page, name)
            except Unreadable as error:
                on_failure(Failure(name, page.url, str(error)))
    pages.close()


def _document(fetched: Fetched, name: str) -> Document:
    from steep.gather.extraction import main_text

    page = main_text(fetched.html or "", fetched.url)
    return Document(
        page.text,
        title=page.title,
        source=name,
        url=fetched.url,
        published=page.published,
        owner=page.author,
        licence=page.licence,
        meta=page.meta,
    )

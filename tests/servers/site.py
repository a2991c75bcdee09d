"""Pages for crawls of sites on loopback, and the crawl itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from steep.gather import gather_documents
from steep.recipe.gather import WebSource
from steep.records import Document, Failure

LAST = "The last sentence of this page."


def words(name: str) -> str:
    return f"This is what {name} has to say about kettles, and it takes more than a few words to say it. "


def article(name: str, *links: str, body: str = "", head: str = "", extra: str = "") -> bytes:
    """A page that a crawler gets a text, a title, an author and a date out of."""
    menu = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    return (
        f"<html><head><title>{name}</title><meta name='author' content='Ann Other'>"
        f"<meta property='article:published_time' content='2024-05-06T07:08:09Z'>{head}</head>"
        f"<body>{extra}<nav><ul>{menu}</ul></nav><article><h1>{name}</h1><p>{words(name) * 6}</p>"
        f"<p>{body or words(name) * 3}</p><p>{LAST}</p></article>"
        "<footer>All rights reserved, mind the whistle.</footer></body></html>"
    ).encode()


def sitemap(*urls: str, index: bool = False) -> bytes:
    outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    entries = "".join(f"<{inner}><loc>{url}</loc></{inner}>" for url in urls)
    return f'<{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{outer}>'.encode()


def gather(source: WebSource, state: Path) -> tuple[list[Document], list[Failure]]:
    failures: list[Failure] = []
    documents = gather_documents([source], folder=state, state=state, on_failure=failures.append)
    return list(documents), failures


def titles(documents: list[Document]) -> list[str | None]:
    return [document.title for document in documents]


def start_gathering(source: WebSource, state: Path, **options: Any) -> subprocess.Popen[bytes]:
    program = f"""
import pathlib, steep.gather, steep.recipe.gather
source = steep.recipe.gather.WebSource.model_validate({source.model_dump(exclude_unset=True)!r})
state = pathlib.Path({str(state)!r})
list(steep.gather.gather_documents([source], folder=state, state=state, on_failure=print))
"""
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, **options)

"""gather: fetches text from the sources of a recipe, in the recipe's order.

What cannot be read is reported and left out; only a mistake in the recipe, or nothing at all, is an error. A document
with the address, title and text of one before it is left out without a word: overlapping globs would fill the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from steep.errors import SourceError
from steep.licences import licence_id
from steep.paths import as_text, matching_files, on_this_machine
from steep.recipe.gather import (
    ApifySource,
    FeedSource,
    FilesSource,
    HubSource,
    NewsSource,
    SocialSource,
    SourceSection,
    SqlSource,
    WebSource,
)
from steep.records import Document, Failure

REASONS_SHOWN = 3


def _as_it_is(text: str) -> str:
    return text


def gather_documents(
    sources: Sequence[SourceSection],
    *,
    folder: Path,
    state: Path,
    on_failure: Callable[[Failure], None],
    on_crawled: Callable[[str, dict[str, Any]], None] = lambda name, facts: None,
    hide: Callable[[str], str] = _as_it_is,
    limit: int | None = None,
) -> Iterator[Document]:
    """Each document once. Paths start at ``folder``; ``state`` keeps what a crash must not lose.

    ``on_crawled`` hears of each website what came of its crawl: how many pages were fetched, rendered and why.

    ``limit``: at most this many documents of each source, for a first look.

    ``hide`` takes secrets out of addresses and reasons before they leave. ``state`` holds addresses as they are, since
    a crawl could not go on without them: keep it out of what is finished.

    Raises `SourceError` at the end where there was no document at all.
    """
    failures: list[Failure] = []
    failed = 0

    def note(failure: Failure) -> None:
        nonlocal failed
        failed += 1
        failure = Failure(failure.source, as_text(hide(failure.where)), as_text(hide(failure.reason)))
        if len(failures) < REASONS_SHOWN:
            failures.append(failure)
        on_failure(failure)

    seen: set[str] = set()
    for source in sources:
        asked = source.at_most(limit) if limit else source
        for document in islice(_documents(asked, folder, state, note, on_crawled), limit):
            url = hide(document.url) if document.url else None
            document = replace(document, url=url, licence=licence_id(document.licence))
            if document.id not in seen:
                seen.add(document.id)
                yield document
    if not seen:
        raise SourceError(_nothing(failures, failed))


def input_files(sources: Sequence[SourceSection], *, folder: Path) -> list[Path]:
    """The files on disk that the sources read; `SourceError` where a path or glob matches none."""
    files: dict[Path, None] = {}
    for source in sources:
        if source.on_disk:
            files.update(dict.fromkeys(matching_files(on_this_machine(source.places), folder)))
    return list(files)


def _documents(
    source: SourceSection,
    folder: Path,
    state: Path,
    on_failure: Callable[[Failure], None],
    on_crawled: Callable[[str, dict[str, Any]], None],
) -> Iterator[Document]:
    """Readers are imported here, since some of them are slow to import."""
    match source:
        case FilesSource():
            from steep.gather.files import file_documents

            return file_documents(source, folder=folder, on_failure=on_failure)
        case WebSource():
            from steep.gather.web import web_documents

            return web_documents(source, state=state, on_failure=on_failure, on_crawled=on_crawled)
        case NewsSource():
            from steep.gather.news import news_documents

            return news_documents(source, state=state, on_failure=on_failure)
        case FeedSource():
            from steep.gather.feeds import feed_documents

            return feed_documents(source, state=state, on_failure=on_failure)
        case SocialSource():
            from steep.gather.social import social_documents

            return social_documents(source, folder=folder, on_failure=on_failure)
        case ApifySource():
            from steep.gather.apify import apify_documents

            return apify_documents(source, state=state, on_failure=on_failure)
        case HubSource():
            from steep.gather.hub import hub_documents

            return hub_documents(source, folder=folder, on_failure=on_failure)
        case SqlSource():
            from steep.gather.sql import sql_documents

            return sql_documents(source, folder=folder, on_failure=on_failure)
    raise TypeError(f"no reader for {type(source).__name__}")


def _nothing(failures: Sequence[Failure], failed: int) -> str:
    reasons = "".join(f"\n  {failure.where}: {failure.reason}" for failure in failures)
    more = f"\n  and {failed - len(failures)} more" if failed > len(failures) else ""
    return f"nothing was gathered: {failed} failed{':' if failed else ''}{reasons}{more}"

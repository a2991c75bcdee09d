"""gather: fetches text from the sources of a recipe, in the recipe's order.

What cannot be read is reported and left out; only a mistake in the recipe, or nothing at all, is an error. A document
with the address, title and text of one before it is left out without a word: overlapping globs would fill the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from steep.errors import SourceError
from steep.gather.paths import as_text, matching_files
from steep.recipe import FilesSource, SocialSource, WebSource
from steep.records import Document, Failure

Source = FilesSource | WebSource | SocialSource
REASONS_SHOWN = 3


def _as_it_is(text: str) -> str:
    return text


def gather_documents(
    sources: Sequence[Source],
    *,
    folder: Path,
    state: Path,
    on_failure: Callable[[Failure], None],
    hide: Callable[[str], str] = _as_it_is,
) -> Iterator[Document]:
    """Each document once. Paths start at ``folder``; ``state`` keeps what a crash must not lose.

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
        for document in _documents(source, folder, state, note):
            if document.url:
                document = replace(document, url=hide(document.url))
            if document.id not in seen:
                seen.add(document.id)
                yield document
    if not seen:
        raise SourceError(_nothing(failures, failed))


def input_files(sources: Sequence[Source], *, folder: Path) -> list[Path]:
    """The files on disk that the sources read; `SourceError` where a path or glob matches none."""
    files: dict[Path, None] = {}
    for source in sources:
        if not isinstance(source, WebSource):
            patterns = source.files if isinstance(source, FilesSource) else source.social
            files.update(dict.fromkeys(matching_files(patterns, folder)))
    return list(files)


def _documents(source: Source, folder: Path, state: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    if isinstance(source, FilesSource):
        from steep.gather.files import file_documents

        return file_documents(source, folder=folder, on_failure=on_failure)
    if isinstance(source, SocialSource):
        from steep.gather.social import social_documents

        return social_documents(source, folder=folder, on_failure=on_failure)
    from steep.gather.web import web_documents

    return web_documents(source, state=state, on_failure=on_failure)


def _nothing(failures: Sequence[Failure], failed: int) -> str:
    reasons = "".join(f"\n  {failure.where}: {failure.reason}" for failure in failures)
    more = f"\n  and {failed - len(failures)} more" if failed > len(failures) else ""
    return f"nothing was gathered: {failed} failed{':' if failed else ''}{reasons}{more}"

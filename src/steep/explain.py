"""`steep clean RECIPE --explain DOCUMENT`: what each step of a finished cleaning did to one document, as a diff.

The steps are done again, with what they learned of all documents then; nothing is kept for each document, so it costs
a look through the ids that were gathered, and a cleaning no space.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfuzz.distance import Indel, LCSseq
from rapidfuzz.process import cdist

from steep.config import recipe_from_stored
from steep.errors import UsageError
from steep.recipe import Recipe
from steep.runs import Run
from steep.terminal import harmless

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.text import Text

    from steep.clean.rows import Batch, RowStep

IDS_SHOWN = 5
PAIRS_COMPARED = 100_000
"""In larger passages that differ it is not looked for which piece became which."""
WORDS_COMPARED = 5_000
"""In longer ones the words that differ are not marked."""
ALIKE = 0.5
MOST = 0.7
"""Share of words and blanks; texts that have nothing to do with each other share the blanks, which are half of it."""
_PIECE = re.compile(r"[^\n]*?[.!?](?=\s)[^\S\n]*\n*|[^\n]+\n*|\n+")
_WORD = re.compile(r"\w+|\s|[^\w\s]")
_SIGNS = {"\n": "⏎", "\t": "→", "\u00a0": "°", " ": "·"}
_UNSEEN = re.compile(r"[\n\t\u00a0]| {2,}|^ | (?=\n)")
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What a step did to a document: pieces of text before and after, and the reason where it dropped it."""

    step: str
    before: Sequence[str]
    after: Sequence[str]
    found: Mapping[str, int]
    """How often it found what it puts on record, of each kind."""
    judged: bool
    """Whether it was to drop documents."""
    dropped: str | None


def explain(run: Run, recipe: Recipe, folder: Path, which: str) -> tuple[Mapping[str, Any], Iterator[Change]]:
    """The document as it was gathered, and a change for each step, up to the one that dropped it.

    ``which``: its address, or its id or the beginning of it. Raises RunError where the cleaning is not finished, and
    UsageError where it was done otherwise than the recipe now says, where there is no such document, or more than one.
    """
    from steep.clean import step_functions

    run.need("clean")
    if recipe_from_stored(run.read()["recipe"]).clean != recipe.clean:
        raise UsageError(f"{run.folder} was cleaned by other steps than the recipe now says: `steep clean` it again")
    table = find(run, which)
    return table.to_pylist()[0], _changes(table, step_functions(recipe.clean, folder=folder, work=run.need("clean")))


def _changes(table: pa.Table, steps: Sequence[tuple[str, RowStep]]) -> Iterator[Change]:
    from steep.clean.rows import Batch, Facts

    text, title, meta = (table[column].to_pylist() for column in ("text", "title", "meta"))
    batch = Batch([text[0] or ""], title, meta, Facts(table))
    for name, step in steps:
        before = _pieces(batch)
        batch.drops, batch.findings = [], []
        step(batch)
        found = Counter(finding["kind"] for finding in batch.findings[0]) if batch.findings else {}
        drop = batch.drops[0] if batch.drops else None
        dropped = drop.reason if drop else None if batch.text[0].strip() else "nothing is left of it"
        yield Change(name, before, _pieces(batch), found, bool(batch.drops), dropped)
        if dropped:
            return


def _pieces(batch: Batch) -> list[str]:
    """Title, meta and text, cut where one can compare by eye: sentences and lines."""
    heads = [f"{name}: {value}" for name, value in (("title", batch.title[0]), ("meta", batch.meta[0])) if value]
    return [*heads, *_PIECE.findall(batch.text[0])]


# -------------------------------------------------------------------------------------------------------- finding it


def find(run: Run, which: str) -> pa.Table:
    """The document as it was gathered, with its place among all in the column ``row``."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    place, found = 0, dict[str, tuple[Path, int, int]]()
    for path in sorted((run.need("gather") / "documents").glob("*.parquet")):
        names = pq.read_table(path, columns=["id", "url"])
        meant = pc.or_kleene(pc.equal(names["url"], which), pc.starts_with(names["id"], which))
        for number in pc.indices_nonzero(meant.combine_chunks()).to_pylist():
            found.setdefault(names["id"][number].as_py(), (path, number, place + number))
        place += names.num_rows
    if not found:
        raise UsageError(f"{run.folder}: no document has the id or the address {which!r}; `steep view` shows them")
    if len(found) > 1:
        ids = ", ".join(sorted(found)[:IDS_SHOWN])
        more = f" and {len(found) - IDS_SHOWN:,} more" if len(found) > IDS_SHOWN else ""
        raise UsageError(f"{run.folder}: {which!r} may be any of {len(found):,} documents: {ids}{more}")
    return _row(*found.popitem()[1])


def _row(path: Path, number: int, place: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    group = 0
    while number >= (rows := file.metadata.row_group(group).num_rows):
        number -= rows
        group += 1
    return file.read_row_group(group).slice(number, 1).append_column("row", pa.array([place], pa.int64()))


# --------------------------------------------------------------------------------------------------------- showing it


def print_changes(document: Mapping[str, Any], changes: Iterable[Change], console: Console) -> None:
    from rich.text import Text

    named = (str(document[name]) for name in ("id", "title", "url") if document[name])
    console.print(Text(harmless("  ".join(named)), style="bold"))
    end = "It stays."
    for change in changes:
        pairs = list(_differing(change.before, change.after))
        console.print(Text.assemble("\n", (change.step, "bold"), f": {_said(change, pairs)}"))
        for old, new in pairs:
            _print_pair(old, new, console)
        if change.dropped:
            end = harmless(f"{change.step} drops it: {change.dropped}")
    console.print(Text(f"\n{end}", style="bold"))


Pair = tuple[Sequence[str], Sequence[str]]
"""Pieces that went, and those that came in their place."""


def _differing(before: Sequence[str], after: Sequence[str]) -> Iterator[Pair]:
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if tag == "replace" and (b - a) * (d - c) < PAIRS_COMPARED:
            alike = cdist(before[a:b], after[c:d], scorer=Indel.normalized_similarity)
            yield from _aligned(before[a:b], after[c:d], alike)
        elif tag != "equal":
            yield before[a:b], after[c:d]


def _aligned(old: Sequence[str], new: Sequence[str], alike: Any) -> Iterator[Pair]:
    """Piece by piece where one is like the other: first the two that are most alike, then what is before and after."""
    i, j = divmod(int(alike.argmax()), len(new)) if old and new else (0, 0)
    if old and new and alike[i, j] >= ALIKE:
        yield from _aligned(old[:i], new[:j], alike[:i, :j])
        yield [old[i]], [new[j]]
        yield from _aligned(old[i + 1 :], new[j + 1 :], alike[i + 1 :, j + 1 :])
    elif old or new:
        yield old, new


def _said(change: Change, pairs: Sequence[Pair]) -> str:
    if change.dropped:
        return "dropped"
    if not pairs:
        return "kept" if change.judged else "unchanged"
    counts = Counter[str]()
    for old, new in pairs:
        counts["changed" if old and new else "removed" if old else "added"] += max(len(old), len(new))
    said = ", ".join(f"{counts[what]:,} {what}" for what in ("changed", "removed", "added") if counts[what])
    found = ", ".join(f"{kind} {times:,}" for kind, times in change.found.items())
    return f"{said} ({found})" if found else said


def _print_pair(old: Sequence[str], new: Sequence[str], console: Console) -> None:
    marks = _word_marks("".join(old), "".join(new))
    for sign, style, pieces, marked in zip("-+", ("red", "green"), (old, new), marks, strict=True):
        place = 0
        for piece in pieces:
            text = _visible(piece, style)
            for start, end in marked:
                if start < place + len(piece) and end > place:
                    text.stylize("reverse", max(0, start - place), end - place)
            place += len(piece)
            _print_line(sign, text, console)


def _word_marks(old: str, new: str) -> tuple[list[Span], list[Span]]:
    """Where the words are that differ, in each; nothing where most of the shorter is not in the longer."""
    left, right = list(_WORD.finditer(old)), list(_WORD.finditer(new))
    words = [word[0] for word in left], [word[0] for word in right]
    lengths = sorted(map(len, words))
    if lengths[1] > WORDS_COMPARED or LCSseq.similarity(*words) < MOST * lengths[0]:
        return [], []
    steps = LCSseq.opcodes(*words)
    gone = [(left[step.src_start].start(), left[step.src_end - 1].end()) for step in steps if step.tag == "delete"]
    come = [(right[step.dest_start].start(), right[step.dest_end - 1].end()) for step in steps if step.tag == "insert"]
    return gone, come


def _visible(piece: str, style: str) -> Text:
    """With a sign, of the same length, for what cannot be seen."""
    from rich.text import Text

    signs = _UNSEEN.sub(lambda blanks: "".join(_SIGNS.get(blank, blank) for blank in blanks[0]), piece)
    text = Text(harmless(signs), style=style)
    text.highlight_regex(f"[{''.join(_SIGNS.values())}]", "dim")
    return text


def _print_line(sign: str, text: Text, console: Console) -> None:
    from rich.text import Text

    lines = text.wrap(console, max(20, console.width - 4)) if console.is_terminal else [text]
    for number, line in enumerate(lines):
        console.print(Text.assemble((f"  {' ' if number else sign} ", text.style), line))

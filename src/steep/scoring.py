"""`steep score`: any two files of texts and their references, compared by their wording, without a run.

A file holds one text a line; or, as JSON lines, strings, lists of references, and objects, so that a text may have
several lines and references. All is in memory; chrF takes most of the time: 2 ms for a pair of abstracts, half a minute
for 20,000 of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from steep.errors import UsageError
from steep.evaluate.overlap import (
    MEASURES,
    SKIP,
    Several,
    bleu_rows,
    bleu_signature,
    bleu_value,
    brevity_penalty,
    chrf_rows,
    chrf_signature,
    chrf_value,
    rouge_scores,
    rouge_signature,
)
from steep.evaluate.values import mean
from steep.significance import FEWEST, Interval, interval
from steep.terminal import progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

T = TypeVar("T")
Floats = NDArray[np.float64]

PREDICTION_KEYS = ("prediction", "completion", "text")
REFERENCE_KEYS = ("references", "reference", "completion", "text")
"""What an object may call what is read: the first of them that it has."""
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARTS = ("precision", "recall", "f")
RESAMPLES, SEED, CONFIDENCE = 1000, 42, 0.95
"""As many as ROUGE-1.5.5 draws."""
AT_ONCE = 200
"""Texts between two steps of the progress bar."""
SHOWN = 20
"""Bad lines named in one message."""


@dataclass(frozen=True, slots=True)
class Counting:
    """See `rouge_scores`; ``lowercase`` is for BLEU, as ROUGE always counts in lower case."""

    skip: int | None = SKIP
    stem: bool = False
    several: Several = "best"
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class Overlap:
    """What `steep score` prints. Of ROUGE the means over the texts of `PARTS`; BLEU and chrF of all texts together."""

    texts: int
    references: tuple[int, int]
    """The fewest and the most that a text has."""
    brevity_penalty: float
    corpus: dict[str, Interval]
    rouge: dict[str, dict[str, Interval]]
    signatures: dict[str, str]
    counting: Counting

    def as_dict(self) -> dict[str, Any]:
        drawn = {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED}
        found = asdict(self)
        return found | {"settings": found.pop("counting") | drawn}


def score_files(predictions: Path, references: Path, counting: Counting) -> Overlap:
    """Raises UsageError, with file and line, where a file cannot be read or the two do not belong together."""
    texts = _read(predictions, _prediction)
    wanted = _read(references, _references)
    if len(texts) != len(wanted):
        raise UsageError(
            f"{predictions} holds {len(texts):,} texts and {references} holds {len(wanted):,}: each text needs its "
            "reference in the same place; a text of several lines must be a JSON string in a .jsonl file"
        )
    return score(texts, wanted, counting)


# ------------------------------------------------------------------------------------------------------------ reading


def _read(path: Path, item: Callable[[Any], T]) -> list[T]:
    """One item a line; blank lines count in a file of plain texts, and not between JSON values."""
    lines = _lines(path)
    plain = path.suffix.lower() not in JSON_LINES
    found, problems = list[T](), list[str]()
    for number, line in enumerate(lines, 1):
        try:
            if plain or line.strip():
                found.append(item(line if plain else json.loads(line)))
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}")
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        more = [f"and {len(problems) - SHOWN:,} more lines"] if len(problems) > SHOWN else []
        raise UsageError("\n".join([*problems[:SHOWN], *more]))
    if not found:
        raise UsageError(f"{path} is empty: write one text a line")
    return found


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _prediction(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in PREDICTION_KEYS if key in value), None)
    if not isinstance(value, str):
        raise ValueError(f"neither a string nor an object with a string {_named(PREDICTION_KEYS)}")
    return value


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = next((value[key] for key in REFERENCE_KEYS if key in value), None)
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not several or not all(isinstance(one, str) for one in several):
        raise ValueError(
            f"neither a string nor a list of strings, nor an object that has one as {_named(REFERENCE_KEYS)}"
        )
    return several


def _named(keys: Sequence[str]) -> str:
    return f"{', '.join(map(json.dumps, keys[:-1]))} or {json.dumps(keys[-1])}"


# ----------------------------------------------------------------------------------------------------------- counting


def score(texts: Sequence[str], references: Sequence[Sequence[str]], counting: Counting) -> Overlap:
    bleu, chrf, rouge = _counted(texts, references, counting)
    sizes = sorted({len(several) for several in references})
    number = sizes[0] if len(sizes) == 1 else None
    corpus = {f"bleu{order}": _interval(bleu, partial(bleu_value, order=order)) for order in (1, 2, 3, 4)}
    return Overlap(
        texts=len(texts),
        references=(sizes[0], sizes[-1]),
        brevity_penalty=float(brevity_penalty(bleu.sum(axis=0))),
        corpus=corpus | {"chrf": _interval(chrf, chrf_value)},
        rouge={measure: _means(scores) for measure, scores in rouge.items()},
        signatures={
            "bleu": bleu_signature(number, lowercase=counting.lowercase),
            "chrf": chrf_signature(number),
            "rouge": rouge_signature(skip=counting.skip, stem=counting.stem, several=counting.several),
        },
        counting=counting,
    )


def _counted(
    texts: Sequence[str], references: Sequence[Sequence[str]], counting: Counting
) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Rows of BLEU and of chrF, and precision, recall and F of each text by measure of ROUGE."""
    by_rouge = partial(rouge_scores, skip=counting.skip, stem=counting.stem, several=counting.several)
    bleu, chrf, scores = [], [], []
    with progress("score", total=len(texts)) as update:
        for start in range(0, len(texts), AT_ONCE):
            pairs = texts[start : start + AT_ONCE], references[start : start + AT_ONCE]
            bleu.append(bleu_rows(*pairs, lowercase=counting.lowercase))
            chrf.append(chrf_rows(*pairs))
            scores.append(by_rouge(*pairs, MEASURES))
            update(len(pairs[0]))
    joined = {measure: np.concatenate([part[measure] for part in scores]) for measure in MEASURES}
    return np.concatenate(bleu), np.concatenate(chrf), joined


def _means(scores: Floats) -> dict[str, Interval]:
    ones = np.ones(len(scores))
    return {part: _interval(np.stack([scores[:, n], ones], axis=1), mean) for n, part in enumerate(PARTS)}


def _interval(rows: Floats, value: Callable[[Floats], Floats]) -> Interval:
    return interval(rows, value, confidence=CONFIDENCE, resamples=RESAMPLES, seed=SEED)


# ------------------------------------------------------------------------------------------------------------ showing


def print_scores(found: Overlap, console: Console) -> None:
    least, most = found.references
    several = f"{least}" if least == most else f"{least} to {most}"
    told = "; in brackets the 95 % interval" if found.texts >= FEWEST else ""
    console.print(f"{found.texts:,} text{'s'[: found.texts > 1]}, references of each: {several}{told}\n", markup=False)
    table = _table("", "0 to 100")
    for name, value in found.corpus.items():
        table.add_row(f"BLEU-{name[-1]}" if name.startswith("bleu") else "chrF", _shown(value, 1))
    console.print(table)
    console.print(f"BLEU's brevity penalty: {found.brevity_penalty:.3f}\n")
    table = _table("", *PARTS)
    for name, parts in found.rouge.items():
        table.add_row(_label(name, found.counting.skip), *(_shown(parts[part], 3) for part in PARTS))
    console.print(table)
    console.print()
    for name, signature in found.signatures.items():
        console.print(f"{name}: {signature}", style="dim", markup=False)


def _table(*columns: str) -> Table:
    from rich.table import Table

    return Table(*columns, box=None, padding=(0, 2, 0, 0))


def _shown(found: Interval, digits: int) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _label(measure: str, skip: int | None) -> str:
    distance = ("*" if skip is None else skip) if measure in ("rougeS", "rougeSU") else ""
    return f"ROUGE-{measure.removeprefix('rouge')}{distance}"

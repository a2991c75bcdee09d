"""What the terminal shows: one console, one progress bar. Results go to standard output, progress to standard error."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore",
    "OMP_WAIT_POLICY": "passive",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",
}
"""Environment in which libraries phone nothing home, steep's own progress and messages are the only ones, threads that
wait for each other leave the cores to others (on two busy cores spinning made a training step five times as slow), and
a GPU's memory is not lost in holes between tensors of different sizes.
"""
PLAIN = str.maketrans(
    {"−": "-", "…": "...", "✓": "+", "∞": "inf", "\u00a0": " ", "’": "'", "“": '"', "”": '"', "–": "-"}
)


COMMANDS = str.maketrans(
    {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    | {0x7F: "\u2421"}
    | dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")
)
"""Characters that a terminal obeys (of Unicode's control characters, and those that turn the direction of writing), and
the signs to be seen in their place."""


def harmless(text: str) -> str:
    """A text from elsewhere so that a terminal shows it, of the same length, and is not commanded by it."""
    return text.translate(COMMANDS)


def accept_any_text() -> None:
    """Let no character stop a program whose terminal, pipe or log has an encoding that lacks it."""

    def nearest(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end].translate(PLAIN)
        return "".join(character if character.isascii() else "?" for character in text), error.end

    codecs.register_error("steep.nearest", nearest)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="steep.nearest")  # type: ignore[union-attr]


def console(*, error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar with time left; yields ``update(advance=1, total=None, note="")``. Silent where no terminal is."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console(error=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total, note="")

        def update(advance: int = 1, total: int | None = None, note: str | None = None) -> None:
            bar.update(task, advance=advance, total=total)
            if note is not None:
                bar.update(task, note=note)

        yield update

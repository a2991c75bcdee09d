"""Every error that a user can cause.

::

    SteepError            exit code 1: a stage failed
    ├── UsageError        exit code 2: the recipe or the command line is wrong
    │   └── RecipeError   ... with every mistake of the recipe at once
    ├── SourceError       a source gave nothing usable
    ├── RunError          the run folder cannot be used: held by another run, a stage missing, no space left
    ├── GateError         the run is finished, and misses a limit that the recipe sets
    └── ModelError        a model or tokenizer cannot be loaded or used

A message says what was wrong, where (file and line, document, URL, row), and what to do. The command line prints it
without a traceback.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended; typer's and the shells' as well."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What an OSError bears where nothing more can be written."""


class SteepError(Exception):
    exit_code = 1


class UsageError(SteepError):
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a recipe: ``where`` is ``file:line`` or the override that holds it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class RecipeError(UsageError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SourceError(SteepError):
    pass


class RunError(SteepError):
    pass


class GateError(SteepError):
    def __init__(self, folder: Path, message: str) -> None:
        self.folder = folder
        super().__init__(message)


class ModelError(SteepError):
    pass


def traced(error: Exception, home: Path) -> str:
    """The error of a user's function, and the last line of the user's folder that led to it."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(home)), frames[-1])
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno}: `{frame.line}`)"

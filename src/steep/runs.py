"""The run folder: who holds it, what is finished, and what a stage's result depends on.

A stage writes to ``.<stage>.partial`` and is renamed at the end, so whatever bears a stage's name is whole. What was
there before stays until then: a change that fails at an early stage costs no trained model.
``run.json`` says from which inputs it came: a fingerprint over the stage's part of the recipe, its input files and the
stages before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from steep.errors import RunError

STAGES = ("gather", "clean", "prepare", "train", "evaluate")
PATIENCE = 3.0
"""Seconds to wait for the folder: a stage whose parent was killed needs a moment to notice and end."""


def is_main() -> bool:
    """Whether this process is the one, of several that do the same stage, that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder on disk."""

    folder: Path

    def stage(self, name: str) -> Path:
        return self.folder / name

    def partial(self, name: str) -> Path:
        """Where a stage works until it is finished; kept over interruptions."""
        return self.folder / f".{name}.partial"

    def begin(self, name: str, print_: str) -> None:
        """Note from which inputs a stage's work is made; interrupted work on the same ones goes on."""
        if not self.interrupted(name, print_):
            shutil.rmtree(self.partial(name), ignore_errors=True)
        self.update("begun", name, print_)
        self.partial(name).mkdir(exist_ok=True)

    def finish(self, name: str, seconds: float) -> None:
        """Give a stage's work its name, in place of what bore it, and note it; one without the other is no result."""
        shutil.rmtree(self.stage(name), ignore_errors=True)
        self.partial(name).rename(self.stage(name))
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        print_ = self.read()["begun"][name]
        self.update("stages", name, {"fingerprint": print_, "seconds": round(seconds, 2), "finished": finished})

    def interrupted(self, name: str, print_: str) -> bool:
        """Whether a stage was begun from these inputs and did not come to its end."""
        return self.read()["begun"].get(name) == print_ and self.partial(name).is_dir()

    def unchanged(self, prints: Mapping[str, str]) -> tuple[str, ...]:
        """The stages whose results were made from these inputs, up to the first that is missing or changed."""
        finished = self.read()["stages"]

        def is_whole(name: str) -> bool:
            return finished.get(name, {}).get("fingerprint") == prints[name] and self.stage(name).is_dir()

        return tuple(takewhile(is_whole, STAGES))

    def discard(self, names: Sequence[str], *, keep: str | None = None) -> None:
        """Forget stages and the report on them: what is finished, and what was interrupted except in ``keep``.

        Their folders stay until the stage is done again: without a record they are no results.
        """
        record = self.read()
        for name in names:
            record["stages"].pop(name, None)
            if name != keep:
                record["begun"].pop(name, None)
        self.write(record)
        (self.folder / "report.html").unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """``run.json``, or an empty record. Raises RunError where it cannot be read."""
        path = self.folder / "run.json"
        record = _json(path, f"remove {path}, and every stage runs again") if path.exists() else {}
        return {"stages": {}, "begun": {}, **record}

    def update(self, section: str, key: str, value: Any) -> None:
        record = self.read()
        record[section][key] = value
        self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        write_atomically(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False))

    def summary(self, name: str) -> dict[str, Any]:
        """What a finished stage says of itself."""
        return _json(self.stage(name) / "summary.json", f"remove {self.stage(name)}, and the stage runs again")

    def need(self, name: str) -> Path:
        """The folder of a finished stage. Raises RunError where it is not finished."""
        if name not in self.read()["stages"] or not self.stage(name).is_dir():
            raise RunError(f"{self.folder}: the stage {name} is not finished; run `steep {name} RECIPE` first")
        return self.stage(name)


def _json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged (a {type(found).__name__} where an object belongs): {remedy}")
    return found


@contextmanager
def hold(run: Run) -> Iterator[int]:
    """Hold the run folder; yields the lock's file descriptor, to be passed to child processes.

    The lock is the operating system's, so it ends with the last process that has it, however that ends. Raises RunError
    that says who holds the folder.
    """
    with _lock_file(run.folder) as file:
        _acquire(file.fileno(), run.folder)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield file.fileno()


def _lock_file(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror}): give another folder with --runs") from error


def _acquire(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = (folder / ".lock").read_text("utf-8") or "another process"
                raise RunError(
                    f"{folder} is in use by {holder}: wait for it, stop it, or give this run another `name`"
                ) from None
            time.sleep(0.1)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that at any moment either the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-like values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

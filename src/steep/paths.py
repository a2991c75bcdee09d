"""Which files a recipe names: paths and globs, and what to say where there are none; and how they are opened."""

from __future__ import annotations

import glob
import gzip
import io
import lzma
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from steep.errors import SourceError

SHOWN = 5


def matching_files(patterns: str | Sequence[str], folder: Path) -> list[Path]:
    """The files of each pattern in sorted order, each once; a pattern without any is an error."""
    found: dict[Path, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found.update(dict.fromkeys(_matches(pattern, folder)))
    return list(found)


def on_this_machine(patterns: Sequence[str]) -> list[str]:
    """Those that are no address of an object store."""
    return [pattern for pattern in patterns if "://" not in pattern]


def function_file(call: str, folder: Path) -> Path | None:
    """The file beside the recipe that holds the function `module:name`; None if its module must be installed."""
    place = folder.joinpath(*call.partition(":")[0].split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def as_text(name: str | Path) -> str:
    """The name of a file, which may be any bytes, as text that can be stored: what is not UTF-8 becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(name))  # Python's stand-ins for bytes that do not fit


def _open_zst(path: Path, mode: str) -> io.BufferedReader:
    import pyarrow as pa  # raises on a truncated file, which the zstandard package does not

    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zst}


def kind_of(path: Path) -> str:
    """The suffix that tells the format, without that of a compression: `.jsonl` for `posts.jsonl.gz`."""
    return Path(path.stem if path.suffix.lower() in OPENERS else path.name).suffix.lower()


def open_bytes(path: Path) -> BinaryIO:
    opener = OPENERS.get(path.suffix.lower(), Path.open)
    return cast("BinaryIO", opener(path, "rb"))


def open_text(path: Path, encoding: str, *, errors: str = "strict", newline: str | None = None) -> TextIO:
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors=errors, newline=newline)


def _matches(pattern: str, folder: Path) -> list[Path]:
    path = folder / Path(pattern).expanduser()
    if path.is_file():  # also where its name holds a bracket
        return [path]
    if path.is_dir():
        raise SourceError(
            f"{pattern!r} is a folder: name the files in it, for example '{pattern.rstrip('/')}/**/*.txt'"
        )
    # unlike Path.glob, this takes absolute patterns and leaves hidden files alone
    matches = glob.glob(str(Path(pattern).expanduser()), root_dir=folder, recursive=True)  # noqa: PTH207
    files = sorted(found for match in matches if (found := folder / match).is_file())
    if not files:
        raise SourceError(f"no file matches {pattern!r}: {_what_is_there(path)}")
    return files


def _what_is_there(path: Path) -> str:
    """Follows the path as far as it exists; from there, the nearest name or what there is instead."""
    folder = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not (folder / part).exists():
            break
        folder /= part
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    near = get_close_matches(part, names, n=1)
    if near:
        return f"there is no {part!r} in {folder}; did you mean {near[0]!r}?"
    more = ", …" if len(names) > SHOWN else ""
    return f"{folder} holds " + (", ".join(names[:SHOWN]) + more if names else "nothing")

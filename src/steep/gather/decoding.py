"""Bytes on disk to text: finds out the encoding of files, also of compressed ones.

The encoding is decided by one pass over the whole file before any of it is used: UTF-8 is certain only at the last
byte, and a file that turns out to be truncated or binary is refused as a whole. The price is that a file is
decompressed twice (0.8 s more for 62 MB out of .xz); nothing is held in memory.
"""

from __future__ import annotations

import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from steep.errors import SourceError
from steep.paths import open_bytes

CHUNK = 1 << 20
MAX_CONTROL_SHARE = 0.01
BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark starts with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WIDE = ["utf_16_le", "utf_16_be"]
NEVER_GUESSED = ["utf_7", "utf_16", *WIDE, "utf_32", "utf_32_le", "utf_32_be"]
# bytes that no text holds: control characters but for white space and escape
CONTROL = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))


class Unreadable(SourceError):
    """One file or row cannot be used; it becomes a `Failure` and the run goes on."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into `Unreadable`, with a reason for people."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"not {error.encoding} text (byte {error.object[error.start]:#04x}); set `encoding`"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise Unreadable(f"broken {path.suffix} file: {error}") from error
    except OSError as error:
        if error.errno is None:  # pyarrow, of a broken .zst
            raise Unreadable(f"broken {path.suffix} file: {error}") from error
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def find_encoding(path: Path) -> str:
    """A byte order mark decides, else UTF-8 if every byte fits, else charset-normalizer's judgement."""
    with open_bytes(path) as stream:
        head = stream.read(CHUNK)
        certain = _encoding_by_head(head)
        if certain is not None:
            return certain
        offending = _first_chunk_not_utf8(head, stream)
    return "utf-8" if offending is None else guess_encoding(offending)


def encoding_by_head(path: Path) -> str | None:
    """What the first bytes give away: a byte order mark, or two bytes a character."""
    with open_bytes(path) as stream:
        return _encoding_by_head(stream.read(CHUNK // 16))


def _encoding_by_head(head: bytes) -> str | None:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        return _guess_wide(head)
    if len(head) - len(head.translate(None, CONTROL)) > MAX_CONTROL_SHARE * len(head):
        raise Unreadable("binary, not text")
    return None


def _first_chunk_not_utf8(head: bytes, stream: BinaryIO) -> bytes | None:
    decoder, chunk = codecs.getincrementaldecoder("utf-8")(), head
    try:
        while following := stream.read(CHUNK):
            decoder.decode(chunk)
            chunk = following
        decoder.decode(chunk, final=True)
    except UnicodeDecodeError:
        return chunk
    return None


def _guess_wide(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=WIDE).best()
    if best is None:
        raise Unreadable("binary, not text")
    return best.encoding


def guess_encoding(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_exclusion=NEVER_GUESSED)
    best = matches.best()
    if best is None:
        raise Unreadable("in no encoding that is known; set `encoding`")
    # Code pages of Europe share most letters. Where the most common one explains the text as well, it is the right one.
    western = (match for match in matches if "cp1252" in match.could_be_from_charset)
    return "cp1252" if any(match.coherence >= best.coherence for match in western) else best.encoding

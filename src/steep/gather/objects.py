"""Files in object stores and on the web, by address: found and fetched by Daft, one at a time.

An object is copied to a temporary file and read from there, so that there is one way of reading files: the price is
the space of the largest one on disk. From a server that cannot send parts (Python's own, some small ones) Daft takes
a file as a whole into memory first. Credentials are those of each store's own tools, from the environment.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from steep.errors import SourceError
from steep.gather.decoding import Unreadable

TRIES = 3
WAIT = 10_000
"""Milliseconds for a connection, and for the first byte of an answer. Daft's own settings take up to minutes."""
WEB = ("http", "https")
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY",
    "hf": "HF_TOKEN",
}
"""Variables of the environment that Daft looks at."""
_REFUSED = re.compile(r"40[13]|denied|credential|not set|unhandled error", re.IGNORECASE)
"""An unhandled error is what Daft makes of a refusal by S3."""
_WHICH = re.compile(r" for url \(.*?\)| (?:trying to read|for|when trying to connect to) path:? (?:`[^`]*`|\S+)")


def without_secrets(address: str) -> str:
    """The address without user, password and query, which may hold a signature."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_of(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).name


def matching_objects(address: str) -> list[str]:
    """The address itself, or what a glob finds, sorted; `SourceError` where that is nothing."""
    import daft

    try:
        if not _is_glob(address):
            return [address]
    except ValueError as error:  # the address itself may hold a secret
        raise SourceError(f"an address in `files` is none: {error}") from None
    try:
        found = daft.from_glob_path(address, io_config=_settings()).sort("path").to_pydict()["path"]
    except (ValueError, OSError) as error:
        if "at least 1 MicroPartition" not in str(error):  # Daft, of a glob without matches
            raise SourceError(f"{without_secrets(address)}: {_reason(error, address)}") from None
        found = []
    if not found:
        raise SourceError(f"nothing matches {without_secrets(address)!r}: look at the address, and at the glob in it")
    return [str(path) for path in found]


def _is_glob(address: str) -> bool:
    path = urlsplit(address).path if address.startswith(WEB) else address.partition("://")[2]
    return re.search(r"\*" if address.startswith(WEB) else r"[*?\[]", path) is not None


@contextmanager
def fetched(address: str) -> Iterator[Path]:
    """A file with the same name and content, gone afterwards; `Unreadable` where the object cannot be had."""
    import daft

    try:
        copy = daft.File(address, io_config=_settings()).to_tempfile()
    except FileNotFoundError:
        raise Unreadable("not there") from None
    except (ValueError, OSError) as error:
        raise Unreadable(f"cannot be fetched: {_reason(error, address)}") from None
    with copy, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name_of(address)
        try:
            path.symlink_to(copy.name)  # the name tells the kind of file
        except (ValueError, OSError):
            raise Unreadable("its address does not end in the name of a file") from None
        yield path


def _settings() -> Any:
    from daft.io import HTTPConfig, IOConfig, S3Config

    patience = {"num_tries": TRIES, "connect_timeout_ms": WAIT, "read_timeout_ms": WAIT}
    return IOConfig(http=HTTPConfig(**patience), s3=S3Config(**patience))


def _reason(error: Exception, address: str) -> str:
    """The last of the causes that Daft numbers, and what to set where the store may have refused."""
    causes = re.findall(r"^ +\d+: (.+)", str(error), re.MULTILINE) or str(error).splitlines()
    said = _WHICH.sub("", ": ".join(causes[-2:])).replace(address, without_secrets(address)).rstrip(".")
    variables = CREDENTIALS.get(urlsplit(address).scheme)
    return f"{said}; if it needs credentials, set {variables}" if variables and _REFUSED.search(said) else said

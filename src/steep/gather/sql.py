"""Documents from the rows of a data base, through SQLAlchemy, as a stream.

`daft.read_sql` is left out: it learns the types of columns from some rows and drops without a word what does not fit
them, and it holds the result in memory at 5 times the size of its text (1 GB for 200 MB, where this takes 4 MB).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from steep.errors import SourceError
from steep.gather.rows import NoColumn, Origin, Rows, few, row_documents
from steep.paths import matching_files
from steep.recipe.gather import SqlSource
from steep.records import Document, Failure
from steep.terminal import progress

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

PATIENCE = 10
"""Seconds for a connection."""
ROWS = 1000
"""Asked for at a time."""
QUERY = re.compile(r"(?:\s+|--[^\n]*\n|/\*.*?\*/)*(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL)
BYTES = (bytes, bytearray, memoryview)
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""What an address without a driver stands for."""
PACKAGES = {"psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}
"""Of modules that are called otherwise."""
EXAMPLE = "sqlite:///articles.db or postgresql://user:password@host/name"


def sql_documents(source: SqlSource, *, folder: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    """`SourceError` where the data base cannot be reached or refuses the query; no password is in it."""
    name = source.name or "sql"
    empty = True

    def report(where: str, reason: str) -> None:
        on_failure(Failure(name, f"{name}:{where}" if where else name, reason))

    address = _address(source, folder)
    fetched = None if address.get_backend_name() == "sqlite" else datetime.now(UTC)
    with _explained(address), progress(name) as update, few(report) as reported:
        _look_for_driver(address)
        rows = _rows(source, address, update)
        for document in row_documents(rows, source, Origin(name, source.licence, fetched), reported):
            empty = False
            yield document
    if empty:
        report("", "the query gives no text")


def _address(source: SqlSource, folder: Path) -> URL:
    try:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ModuleNotFoundError:
        raise SourceError("a source of the kind `sql` needs more packages: pip install 'steep[sql]'") from None
    try:
        address = make_url(source.connection)
    except (ArgumentError, ValueError):  # whose words may hold a part of the password
        raise SourceError(
            f"`connection` is no address of a data base, such as {EXAMPLE}; in a password write @ as %40, : as %3A, "
            "/ as %2F and % as %25"
        ) from None
    address = address.set(drivername=DRIVERS.get(address.drivername, address.drivername))
    return _on_disk(address, folder) if address.get_backend_name() == "sqlite" else address


def _look_for_driver(address: URL) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError

    try:
        create_engine(address)
    except NoSuchModuleError:
        raise SourceError(f"{address.drivername}:// is no data base that SQLAlchemy knows: try {EXAMPLE}") from None
    except ModuleNotFoundError as error:
        package = PACKAGES.get(error.name or "", error.name)
        raise SourceError(f"{address.drivername}:// needs one more package: pip install '{package}'") from None


def _on_disk(address: URL, folder: Path) -> URL:
    if not address.database or address.database == ":memory:":
        raise SourceError("`connection` names no file: write sqlite:///articles.db, or four slashes before a full path")
    file, *more = matching_files(address.database, folder)
    if more:
        raise SourceError(f"`connection` names {1 + len(more)} files: a source reads one data base")
    return address.set(database=str(file.resolve()))


def _connect(address: URL) -> Connection:
    from sqlalchemy import NullPool, create_engine

    patience = {"connect_timeout": PATIENCE} if address.drivername in DRIVERS.values() else {}
    return create_engine(address, poolclass=NullPool, connect_args=patience).connect()


def _rows(source: SqlSource, address: URL, update: Callable[..., None]) -> Rows:
    """Nothing is committed, so that no query changes the data base."""
    if not QUERY.match(source.sql):
        raise SourceError("`sql` must be a query that starts with SELECT or WITH; steep changes no data base")
    options = {"yield_per": ROWS, "no_parameters": True}  # a % or : in the query is one
    with _connect(address).execution_options(**options) as connection:
        found = connection.exec_driver_sql(source.sql).mappings()
        for number, row in enumerate(itertools.islice(found, source.limit), 1):
            yield f"row {number}", {name: value for name, value in row.items() if not isinstance(value, BYTES)}
            update()


@contextmanager
def _explained(address: URL) -> Iterator[None]:
    """Turns what SQLAlchemy and the drivers raise into a `SourceError` without secrets that says what to do."""
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    shown = URL.create(address.drivername, host=address.host, port=address.port, database=address.database)
    try:
        yield
    except NoColumn as error:
        raise SourceError(f"{shown}: {error}") from None
    except (SQLAlchemyError, RuntimeError, ValueError) as error:
        raise SourceError(f"{shown}: {_without(_secrets(address), _reason(error))}") from None


def _reason(error: Exception) -> str:
    """What the data base or its driver says, without what SQLAlchemy puts around it."""
    said = re.sub(r"(?s)\n(?:LINE \d+:|\[SQL: ).*$|\(Background on this error.*$", "", str(error))
    return " ".join(re.sub(r"^\([\w.]+\) ", "", said).split())


def _secrets(address: URL) -> list[str]:
    values = [address.password or "", *itertools.chain.from_iterable(address.normalized_query.values())]
    return [form for value in values if value for form in (value, quote(value, safe=""), quote_plus(value))]


def _without(secrets: list[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text

"""Rows of data bases: SQLite files, and a real PostgreSQL where one is installed."""

from __future__ import annotations

import glob
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from steep.errors import SourceError
from steep.gather.sql import sql_documents
from steep.recipe.gather import SqlSource
from steep.records import Document, Failure

pytest.importorskip("sqlalchemy")

QUERY = "SELECT body AS text, headline AS title, day AS published, link AS url, stars FROM articles ORDER BY id"


def read(folder: Path, sql: str = QUERY, **options: Any) -> tuple[list[Document], list[str]]:
    failures: list[Failure] = []
    options = {"connection": "sqlite:///articles.db", **options}
    documents = list(sql_documents(SqlSource(sql=sql, **options), folder=folder, on_failure=failures.append))
    return documents, [f"{failure.where}: {failure.reason}" for failure in failures]


def error_of(folder: Path, sql: str = QUERY, **options: Any) -> str:
    with pytest.raises(SourceError) as error:
        read(folder, sql, **options)
    return str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty articles; the first twenty have no title."""
    rows = [
        (n, f"Text {n}.", None if n < 20 else f"No. {n}", "2024-02-03", f"https://example.com/{n}", n / 2, b"\0")
        for n in range(30)
    ]
    with sqlite3.connect(tmp_path / "articles.db") as data:
        data.execute("CREATE TABLE articles (id INTEGER, body, headline, day DATE, link TEXT, stars, raw BLOB)")
        data.executemany("INSERT INTO articles VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    data.close()
    return tmp_path


def test_the_rows_of_a_query_are_documents(folder: Path) -> None:
    documents, failures = read(folder, licence="own")
    assert (len(documents), failures) == (30, [])
    assert documents[21] == Document(
        "Text 21.",
        title="No. 21",
        source="sql",
        url="https://example.com/21",
        published=datetime(2024, 2, 3, tzinfo=UTC),
        licence="own",
        meta={"stars": 10.5},
    )


def test_a_column_that_begins_with_many_nulls_is_not_lost(folder: Path) -> None:
    documents, _ = read(folder)
    assert [document.title for document in documents] == [None] * 20 + [f"No. {n}" for n in range(20, 30)]


def test_columns_are_those_that_the_recipe_names_and_bytes_are_left_out(folder: Path) -> None:
    documents, _ = read(folder, "SELECT id, raw, body, link FROM articles;", text="body", url="link", name="posts")
    assert (documents[2].text, documents[2].url, documents[2].source) == ("Text 2.", "https://example.com/2", "posts")
    assert documents[2].meta == {"id": 2}


def test_a_limit_is_asked_of_the_data_base(folder: Path) -> None:
    assert [document.text for document in read(folder, limit=2)[0]] == ["Text 0.", "Text 1."]
    assert len(read(folder, limit=50)[0]) == 30


def test_rows_without_text_are_told_by_their_number(folder: Path) -> None:
    documents, failures = read(folder, "SELECT headline AS text FROM articles WHERE id IN (1, 2, 21) ORDER BY id")
    assert [document.text for document in documents] == ["No. 21"]
    assert failures == ["sql:row 1: empty text", "sql:row 2: empty text"]
    assert read(folder, "SELECT body AS text FROM articles WHERE id > 99") == ([], ["sql: the query gives no text"])


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT body AS txt FROM articles", "no column 'text'; there is txt; did you mean 'txt'?"),
        ("SELECT id AS text, body FROM articles", "column 'text' holds a int, not text; there is body; "
         "name the one that holds the text with `text:`"),
        ("SELECT body AS text FROM artikels", "no such table: artikels"),
        ("SELECT body AS text, n FROM articles", "no such column: n"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_query_is_told(folder: Path, sql: str, message: str) -> None:
    assert error_of(folder, sql) == f"sqlite:///{folder}/articles.db: {message}"


def test_nothing_but_a_query_is_run(folder: Path) -> None:
    for sql in ("DELETE FROM articles", "UPDATE articles SET body = ''", "DROP TABLE articles", "SELEC body"):
        assert error_of(folder, sql).startswith("`sql` must be a query that starts with SELECT or WITH")
    assert len(read(folder)[0]) == 30


def test_paths_of_sqlite_start_at_the_recipes_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert len(read(folder)[0]) == len(read(folder, connection=f"sqlite:///{folder}/articles.db")[0]) == 30
    assert error_of(folder, connection="sqlite:///artcles.db") == (
        f"no file matches 'artcles.db': there is no 'artcles.db' in {folder}; did you mean 'articles.db'?"
    )
    assert not (folder / "artcles.db").exists()
    assert error_of(folder, connection="sqlite://").startswith(
        "`connection` names no file: write sqlite:///articles.db"
    )
    shutil.copy(folder / "articles.db", folder / "copy.db")
    assert error_of(folder, connection="sqlite:///*.db") == "`connection` names 2 files: a source reads one data base"
    (folder / "notes.db").write_text("no data base at all" * 99)
    assert error_of(folder, connection="sqlite:///notes.db").endswith("file is not a database")


@pytest.mark.parametrize("missing", ["sqlalchemy"])
def test_without_the_extra_it_is_told_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert error_of(folder) == "a source of the kind `sql` needs more packages: pip install 'steep[sql]'"


# ---------------------------------------------------------------------------------------------------------- addresses

PASSWORD = "ge/h@im %1"
WRITTEN = "ge%2Fh%40im%20%251"


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (f"tea:{WRITTEN}@127.0.0.1", "`connection` is no address of a data base, such as sqlite:///articles.db or "),
        ("postgresql://tea:ge/h@im:%1@127.0.0.1/shop", "`connection` is no address of a data base, such as "),
        (
            f"teapot://tea:{WRITTEN}@h/shop",
            "teapot:// is no data base that SQLAlchemy knows: try sqlite:///articles.db",
        ),
        (
            f"oracle+oracledb://tea:{WRITTEN}@h/shop",
            "oracle+oracledb:// needs one more package: pip install 'oracledb'",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_password(
    tmp_path: Path, connection: str, message: str
) -> None:
    found = error_of(tmp_path, connection=connection)
    assert found.startswith(message)
    assert not any(part in found for part in ("ge/h", "im %1", WRITTEN))


def test_what_stands_in_the_query_of_an_address_is_taken_for_a_secret(folder: Path) -> None:
    message = error_of(folder, connection="sqlite:///articles.db?timeout=wr0ng-secret")
    assert message == f"sqlite:///{folder}/articles.db: could not convert string to float: '***'"


def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    start = time.monotonic()
    found = error_of(tmp_path, connection=f"postgresql://tea:{WRITTEN}@127.0.0.1:1/shop")
    assert found.startswith("postgresql+psycopg://127.0.0.1:1/shop: connection failed: ")
    assert "Connection refused" in found
    assert PASSWORD not in found
    assert WRITTEN not in found
    assert time.monotonic() - start < 10


# --------------------------------------------------------------------------------------------------------- PostgreSQL

PROGRAMS = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), "")  # noqa: PTH207
SETUP = """
CREATE TABLE articles (
    id serial, body text, headline varchar, parts text[], facts jsonb, key uuid DEFAULT gen_random_uuid(),
    price numeric, moment timestamptz DEFAULT '2024-02-03 04:05:06+01', kind inet DEFAULT '127.0.0.1'
);
INSERT INTO articles (body, headline, parts, facts, price)
SELECT 'Text ' || n, CASE WHEN n > 20 THEN 'No. ' || n END, ARRAY['Tea', 'for two'], '{"cups": 2}', n * 1000.25
FROM generate_series(1, 30) AS n;
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The address of a server on loopback; as root it runs as nobody, since PostgreSQL refuses root."""
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    who: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    programs = Path(PROGRAMS).resolve().parent
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if who:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody", "nogroup")
        data = ["-D", f"{folder}/data"]
        setup = ["-U", "tea", "-A", "scram-sha-256", "--pwfile", f"{folder}/password", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run([programs / "initdb", *data, *setup], check=True, capture_output=True, cwd=folder, **who)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = ["-p", f"{port}", "-k", name, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        log = (folder / "log").open("wb")
        with log, subprocess.Popen([programs / "postgres", *data, *settings], stderr=log, cwd=folder, **who) as server:
            _set_up(port)
            yield f"postgresql://tea:{WRITTEN}@127.0.0.1:{port}/postgres"
            server.terminate()


def _set_up(port: int) -> None:
    import psycopg

    for _ in range(100):
        try:
            with psycopg.connect(
                host="127.0.0.1", port=port, user="tea", password=PASSWORD, dbname="postgres"
            ) as connection:
                connection.execute(SETUP)
                return
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise RuntimeError("PostgreSQL does not start")


def test_types_of_postgresql_are_kept_as_far_as_json_has_them(tmp_path: Path, postgresql: str) -> None:
    sql = "SELECT body AS text, headline AS title, moment AS published, facts, key, price FROM articles ORDER BY id"
    documents, failures = read(tmp_path, sql, connection=postgresql)
    assert (len(documents), failures) == (30, [])
    last = documents[-1]
    assert (last.text, last.title, documents[0].title) == ("Text 30", "No. 30", None)
    assert last.published == datetime(2024, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert last.fetched is not None
    assert (last.meta["facts"], str(last.meta["price"]), len(str(last.meta["key"]))) == ({"cups": 2}, "30007.50", 36)


def test_an_array_of_texts_becomes_one_text(tmp_path: Path, postgresql: str) -> None:
    documents, _ = read(tmp_path, "SELECT parts AS text FROM articles", connection=postgresql, limit=1)
    assert [document.text for document in documents] == ["Tea\n\nfor two"]


def test_what_drivers_give_as_objects_and_signs_in_a_query_that_look_like_parameters_are_taken(
    tmp_path: Path, postgresql: str
) -> None:
    sql = "SELECT body AS text, kind, 'half past :ten, 50%' AS said FROM articles /* :no 100%s */"
    (document, *_), failures = read(tmp_path, sql, connection=postgresql)
    row = json.loads(document.row()["meta"])
    assert (row["kind"].partition("/")[0], row["said"], failures) == ("127.0.0.1", "half past :ten, 50%", [])


def test_a_query_that_would_delete_leaves_the_data_base_as_it_was(tmp_path: Path, postgresql: str) -> None:
    sql = "WITH gone AS (DELETE FROM articles RETURNING *) SELECT body AS text FROM gone"
    assert "must not contain data-modifying statements" in error_of(tmp_path, sql, connection=postgresql)
    assert len(read(tmp_path, "SELECT body AS text FROM articles", connection=postgresql)[0]) == 30


@pytest.mark.parametrize("place", [":wr0ng-secret@", "@"])
def test_what_postgresql_refuses_is_told_without_the_password(tmp_path: Path, postgresql: str, place: str) -> None:
    connection = postgresql.replace(f":{WRITTEN}@", place) + ("?password=wr0ng-secret" if place == "@" else "")
    message = error_of(tmp_path, connection=connection)
    assert message.endswith('password authentication failed for user "tea"')
    assert "wr0ng-secret" not in message
    message = error_of(tmp_path, "SELECT body AS text FROM artikels", connection=postgresql)
    assert message.endswith('relation "artikels" does not exist')

"""Files of every kind and encoding, and what is said of those that cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers.pdfs import pdf
from servers.store import Store, serving
from steep.errors import SourceError
from steep.gather import gather_documents, input_files
from steep.gather.dates import parse_date
from steep.recipe.gather import FilesSource
from steep.records import Document, Failure, document_schema, failure_schema, write_rows

ROWS = [
    {"text": "Mind the whistle.", "title": "One", "published": "2024-02-03", "url": "https://example.com/1", "n": 1},
    {"text": "A kettle is a promise.", "title": "", "published": "", "url": None, "n": 2},
]


def read(folder: Path, files: str | list[str] = "*", **options: Any) -> tuple[list[Document], list[str]]:
    """Documents, and failures as `file[:place]: reason`."""
    failures: list[Failure] = []
    documents: list[Document] = []
    source = FilesSource(files=files, **options)
    try:
        documents.extend(gather_documents([source], folder=folder, state=folder, on_failure=failures.append))
    except SourceError as error:
        if not str(error).startswith("nothing was gathered"):
            raise
    return documents, [f"{failure.where.removeprefix(f'{folder}/')}: {failure.reason}" for failure in failures]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def as_jsonl() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_table(delimiter: str) -> bytes:
    lines = [delimiter.join(ROWS[0])] + [delimiter.join("" if v is None else str(v) for v in r.values()) for r in ROWS]
    return "\n".join(lines).encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


TABLES = {"jsonl": as_jsonl(), "csv": as_table(","), "tsv": as_table("\t"), "parquet": as_parquet()}
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_kind_are_read_packed_or_not(tmp_path: Path, kind: str, packed: str) -> None:
    (tmp_path / f"posts.{kind}{packed}").write_bytes(PACKERS[packed](TABLES[kind]))
    documents, failures = read(tmp_path, licence="CC0")
    assert not failures
    assert [document.text for document in documents] == ["Mind the whistle.", "A kettle is a promise."]
    first, second = documents
    assert (first.title, first.url, first.licence) == ("One", "https://example.com/1", "cc0")
    assert first.published == datetime(2024, 2, 3, tzinfo=UTC)
    assert first.source == f"posts.{kind}{packed}"
    assert {name: int(value) for name, value in first.meta.items()} == {"n": 1}
    assert (second.title, second.url, second.published) == (None, None, None)


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", ["txt", "md"])
def test_a_text_file_is_one_document(tmp_path: Path, kind: str, packed: str) -> None:
    (tmp_path / f"note.{kind}{packed}").write_bytes(PACKERS[packed]("One.\r\n\r\n\r\nTwo: ü.\r\n".encode()))
    (document,), failures = read(tmp_path, name="notes")
    assert (document.text, document.source, document.meta) == (
        "One.\n\n\nTwo: ü.",
        "notes",
        {"file": f"note.{kind}{packed}"},
    )
    assert not failures


def test_an_html_file_gives_its_main_text(tmp_path: Path) -> None:
    words = "<p>" + "The kettle sings when the water is ready for the pot. " * 8 + "</p>"
    page = (
        f"<html><head><title>Straße</title></head><body><nav><a href=/>Menu</a></nav><article>{words}</article></html>"
    )
    (tmp_path / "page.html").write_bytes(page.encode("latin-1"))
    (tmp_path / "bare.html").write_text("<html><body></body></html>")
    (document,), failures = read(tmp_path)
    assert document.title == "Straße"
    assert document.text.startswith("The kettle sings")
    assert "Menu" not in document.text
    assert failures == ["bare.html: no main text found"]


def test_columns_are_those_that_the_recipe_names(tmp_path: Path) -> None:
    row = {"body": "Text.", "headline": "Title", "date": "Fri, 22 Oct 2010 11:33:15 -0400", "link": "https://a.example"}
    (tmp_path / "a.jsonl").write_text(json.dumps({**row, "text": "left alone"}))
    (document,), _ = read(tmp_path, text="body", title="headline", published="date", url="link")
    assert (document.text, document.title, document.url) == ("Text.", "Title", "https://a.example")
    assert document.published == datetime(2010, 10, 22, 15, 33, 15, tzinfo=UTC)
    assert document.meta == {"text": "left alone"}


# ---------------------------------------------------------------------------------------------------- encodings

GERMAN = "Über Köln weht ein schöner Wind; die Straße glänzt. "


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "latin-1"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        ("café", "latin-1"),
        ("A plain English text with one café in it, and nothing else, really.", "latin-1"),
        ("L'été dernier, la forêt naïve était très belle à côté du château.", "latin-1"),
        ("It’s “quoted” text — with dashes, and a café.", "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy. Dnes večer půjdeme do města.", "cp1250"),
        ("Привет мир, это обычный текст на русском языке.", "cp1251"),
        ("日本語のテキストです。今日は天気がいい。", "shift_jis"),
    ],
)
def test_the_encoding_is_detected(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (document,), _ = read(tmp_path)
    assert document.text == text


def test_one_byte_that_is_not_utf_8_is_noticed_behind_the_first_megabyte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"plain words \n" * 200_000 + GERMAN.encode("latin-1"))
    documents, _ = read(tmp_path)
    assert documents[-1].text.endswith(GERMAN)


def test_an_encoding_that_is_given_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Zażółć gęślą jaźń".encode("iso-8859-2"))
    (document,), _ = read(tmp_path, encoding="iso-8859-2")
    assert document.text == "Zażółć gęślą jaźń"


def test_tables_in_other_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f"text\n{GERMAN}\n".encode("latin-1"))
    (tmp_path / "b.jsonl").write_bytes(json.dumps({"text": GERMAN + "b"}, ensure_ascii=False).encode("utf-16"))
    (tmp_path / "c.tsv").write_bytes(f"title\ttext\nc\t{GERMAN}\n".encode("utf-8-sig"))
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == [GERMAN, GERMAN + "b", GERMAN]
    assert not failures


# ------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty file"),
        ("a.txt", b" \n\n", "nothing in it"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), "nothing in it"),
        ("a.csv", b"text,title\n", "nothing in it"),
        ("a.txt", random.Random(0).randbytes(4000), "binary, not text"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 4, "binary, not text"),
        ("a.txt", bytes(1000), "binary, not text"),
        ("a.jsonl", random.Random(0).randbytes(4000), "binary, not text"),
        ("a.csv", lzma.compress(as_table(",") * 99), "binary, not text"),
        ("a.txt.gz", gzip.compress(b"some words " * 999, mtime=0)[:-20], "broken .gz file: "),
        ("a.txt.gz", b"not packed at all", "broken .gz file: Not a gzipped file (b'no')"),
        ("a.txt.xz", lzma.compress(b"some words " * 999)[:-20], "broken .xz file: "),
        ("a.txt.zst", zstd(b"some words " * 999)[:-5], "broken .zst file: Truncated compressed stream"),
        ("a.parquet", as_parquet()[:-9], "broken Parquet file: "),
        ("a.docx", b"PK", "unknown kind of file; steep reads .txt, .md, .html, .htm, .pdf, .jsonl, .csv, .tsv, "),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.txt").write_text("A good file.")
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["A good file."]
    assert failures[-1].startswith(f"{name}: {reason}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "a.txt").chmod(0)
    assert read(tmp_path)[1] == ["a.txt: cannot be read: Permission denied"]


def test_lines_that_are_no_json_objects_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = [b'{"text": "first"}', b"{text: no}", b'["a list"]', b"", b'{"text": "K\xf6ln"}', b'{"text": 5}',
             b'{"title": "no text"}', b'{"text": "  "}', b"[" * 100_000, b'{"text": "last"}']  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["first", "last"]
    assert failures == [
        "a.jsonl:2: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "a.jsonl:3: a JSON list, not an object",
        "a.jsonl:5: not UTF-8; set `encoding` if the whole file is in another one",
        "a.jsonl:6: column 'text' holds a int, not text",
        "a.jsonl:7: no column 'text'",
        "a.jsonl:8: empty text",
        "a.jsonl:9: not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string",
    ]


def test_lines_before_the_break_of_a_truncated_file_are_kept(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"{n} {random.Random(n).random()}"}) + "\n" for n in range(5000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-1000])
    documents, failures = read(tmp_path)
    assert len(documents) > 1000
    assert failures[-1].startswith("a.jsonl.gz: broken .gz file: Compressed file ended before")


def test_half_characters_in_json_do_not_break_what_follows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(r'{"text": "a \ud83d b \ud83d\ude00", "more": {"c": "\udc00"}}')
    (document,), _ = read(tmp_path)
    assert document.text == "a \ufffd b 😀"
    assert write_rows(tmp_path / "out.parquet", [document.row()], document_schema()) == 1


def test_csv_rows_with_too_few_or_too_many_cells_are_named_by_their_first_line(tmp_path: Path) -> None:
    table = 'title,text\nA,one\nB\nC,"two\nlines",more\nD,"quo"ted\n\nE,"four\nlines"\n'
    (tmp_path / "a.csv").write_text(table)
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["one", "four\nlines"]
    assert failures == [
        "a.csv:3: 1 cells where the header has 2",
        "a.csv:4: 3 cells where the header has 2",
        "a.csv:6: not a row: ',' expected after '\"'",
    ]


def test_a_csv_cell_may_be_longer_than_pythons_default_limit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000)
    (document,), _ = read(tmp_path)
    assert len(document.text) == 200_000


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_missing_text_column_names_the_columns_that_there_are(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"a.{kind}").write_bytes(TABLES[kind])
    with pytest.raises(SourceError) as error:
        read(tmp_path, text="texts")
    assert str(error.value) == (
        f"{tmp_path}/a.{kind}: no column 'texts'; there is text, title, published, url, n; did you mean 'text'?"
    )


def test_a_table_without_the_text_column_is_reported_once_where_another_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "one", "n": 1}\n' * 200)
    (tmp_path / "b.csv").write_text("text\ntwo\n")
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["two"]
    assert failures == ["a.jsonl: no column 'text'; there is body, n; name the one that holds the text with `text:`"]


def test_a_text_file_beside_them_does_not_hide_that_no_table_has_the_text_column(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A good file.")
    (tmp_path / "b.csv").write_text("body\none\n")
    with pytest.raises(SourceError, match="no column 'text'; there is body"):
        read(tmp_path)


def test_a_csv_whose_header_is_broken_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"a"b,text\n1,one\n')
    (tmp_path / "b.csv").write_text("text\ntwo\n")
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["two"]
    assert failures == ["a.csv: the header is not a row: ',' expected after '\"'"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [("txt", "One."), ("csv", "text\nOne.\n"), ("html", f"<html><body><article><p>{'One. ' * 99}</article></html>")],
)
def test_a_name_that_is_not_utf_8_can_be_stored(tmp_path: Path, kind: str, content: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9." + kind.encode())).write_text(content)
    (document,), _ = read(tmp_path)
    assert document.source == f"caf\ufffd.{kind}"
    assert write_rows(tmp_path / "out.parquet", [document.row()], document_schema()) == 1


def test_a_failure_of_a_file_whose_name_is_not_utf_8_can_be_stored(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).touch()
    failures: list[Failure] = []
    with pytest.raises(SourceError, match="caf\ufffd\\.txt: empty file"):
        list(gather_documents([FilesSource(files="*")], folder=tmp_path, state=tmp_path, on_failure=failures.append))
    assert write_rows(tmp_path / "out.parquet", [failures[0].row()], failure_schema()) == 1


# --------------------------------------------------------------------------------------------------- collections


def test_a_long_text_file_is_cut_at_two_blank_lines_and_headings_stay_with_their_text(tmp_path: Path) -> None:
    paragraph = "Some words that fill a paragraph. " * 20
    texts = [f"Text {number}\n\n{paragraph}\n\n{paragraph}" for number in range(1000)]
    texts[7] = f"### A heading\n\n\n{paragraph}"
    (tmp_path / "all.txt").write_text("\n\n\n".join(texts))
    documents, _ = read(tmp_path)
    assert [document.text for document in documents] == texts
    assert documents[3].meta == {"file": "all.txt", "part": 4}


def test_a_long_text_without_two_blank_lines_is_cut_near_100_000_characters(tmp_path: Path) -> None:
    blanks = "".join(f"{number} {'word ' * 99}\n\n" for number in range(1000))
    lines = "".join(f"{number} {'word ' * 99}\n" for number in range(1000, 3000))
    (tmp_path / "all.txt").write_text(blanks + lines)
    documents, _ = read(tmp_path)
    sizes = [len(document.text) for document in documents]
    assert "".join(document.text for document in documents).split() == (blanks + lines).split()
    assert sizes[0] == pytest.approx(100_000, abs=600)
    assert sizes[-2] == pytest.approx(200_000, abs=600)


def test_a_huge_file_is_read_as_a_stream(tmp_path: Path) -> None:
    import tracemalloc

    line = json.dumps({"text": "word " * 2000}).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line * 3000)  # 30 MB
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress((b"word " * 2000 + b"\n\n\n") * 3000, preset=0))
    seen = 0
    tracemalloc.start()
    for document in gather_documents(
        [FilesSource(files="*")], folder=tmp_path, state=tmp_path, on_failure=lambda failure: None
    ):
        seen += len(document.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen
    assert peak < 15_000_000


# --------------------------------------------------------------------------------------------- texts in several parts


def test_a_list_of_texts_becomes_one_with_blank_lines_between(tmp_path: Path) -> None:
    rows = [{"text": ["Good morning.", " ", "Tea?\n"]}, {"text": []}, {"text": [{"role": "user"}]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["Good morning.\n\nTea?"]
    assert failures == ["a.jsonl:2: empty text", "a.jsonl:3: column 'text' holds a list of dict, not text"]


def test_a_column_that_never_holds_text_is_met_with_those_that_do(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 5, "body": "x", "n": 1}\n' * 200)
    with pytest.raises(
        SourceError, match="column 'text' holds a int, not text; there is body; name the one that holds"
    ):
        read(tmp_path)


def test_of_very_many_rows_without_text_only_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' + '{"text": ""}\n' * 1500)
    _, failures = read(tmp_path)
    assert len(failures) == 1001
    assert failures[-2:] == ["a.jsonl:1001: empty text", "a.jsonl: 500 more rows could not be used"]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_pdf_file_gives_its_text(tmp_path: Path, packed: str) -> None:
    content = pdf([["The kettle sings when the water is ready."]], metadata={"/Title": "Kettles", "/Author": "Tea"})
    (tmp_path / f"a.pdf{packed}").write_bytes(PACKERS[packed](content))
    (tmp_path / "b.pdf").write_bytes(content[:200])
    (document,), failures = read(tmp_path, licence="own")
    assert (document.text, document.title) == ("The kettle sings when the water is ready.", "Kettles")
    assert (document.owner, document.licence, document.meta["file"]) == ("Tea", "own", f"a.pdf{packed}")
    assert failures[0].startswith("b.pdf: broken PDF: ")


# ------------------------------------------------------------------------------------------------------ object stores


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """Daft takes its settings from the environment when it first needs them."""
    content = {
        "tea/posts/a.jsonl": as_jsonl(),
        "tea/posts/2024/b.csv.gz": gzip.compress(b"text\nThird.\n"),
        "tea/posts/short/c.txt": b"cut " * 1000,
        "tea/notes/Grüße.txt": b"A note.",
        "tea/large.txt": b"word " * 4_000_000,
        "tea/a\0.txt": b"no name for a file",
    }
    variables = {"AWS_ACCESS_KEY_ID": "teapot", "AWS_SECRET_ACCESS_KEY": "c0ffee", "AWS_REGION": "us-east-1"}
    with serving(content) as server, pytest.MonkeyPatch.context() as environment:
        for name, value in {**variables, "AWS_ENDPOINT_URL": server.address}.items():
            environment.setenv(name, value)
        yield server


def test_objects_of_a_store_are_read_like_files(tmp_path: Path, store: Store) -> None:
    (tmp_path / "here.txt").write_text("Here.")
    documents, failures = read(tmp_path, ["here.txt", "s3://tea/posts/**/*.*", "s3://tea/notes/Grüße.txt"])
    assert [document.text for document in documents] == [
        "Here.", "Third.", "Mind the whistle.", "A kettle is a promise.", "A note."
    ]  # fmt: skip
    assert [document.source for document in documents] == ["here.txt", "b.csv.gz", "a.jsonl", "a.jsonl", "Grüße.txt"]
    assert [document.fetched is None for document in documents] == [True, False, False, False, False]
    assert [document.url for document in documents] == [None, None, "https://example.com/1", None, None]
    assert failures[0].startswith("s3://tea/posts/short/c.txt: cannot be fetched: Bytes failed: ")


def test_a_file_on_the_web_keeps_its_address_without_what_may_be_a_secret(tmp_path: Path, store: Store) -> None:
    address = store.address.replace("http://", "http://user:geheim@")
    files = [f"{address}/tea/notes/Grüße.txt?signature=geheim", f"{address}/tea/gone.txt?signature=geheim"]
    (document,), (failure,) = read(tmp_path, files)
    assert (document.text, document.source) == ("A note.", "Grüße.txt")
    assert document.url == f"{store.address}/tea/notes/Grüße.txt"
    assert failure == f"{store.address}/tea/gone.txt: not there"


def test_a_large_object_is_fetched_in_parts(tmp_path: Path, store: Store) -> None:
    documents, _ = read(tmp_path, "s3://tea/large.txt")
    assert sum(len(document.text.split()) for document in documents) == 4_000_000
    assert sum(request.startswith("GET") for request in store.requests) > 1


def test_what_cannot_be_fetched_is_reported_with_what_to_do(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steep.gather.objects.TRIES", 1)
    web = store.address
    _, failures = read(
        tmp_path, ["s3://tea/private.txt", f"{web}/tea/private.txt", f"{web}/tea/busy.txt", "az://a/b.txt"]
    )
    assert failures == [
        "s3://tea/private.txt: cannot be fetched: unhandled error: Error; if it needs credentials, "
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        f"{web}/tea/private.txt: cannot be fetched: HTTP status client error (403 Forbidden)",
        f"{web}/tea/busy.txt: cannot be fetched: "
        "Misc Transient error: HTTP status server error (503 Service Unavailable)",
        "az://a/b.txt: cannot be fetched: Azure Storage Account not set and is required; "
        "if it needs credentials, set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY",
    ]


def test_an_address_that_names_no_file_is_told(tmp_path: Path, store: Store) -> None:
    _, failures = read(tmp_path, [f"{store.address}/tea/", f"{store.address}/tea/a%00.txt"])
    assert failures[0].startswith(f"{store.address}/tea/: unknown kind of file; steep reads .txt, ")
    assert failures[1] == f"{store.address}/tea/a%00.txt: its address does not end in the name of a file"
    with pytest.raises(SourceError, match="an address in `files` is none: Invalid IPv6 URL"):
        read(tmp_path, "https://tea:geheim@[::1/a.txt")


def test_a_glob_without_matches_is_an_error(tmp_path: Path, store: Store) -> None:
    with pytest.raises(SourceError, match=r"nothing matches 's3://tea/psots/\*\.jsonl': look at the address"):
        read(tmp_path, "s3://tea/psots/*.jsonl")


# --------------------------------------------------------------------------------------------------------- paths


def test_globs_reach_into_folders_and_give_each_file_once_in_order(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/deep/1.txt", "0.txt", "a/x.md", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = FilesSource(files=["a/x.md", "**/*.txt", str(tmp_path / "0.txt")])
    found = [str(path.relative_to(tmp_path)) for path in input_files([source], folder=tmp_path)]
    assert found == ["a/x.md", "0.txt", "a/deep/1.txt", "b/2.txt"]


def test_a_name_with_brackets_is_no_glob_where_the_file_exists(tmp_path: Path) -> None:
    (tmp_path / "notes [1].txt").write_text("one")
    assert len(input_files([FilesSource(files="notes [1].txt")], folder=tmp_path)) == 1


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("exprots/*.jsonl", "no file matches 'exprots/*.jsonl': there is no 'exprots' in {}; did you mean 'exports'?"),
        ("exports/new.jsonl", "no file matches 'exports/new.jsonl': there is no 'new.jsonl' in {}/exports; "
         "did you mean 'news.jsonl'?"),
        ("exports/*.txt", "no file matches 'exports/*.txt': {}/exports holds news.jsonl, posts.csv"),
        ("exports", "'exports' is a folder: name the files in it, for example 'exports/**/*.txt'"),
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_met_with_the_nearest_name(tmp_path: Path, pattern: str, message: str) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/news.jsonl").touch()
    (tmp_path / "exports/posts.csv").touch()
    with pytest.raises(SourceError) as error:
        input_files([FilesSource(files=pattern)], folder=tmp_path)
    assert str(error.value) == message.format(tmp_path)


# -------------------------------------------------------------------------------------------------- the stage itself


def test_the_same_document_is_given_once_and_sources_keep_the_order_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"text": "same"}\n{"text": "other"}\n')
    (tmp_path / "a.jsonl").write_text('{"text": "same"}\n')
    sources = [FilesSource(files="b.jsonl"), FilesSource(files="a.jsonl")]
    documents = gather_documents(sources, folder=tmp_path, state=tmp_path, on_failure=print)
    assert [(document.text, document.source) for document in documents] == [("same", "b.jsonl"), ("other", "b.jsonl")]


def test_nothing_at_all_is_an_error_with_the_first_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("no\n" * 5)
    with pytest.raises(SourceError) as error:
        list(gather_documents([FilesSource(files="*")], folder=tmp_path, state=tmp_path, on_failure=lambda f: None))
    reason = "not JSON: Expecting value: line 1 column 1 (char 0)"
    lines = "".join(f"\n  {tmp_path}/a.jsonl:{number}: {reason}" for number in (1, 2, 3))
    assert str(error.value) == f"nothing was gathered: 5 failed:{lines}\n  and 2 more"


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2023-11-04T14:51:33.000Z", datetime(2023, 11, 4, 14, 51, 33, tzinfo=UTC)),
        ("2010-10-22 11:33:15 -0400", datetime(2010, 10, 22, 15, 33, 15, tzinfo=UTC)),
        ("2010-10-22 11:33:15 +05:30", datetime(2010, 10, 22, 6, 3, 15, tzinfo=UTC)),
        ("2012-07-09 2:30:29 -0400", datetime(2012, 7, 9, 6, 30, 29, tzinfo=UTC)),
        ("2010-10-22 11:33:15 UTC", datetime(2010, 10, 22, 11, 33, 15, tzinfo=UTC)),
        ("Fri, 22 Oct 2010 11:33:15 GMT", datetime(2010, 10, 22, 11, 33, 15, tzinfo=UTC)),
        (" 2014-03-12 ", datetime(2014, 3, 12, tzinfo=UTC)),
        (date(2014, 3, 12), datetime(2014, 3, 12, tzinfo=UTC)),
        (datetime(2014, 3, 12, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2014, 3, 11, 23, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
        ("2014-13-45", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1699109493, None),
        (None, None),
    ],
)
def test_dates_are_read_to_utc_or_not_at_all(written: Any, moment: datetime | None) -> None:
    assert parse_date(written) == moment


# ------------------------------------------------------------------------------------------------------ real data

needs_data = pytest.mark.skipif("STEEP_DATA" not in os.environ, reason="STEEP_DATA is not set")


@needs_data
def test_the_parts_of_a_real_collection_are_its_texts(steep_data: Path) -> None:
    documents, failures = read(steep_data, "pretrain/modern.txt.xz")
    assert (len(documents), failures) == (628, [])  # of 629, one a copy of another


@needs_data
def test_real_news_have_dates_in_utc_and_empty_articles_are_reported(steep_data: Path) -> None:
    documents, failures = read(steep_data, "news/digitalgov.jsonl.gz", text="content", published="published_at")
    assert len(documents) + len(failures) == 1867
    assert all(failure.endswith(": empty text") for failure in failures)
    assert all(document.published for document in documents)


# ------------------------------------------------------------------------------------------------- conversations

TALK = [{"role": "user", "content": "Tea? "}, {"role": "assistant", "content": "Please."}]


def test_the_text_of_a_row_with_messages_alone_is_what_they_say(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": TALK, "n": 1}))
    (document,), failures = read(tmp_path)
    assert (document.text, failures) == ("Tea?\n\nPlease.", [])
    assert document.meta["messages"] == TALK


def test_a_text_column_beside_messages_is_the_text(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": TALK, "text": "About tea."}))
    assert [document.text for document in read(tmp_path)[0]] == ["About tea."]


def test_a_text_column_that_the_recipe_names_is_missed_though_there_are_messages(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": TALK}))
    with pytest.raises(SourceError, match="no column 'body'"):
        read(tmp_path, text="body")


def test_messages_without_a_word_are_no_text(tmp_path):
    rows = [{"messages": TALK}, {"messages": []}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, failures = read(tmp_path)
    assert (len(documents), failures) == (1, ["a.jsonl:2: no column 'text'"])


def test_two_pairs_of_one_prompt_are_two_documents_and_equal_ones_are_one(tmp_path: Path) -> None:
    rows = [{"text": "Who sings?", "chosen": chosen, "rejected": "Rain."} for chosen in ("The kettle.", "A fox.")]
    lines = [json.dumps(row) for row in (*rows, {**rows[0], "rated": 3})]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    found, _ = read(tmp_path, "pairs.jsonl")
    assert [document.meta["chosen"] for document in found] == ["The kettle.", "A fox."]
    assert len({document.id for document in found}) == 2

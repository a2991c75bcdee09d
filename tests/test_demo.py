"""The made-up company: its site is crawled once, from loopback, and cleaned once."""

from __future__ import annotations

import os
import re
import socket
from urllib.parse import urlsplit
from urllib.request import urlopen

import daft
import pyarrow as pa
import pyarrow.parquet
import pytest

from conftest import steep
from steep.clean import clean_documents
from steep.config import load_recipe
from steep.demo import FOLDER, RECIPE, serve_site
from steep.errors import UsageError
from steep.gather import gather_documents
from steep.records import document_schema


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    """Documents, failures and the recipe."""
    failures = []
    with serve_site(0) as address:
        recipe = load_recipe(RECIPE, [f"gather.0.web={address}/"])
        found = gather_documents(
            recipe.gather, folder=RECIPE.parent, state=tmp_path_factory.mktemp("state"), on_failure=failures.append
        )
        return list(found), failures, recipe


@pytest.fixture(scope="module")
def documents(crawl):
    return crawl[0]


@pytest.fixture(scope="module")
def failed(crawl):
    """Reason by path."""
    return {urlsplit(failure.where).path: failure.reason for failure in crawl[1]}


@pytest.fixture(scope="module")
def cleaned(documents, crawl):
    table = pa.Table.from_pylist([document.row() for document in documents], schema=document_schema())
    return clean_documents(daft.from_arrow(table), crawl[2].clean)


@pytest.fixture(scope="module")
def kept(cleaned):
    return "\n\n".join(cleaned.kept.to_pydict()["text"])


def test_the_site_has_forty_pages_and_the_exports_a_hundred_and_twenty_posts(documents):
    sources = [document.source for document in documents]
    assert sources.count("website") >= 40
    assert sources.count("posts") >= 120
    assert len(sources) == sources.count("website") + sources.count("posts")


def test_about_twenty_thousand_words_are_left_after_clean(kept):
    assert 18_000 < len(kept.split()) < 30_000


def test_a_page_that_robots_txt_forbids_is_never_gathered(documents, failed):
    assert "must never be gathered" in (FOLDER / "site" / "trade" / "price-list.html").read_text()
    assert failed["/trade/price-list.html"] == "forbidden by robots.txt"
    assert not [document for document in documents if "must never be gathered" in document.text]


@pytest.mark.parametrize("word", ["fandangle", "pontoon"], ids=["comments", "posts of others"])
def test_the_exports_hold_other_voices_and_none_enters(documents, word):
    assert any(word in path.read_text().lower() for path in (FOLDER / "social").glob("*.json"))
    assert not [document for document in documents if word in document.text.lower()]


def test_a_broken_page_and_a_missing_one_are_recorded(failed):
    assert failed["/journal/unfinished.html"] == "no main text found"
    assert failed["/journal/lost-at-sea.html"] == "HTTP 404"


def test_no_address_or_telephone_number_of_the_company_is_left(documents, kept):
    personal = re.compile(r"[\w.]+@\w+\.\w+|\(?\b0?1632\)?[ \d]{6,}")
    assert len(personal.findall("\n".join(document.text for document in documents))) > 50
    assert personal.findall(kept) == []
    assert "[EMAIL]" in kept
    assert "[PHONE]" in kept


def test_numbers_that_are_no_telephones_stay(kept):
    for number in ("1987", "20418", "W-0800", "£118"):
        assert number in kept


@pytest.mark.parametrize("words", ["If you liked this, The Steam Letter", "Is your kettle poorly?"])
def test_paragraphs_that_stand_on_every_page_are_gone(documents, kept, words):
    assert sum(words in document.text for document in documents) > 20
    assert words not in kept


def test_a_refrain_is_no_boilerplate(kept):
    assert kept.count("Slow metal, honest heat.") > 100


def test_pages_that_are_copied_enter_once(cleaned):
    assert {row["step"] for row in cleaned.dropped.to_pylist()} == {"deduplicate"}
    left = [urlsplit(row["url"]).path for row in cleaned.kept.to_pylist()]
    for page in ("how-a-seam-is-brazed", "the-power-cut"):
        assert len([path for path in left if page in path]) == 1


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=rf"port {port} .* is taken .*: choose another with --port"),
            serve_site(port),
        ):
            pass


def test_a_proxy_of_the_environment_is_not_asked_for_the_site(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve_site(0) as address:
        assert b"<html" in urlopen(address).read().lower()
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intranet.example,127.0.0.1"
    assert os.environ["no_proxy"] == "intranet.example"
    assert "NO_PROXY" not in os.environ


def test_a_secret_in_the_address_of_a_site_stays_out_of_the_run(tmp_path):
    with serve_site(0) as address:
        text = f"name: keyed\ngather:\n  - web: {address}/kettles/wren.html?key=${{KEY}}\n    max_pages: 2\n"
        (tmp_path / "r.yaml").write_text(text, "utf-8")
        done = steep("run", "r.yaml", "--until", "gather", cwd=tmp_path, KEY="s3cr3t-value")
    assert done.returncode == 0, done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cr3t-value" in path.read_bytes()]
    urls = pa.parquet.read_table(tmp_path / "runs" / "keyed" / "gather" / "documents")["url"].to_pylist()
    assert f"{address}/kettles/wren.html?key=${{KEY}}" in urls

"""Feeds as they are on the web: every version, HTML in XML, wrong charsets, broken XML, and the pages behind them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.scripted import Script, page, redirect, serving, status
from steep.errors import SourceError
from steep.gather import gather_documents, http
from steep.gather.feeds import feed_documents
from steep.gather.fragments import fragment_text
from steep.recipe.gather import FeedSource
from steep.records import Document, Failure

RSS = "application/rss+xml"
TEXT = "The kettle was heard as far as the lighthouse."


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.002)


def rss(*items: str, channel: str = "<title>Harbour News</title>", version: str = "2.0") -> str:
    names = (
        "xmlns:content='http://purl.org/rss/1.0/modules/content/' xmlns:dc='http://purl.org/dc/elements/1.1/' "
        "xmlns:creativeCommons='http://backend.userland.com/creativeCommonsRssModule'"
    )
    inner = "".join(f"<item>{item}</item>" for item in items)
    return f"<rss version='{version}' {names}><channel>{channel}{inner}</channel></rss>"


def item(number: int = 1, more: str = "", text: str = TEXT) -> str:
    return f"<title>Kettle {number}</title><link>/news/{number}</link><description>{text}</description>{more}"


def atom(*entries: str, feed: str = "<title>Harbour News</title>") -> str:
    inner = "".join(f"<entry>{entry}</entry>" for entry in entries)
    return f"<feed xmlns='http://www.w3.org/2005/Atom'>{feed}{inner}</feed>"


def gather(
    state: Path,
    body: str | bytes | Script,
    kind: str = RSS,
    more: Mapping[str, Script | list[Script]] = {},
    **options: Any,
) -> tuple[list[Document], list[Failure]]:
    """Of a feed at /feeds/main.xml; addresses without the server's name."""
    failures: list[Failure] = []
    feed = page(body, kind) if isinstance(body, str | bytes) else body
    with serving({"/feeds/main.xml": feed, **more}) as server:
        asked = FeedSource(feed=server.url("/feeds/main.xml"), **options)
        documents = list(feed_documents(asked, state=state, on_failure=failures.append))
    return documents, failures


def one(state: Path, body: str | bytes, kind: str = RSS, **options: Any) -> Document:
    documents, failures = gather(state, body, kind, **options)
    assert not failures
    (document,) = documents
    return document


def path(document: Document) -> str:
    return "/" + str(document.url).split("/", 3)[3]


# -------------------------------------------------------------------------------------------------------- versions

RDF = "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
VERSIONS = {
    "rss 0.90": f"<rdf:RDF {RDF} xmlns='http://my.netscape.com/rdf/simple/0.9/'><channel><title>Harbour News</title>"
    f"</channel><item>{item()}</item></rdf:RDF>",
    "rss 0.91": rss(item(), version="0.91"),
    "rss 0.92": rss(item(), version="0.92"),
    "rss 1.0": f"<rdf:RDF {RDF} xmlns='http://purl.org/rss/1.0/'><channel><title>Harbour News</title></channel>"
    f"<item>{item()}</item></rdf:RDF>",
    "rss 2.0": rss(item()),
    "atom 0.3": "<feed version='0.3' xmlns='http://purl.org/atom/ns#'><title>Harbour News</title><entry>"
    f"<title>Kettle 1</title><link rel='alternate' href='/news/1'/><summary>{TEXT}</summary></entry></feed>",
    "atom 1.0": atom(f"<title>Kettle 1</title><link href='/news/1'/><summary>{TEXT}</summary>"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_entry(tmp_path: Path, version: str) -> None:
    document = one(tmp_path, VERSIONS[version])
    assert (document.title, document.text, path(document)) == ("Kettle 1", TEXT, "/news/1")
    assert document.source == "Harbour News"


# --------------------------------------------------------------------------------------------------------- the text


def test_the_article_in_the_feed_counts_before_the_teaser(tmp_path: Path) -> None:
    article = f"<content:encoded><![CDATA[<p>{TEXT}</p><p>It sang <a href='/b'>again</a>.</p>]]></content:encoded>"
    assert one(tmp_path, rss(item(more=article, text="A kettle."))).text == f"{TEXT}\nIt sang again."


def test_xhtml_becomes_text(tmp_path: Path) -> None:
    content = "<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>One</p><p>Two</p></div></content>"
    assert one(tmp_path, atom(f"<title>A</title>{content}")).text == "One\nTwo"


def test_plain_text_is_not_taken_for_html(tmp_path: Path) -> None:
    content = "<content type='text'>if a &lt;b&gt; c &amp;amp; d</content>"
    assert one(tmp_path, atom(f"<title>A</title>{content}")).text == "if a <b> c &amp; d"


def test_a_title_with_markup_is_read(tmp_path: Path) -> None:
    title = "<title>&lt;em&gt;Kettles&lt;/em&gt; &amp;amp; tea</title>"
    assert one(tmp_path, rss(f"{title}<description>{TEXT}</description>")).title == "Kettles & tea"


def test_scripts_do_not_end_up_in_the_text(tmp_path: Path) -> None:
    text = "&lt;script&gt;track()&lt;/script&gt;&lt;style&gt;p{}&lt;/style&gt;&lt;p&gt;Tea&lt;/p&gt;"
    assert one(tmp_path, rss(item(text=text))).text == "Tea"


def test_an_entry_without_text_is_reported_and_the_rest_kept(tmp_path: Path) -> None:
    documents, (failure,) = gather(tmp_path, rss(item(1, text=""), item(2)))
    assert [document.title for document in documents] == ["Kettle 2"]
    assert failure.where.endswith("/news/1")
    assert failure.source == "Harbour News"
    assert failure.reason == "nothing but a title; `articles: true` fetches the page"


def test_a_picture_alone_is_no_text(tmp_path: Path) -> None:
    documents, (failure,) = gather(tmp_path, rss(item(text="&lt;img src='a.png'&gt;")))
    assert not documents
    assert failure.reason.startswith("nothing but a title")


# ------------------------------------------------------------------------------------------------------- its facts


@pytest.mark.parametrize(
    "written",
    [
        "<pubDate>Mon, 06 May 2024 09:08:09 +0200</pubDate>",
        "<pubDate>Mon, 6 May 2024 07:08:09 GMT</pubDate>",
        "<pubDate>Mon, 06 May 2024 03:08:09 EDT</pubDate>",
        "<dc:date>2024-05-06T07:08:09Z</dc:date>",
        "<pubDate>2024-05-06 07:08:09</pubDate>",
        "<pubDate>yesterday</pubDate><dc:date>2024-05-06T07:08:09Z</dc:date>",
    ],
)
def test_dates_are_in_utc(tmp_path: Path, written: str) -> None:
    assert one(tmp_path, rss(item(more=written))).published == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("written", ["", "<pubDate>yesterday</pubDate>", "<pubDate>2024-13-45T99:00:00Z</pubDate>"])
def test_a_date_that_cannot_be_read_is_left_out(tmp_path: Path, written: str) -> None:
    assert one(tmp_path, rss(item(more=written))).published is None


def test_atom_says_when_it_was_published_and_not_only_changed(tmp_path: Path) -> None:
    dates = "<updated>2024-06-01T00:00:00Z</updated><published>2024-05-06T07:08:09Z</published>"
    entry = f"<title>A</title><summary>{TEXT}</summary>{dates}"
    assert one(tmp_path, atom(entry)).published == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("link", "meant"),
    [
        ("two", "/feeds/two"),
        ("/two", "/two"),
        ("../two?x=1", "/two?x=1"),
        (" http://h.test/a ", "/a"),
        ("//h.test/a", "/a"),
    ],
)
def test_relative_links_start_at_the_feed(tmp_path: Path, link: str, meant: str) -> None:
    assert path(one(tmp_path, rss(f"<link>{link}</link><description>{TEXT}</description>"))) == meant


def test_relative_links_start_where_redirects_led(tmp_path: Path) -> None:
    more = {"/other/place.xml": page(rss("<link>two</link><description>Tea</description>"), RSS)}
    ((document,), _) = gather(tmp_path, redirect("/other/place.xml"), more=more)
    assert path(document) == "/other/two"


def test_relative_links_start_at_the_base_that_the_feed_declares(tmp_path: Path) -> None:
    body = atom("<link href='two'/><summary>Tea</summary>").replace("<feed ", "<feed xml:base='sub/' ")
    assert path(one(tmp_path, body)) == "/feeds/sub/two"


def test_an_identifier_that_is_an_address_is_the_link(tmp_path: Path) -> None:
    assert path(one(tmp_path, rss(f"<guid>http://h.test/a</guid><description>{TEXT}</description>"))) == "/a"


@pytest.mark.parametrize("link", ["mailto:a@example.com", "javascript:alert(1)", "http://[bad"])
def test_a_link_that_is_no_address_is_left_out(tmp_path: Path, link: str) -> None:
    assert one(tmp_path, rss(f"<link>{link}</link><description>{TEXT}</description>")).url is None


def test_an_entry_keeps_author_categories_and_when_it_was_fetched(tmp_path: Path) -> None:
    more = "<dc:creator>Ann Other</dc:creator><category>tea</category><category>brass</category>"
    document = one(tmp_path, rss(item(more=more)))
    assert document.owner == "Ann Other"
    assert document.meta["categories"] == ["tea", "brass"]
    assert document.fetched is not None
    assert document.robots is None


def test_without_an_author_the_feed_is_the_owner(tmp_path: Path) -> None:
    assert one(tmp_path, rss(item())).owner == "Harbour News"


CC_BY = "<creativeCommons:license>http://creativecommons.org/licenses/by/4.0/</creativeCommons:license>"


@pytest.mark.parametrize(
    ("entry", "feed", "given", "licence"),
    [
        (CC_BY, "", None, "cc-by-4.0"),
        ("", CC_BY, None, "cc-by-4.0"),
        ("", CC_BY, "own", "cc-by-4.0"),
        (CC_BY, CC_BY.replace("/by/", "/by-nc/"), None, "cc-by-4.0"),
        ("<dc:rights>CC BY-SA 4.0</dc:rights>", "", None, "cc-by-sa-4.0"),
        ("", "<copyright>© 2024 Harbour News</copyright>", None, "© 2024 Harbour News"),
        ("", "<copyright>© 2024 Harbour News</copyright>", "own", "own"),
        ("", "<copyright>© 2024. All rights reserved.</copyright>", "cc-by", "all-rights-reserved"),
        ("", "", "CC0", "cc0"),
        ("", "", None, None),
    ],
)
def test_the_licence_is_that_of_the_entry_then_of_the_feed_then_of_the_recipe(
    tmp_path: Path, entry: str, feed: str, given: str | None, licence: str | None
) -> None:
    body = rss(item(more=entry), channel=f"<title>H</title>{feed}")
    assert one(tmp_path, body, licence=given).licence == licence


def test_a_licence_link_of_atom_counts(tmp_path: Path) -> None:
    link = "<link rel='license' href='https://creativecommons.org/licenses/by-sa/4.0/'/>"
    assert one(tmp_path, atom(f"<title>A</title><summary>Tea</summary>{link}")).licence == "cc-by-sa-4.0"


# ------------------------------------------------------------------------------------------ what feeds get wrong

UMLAUTS = rss(f"<title>Käse</title><description>{TEXT}</description>")


@pytest.mark.parametrize(
    ("encoding", "declared", "kind"),
    [
        ("utf-8", "utf-8", RSS),
        ("utf-8", "iso-8859-1", RSS),
        ("utf-8", "utf-8", f"{RSS}; charset=iso-8859-1"),
        ("utf-8", "utf-8", "text/xml"),
        ("utf-8", "nonsense", "text/html; charset=nonsense"),
        ("latin-1", "iso-8859-1", RSS),
        ("latin-1", "utf-8", f"{RSS}; charset=utf-8"),
        ("utf-16", "utf-16", RSS),
        ("utf-8-sig", "utf-8", RSS),
    ],
)
def test_the_charset_is_found_whatever_is_declared(tmp_path: Path, encoding: str, declared: str, kind: str) -> None:
    body = f"<?xml version='1.0' encoding='{declared}'?>{UMLAUTS}".encode(encoding)
    assert one(tmp_path, body, kind).title == "Käse"


def test_utf_8_is_recognised_under_any_name(tmp_path: Path) -> None:
    body = f"<?xml version='1.0' encoding='windows-1252'?>{UMLAUTS}".replace("Käse", "„Käse“ – frisch").encode()
    assert one(tmp_path, body, f"{RSS}; charset=windows-1252").title == "„Käse“ – frisch"


def test_of_broken_xml_the_entries_are_kept_and_the_place_is_told(tmp_path: Path) -> None:
    body = "<?xml version='1.0'?>" + rss(item(1), f"\n{item(2, text='Tea &amp; toast & jam')}", item(3))
    documents, (failure,) = gather(tmp_path, body)
    assert [document.title for document in documents] == ["Kettle 1", "Kettle 2", "Kettle 3"]
    assert documents[1].text == "Tea & toast & jam"
    assert failure.where.endswith("/feeds/main.xml")
    assert failure.reason == "broken XML near line 2 (not well-formed (invalid token)); kept: the 3 entries found"


def test_elements_called_as_the_parser_calls_its_lists_do_no_harm(tmp_path: Path) -> None:
    more = "<links>a</links><tags>b</tags><content_detail>c</content_detail><title_detail>d</title_detail>"
    assert one(tmp_path, rss(item(more=more), channel=f"<title>H</title>{more}")).text == TEXT


def test_of_a_feed_that_was_cut_short_no_half_entry_is_kept(tmp_path: Path) -> None:
    body = rss(item(1), item(2))
    documents, (broken, half) = gather(tmp_path, body[: body.rindex("lighthouse")])
    assert [document.text for document in documents] == [TEXT]
    assert broken.reason.startswith("broken XML near line")
    assert half.reason.startswith("nothing but a title")


def test_entities_that_multiply_do_not(tmp_path: Path) -> None:
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
    body = f"<?xml version='1.0'?><!DOCTYPE rss [<!ENTITY a0 'ha'>{entities}]>{rss(item(text='&a9;'), item(2))}"
    documents, _ = gather(tmp_path, body)
    assert sum(len(document.text) for document in documents) < 1000


def test_files_of_this_machine_do_not_come_in(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret of this machine")
    entity = f"<!DOCTYPE rss [<!ENTITY x SYSTEM '{(tmp_path / 'secret.txt').as_uri()}'>]>"
    documents, _ = gather(tmp_path / "state", f"<?xml version='1.0'?>{entity}{rss(item(text=f'{TEXT} &x;'))}")
    assert "secret" not in str(documents)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("", RSS, "neither RSS nor Atom but application/rss+xml, 0 bytes"),
        ("{}", "application/json", "neither RSS nor Atom but application/json, 2 bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png", "neither RSS nor Atom but image/png, 10 bytes"),
        ("<html><body><p>Hello</p></body></html>", "text/html", "neither RSS nor Atom but text/html, 38 bytes"),
        (rss(), RSS, "the feed has no entries"),
        (status(404), RSS, "HTTP 404"),
        (status(503), RSS, "HTTP 503"),
    ],
)
def test_what_is_no_feed_is_reported(tmp_path: Path, body: Any, kind: str, reason: str) -> None:
    documents, (failure,) = gather(tmp_path, body, kind)
    assert not documents
    assert failure.reason == reason
    assert failure.where.endswith("/feeds/main.xml")


def test_a_web_page_names_its_feed(tmp_path: Path) -> None:
    links = [("text/html", "/de"), ("application/atom+xml", "/atom")]
    head = "".join(f"<link rel='alternate' type='{kind}' href='{address}'>" for kind, address in links)
    _, (failure,) = gather(tmp_path, f"<html><head>{head}</head><body><p>Hello</p></body></html>", "text/html")
    assert failure.reason.split("; it names a feed: ")[1].endswith("/atom")


def test_one_feed_of_several_may_fail(tmp_path: Path) -> None:
    failures: list[Failure] = []
    with serving({"/a": page(rss(item(1)), RSS), "/c": page(rss(item(2)), RSS)}) as server:
        asked = FeedSource(feed=[server.url("/a"), server.url("/b"), server.url("/c")], name="harbour")
        documents = list(feed_documents(asked, state=tmp_path, on_failure=failures.append))
    assert [document.title for document in documents] == ["Kettle 1", "Kettle 2"]
    assert [(failure.source, failure.reason) for failure in failures] == [("harbour", "HTTP 404")]


def test_where_no_feed_gives_anything_it_is_an_error(tmp_path: Path) -> None:
    with serving({}) as server:
        asked = [FeedSource(feed=server.url("/a"))]
        documents = gather_documents(asked, folder=tmp_path, state=tmp_path, on_failure=lambda failure: None)
        with pytest.raises(SourceError, match=r"nothing was gathered: 1 failed:\n.*HTTP 404"):
            list(documents)


# ------------------------------------------------------------------------------------------------ once, and how many


def test_an_entry_in_two_feeds_is_one_document_with_the_earlier_date(tmp_path: Path) -> None:
    late, early = (f"<pubDate>2024-05-0{day}T00:00:00Z</pubDate>" for day in (6, 5))
    with serving({"/a": page(rss(item(more=late)), RSS), "/b": page(rss(item(more=early)), RSS)}) as server:
        asked = FeedSource(feed=[server.url("/a"), server.url("/b")])
        (document,) = feed_documents(asked, state=tmp_path, on_failure=pytest.fail)
    assert document.published == datetime(2024, 5, 5, tzinfo=UTC)
    assert document.meta["times"] == 2


def test_no_more_entries_are_read_than_wanted(tmp_path: Path) -> None:
    documents, _ = gather(tmp_path, rss(*map(item, range(50))), limit=7)
    assert [document.title for document in documents] == [f"Kettle {number}" for number in range(7)]


# ---------------------------------------------------------------------------------------------------- full articles


def article(name: str) -> str:
    sentence = f"This is what {name} has to say about kettles, and it takes more than a few words to say it. "
    return f"<html><head><title>{name}</title></head><body><article><p>{sentence * 6}</p></article></body></html>"


def test_full_articles_are_fetched_once_and_robots_txt_is_obeyed(tmp_path: Path) -> None:
    failures: list[Failure] = []
    rules = (200, {"Content-Type": "text/plain"}, b"User-agent: reader\nDisallow: /news/2\nDisallow: /feeds")
    pages = {"/news/1": page(article("One")), "/news/2": page(article("Two")), "/robots.txt": rules}
    feed = page(rss(item(1, CC_BY), item(2), item(3)), RSS)
    with serving({"/feeds/main.xml": feed, **pages}) as server:
        asked = FeedSource(feed=server.url("/feeds/main.xml"), articles=True, user_agent="reader/1.0")
        (document,) = feed_documents(asked, state=tmp_path, on_failure=failures.append)
        first = server.hits.copy()
        server.hits.clear()
        assert list(feed_documents(asked, state=tmp_path, on_failure=lambda failure: None)) == [document]
    assert document.text.startswith("This is what One has to say")
    assert (document.title, document.robots, document.licence) == ("Kettle 1", "allowed", "cc-by-4.0")
    assert [failure.reason for failure in failures] == ["forbidden by robots.txt", "HTTP 404"]
    assert first == ["/feeds/main.xml", "/robots.txt", "/news/1", "/news/3"]
    assert server.hits == ["/robots.txt", "/news/3"]  # failures are tried again


# --------------------------------------------------------------------------------------------- html as plain text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain  text\n\n with < and & and 3<4", "plain text\nwith < and & and 3<4"),
        ("<p>One</p><p>Two<br>Three <b>bo</b>ld</p><ul><li>x<li>y</ul>tail", "One\nTwo\nThree bold\nx\ny\ntail"),
        ("<tr><td>a<td>b", "a b"),
        ("&lt;b&gt; &#228; &nbsp;x", "<b> ä x"),
        ("<?xml version='1.0' encoding='ascii'?><p>ä", "ä"),
        ("<!-- hidden --><script>x</script><style>y</style>", ""),
        ("<p>a\0b</p>", "ab"),
        ("<p>a\x01b</p>&#2;", "a\x01b\n\x02"),
        ("", ""),
    ],
)
def test_html_becomes_lines_of_text(html: str, text: str) -> None:
    assert fragment_text(html) in (text, text.replace("a b", "a\nb"))


@given(st.text(alphabet=st.sampled_from(list("<>/&;#!-p b\"'=\0\ud800ä\n")), max_size=60))
def test_no_scrap_of_html_is_too_broken(html: str) -> None:
    assert "\n\n" not in fragment_text(html)

"""Addresses: what is taken off, which are the same, which never end, and which canonical ones are believed."""

from __future__ import annotations

import pytest

from steep.gather.addresses import MOST_CLAIMS, believed, is_endless, key_of, kind_of_address, site_of, without_visitor

SITE = "https://example.com"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("/a?utm_source=x&id=7&utm_medium=mail", "/a?id=7"),
        ("/a?fbclid=IwAR0&msclkid=1", "/a"),
        ("/a?GCLID=1&mc_cid=2&mc_eid=3&_ga=4", "/a"),
        ("/a?PHPSESSID=9a8b7c", "/a"),
        ("/a;jsessionid=0AAB?id=7", "/a?id=7"),
        ("/a.cfm?CFID=12&CFTOKEN=34", "/a.cfm"),
        ("/(S(lit3py55t21z5v55vlm25s55))/a.aspx", "/a.aspx"),
        ("/a?ASP.NET_SessionId=x1", "/a"),
        ("/a?sid=3f2a9c0d7e5b4a6198fe", "/a"),
        ("/a#part", "/a"),
    ],
)
def test_what_only_says_who_came_is_taken_off(written: str, left: str) -> None:
    assert without_visitor(SITE + written) == SITE + left


@pytest.mark.parametrize(
    "address",
    ["/story?sid=12345", "/?s=tea+kettles", "/a?id=7&b=%C3%BC+x", "/a?ref=menu", "/a(1)/b", "/a?b=;c", "/a?galaxy=1"],
)
def test_what_tells_pages_apart_stays_as_it_is_spelled(address: str) -> None:
    assert without_visitor(SITE + address) == SITE + address


@pytest.mark.parametrize(
    "spelling",
    [
        "http://example.com/a?b=2&a=1",
        "https://www.example.com/a?a=1&b=2#x",
        "https://EXAMPLE.com:443/a?a=1&b=2&fbclid=9",
    ],
)
def test_spellings_of_one_address_have_one_key(spelling: str) -> None:
    assert key_of(spelling) == key_of(f"{SITE}/a?a=1&b=2")


def test_other_ports_and_paths_have_other_keys() -> None:
    addresses = ["/a", "/a/", "/b", ":8080/a", "/a?c=1"]
    assert len({key_of(SITE + address) for address in addresses}) == len(addresses)


def test_a_site_is_host_and_port() -> None:
    assert site_of("http://www.example.com:80/a") == site_of(SITE) == ("example.com", None)
    assert site_of("https://example.com:8080") == ("example.com", 8080)
    assert site_of("mailto:a@example.com") is site_of("http://[bad") is site_of("http://a:port/") is None


@pytest.mark.parametrize(
    "address",
    [
        "/a/b/a/b/a/b/page.html",
        "/x/x/x/",
        "/de/a/de/b/de/c/de/d",
        "/" + "/".join(f"s{number}" for number in range(21)),
        "/a?" + "&".join(f"f{number}=1" for number in range(21)),
        "/a?f=1&f=1&f=1&f=1",
        "/a?q=" + "x" * 2000,
    ],
)
def test_an_address_of_a_site_that_links_into_itself_is_endless(address: str) -> None:
    assert is_endless(SITE + address)


@pytest.mark.parametrize("address", ["/", "/2011/11/11/11", "/en/docs/en/", "/a?f=1&f=2&f=3&f=4", "/a/b/c/a/b/c"])
def test_a_common_address_is_not_endless(address: str) -> None:
    assert not is_endless(SITE + address)


def test_pages_of_one_sort_are_of_one_kind() -> None:
    assert kind_of_address(f"{SITE}/cal/2031/05/") == kind_of_address(f"{SITE}/cal/2032/12/")
    assert kind_of_address(f"{SITE}/cal?month=2031-05") == kind_of_address(f"{SITE}/cal?month=2031-06")
    assert kind_of_address(f"{SITE}/x/1/2/3") == kind_of_address(f"{SITE}/x/1/2/3/4/5")
    assert kind_of_address(f"{SITE}/cal/1") != kind_of_address(f"{SITE}/blog/1") != kind_of_address(f"{SITE}/blog/1?c=")


def test_a_canonical_address_of_a_few_variants_is_believed() -> None:
    claims = {f"{SITE}/{variant}": f"{SITE}/tea" for variant in ("tea?sort=up", "print/tea", "amp/tea")}
    assert believed(claims) == claims


def test_a_canonical_address_of_many_paths_is_a_mistake_of_the_template() -> None:
    claims = {f"{SITE}/{number}": f"{SITE}/welcome" for number in range(MOST_CLAIMS + 1)}
    assert believed(claims) == {}


def test_any_number_of_queries_may_have_one_canonical_address() -> None:
    claims = {f"{SITE}/tea?sort={number}": f"{SITE}/tea" for number in range(50)}
    assert believed(claims) == claims


def test_the_home_page_stands_for_none_but_itself() -> None:
    assert believed({f"{SITE}/about": f"{SITE}/"}) == {}
    assert believed({f"{SITE}/index.html": f"{SITE}/"}) == {f"{SITE}/index.html": f"{SITE}/"}
    assert believed({f"{SITE}/?p={number}": f"{SITE}/" for number in range(MOST_CLAIMS + 1)}) == {}

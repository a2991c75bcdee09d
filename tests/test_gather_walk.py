"""The walk over a site that is made of a function: no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steep.gather.addresses import kind_of_address
from steep.gather.walk import ENOUGH, PART, PATIENCE, Address, Walk

SITE = "https://example.com"
Links = Callable[[str], Sequence[str]]


def walked(
    start: str, links: Links, *, most: int = 500, depth: int | None = None, said: int | None = None
) -> list[str]:
    """Every page says its own address, unless ``said`` is what all say."""
    walk = Walk([Address(SITE + start)], depth)
    order: list[str] = []
    while part := walk.next_part(most - len(order)):
        for address in reversed(part):  # the last answer may come first
            path = address.url.removeprefix(SITE)
            says = hash(path) if said is None else said
            walk.found(address, [SITE + link for link in links(path)], said=says)
        order += [address.url.removeprefix(SITE) for address in part]
    return order


def tree(path: str) -> list[str]:
    """Three links a page, and one back home."""
    return [f"{path.rstrip('/')}/{letter}{len(path)}" for letter in "abc"] + ["/"] if len(path) < 12 else ["/"]


def test_the_order_is_by_level_and_by_place_on_the_page() -> None:
    assert walked("/", tree)[:8] == ["/", "/a1", "/b1", "/c1", "/a1/a3", "/a1/b3", "/a1/c3", "/b1/a3"]


def test_a_limit_cuts_the_same_order() -> None:
    whole = walked("/", tree, most=10_000)
    assert len(whole) > PART
    assert [walked("/", tree, most=most) for most in (1, 7, PART + 20)] == [whole[:1], whole[:7], whole[: PART + 20]]


def test_no_more_than_a_part_is_asked_for_at_once() -> None:
    walk = Walk([Address(f"{SITE}/{number}") for number in range(PART + 5)])
    assert [len(walk.next_part(1000)), len(walk.next_part(1000)), len(walk.next_part(1000))] == [PART, 5, 0]


def test_links_are_followed_as_deep_as_allowed() -> None:
    assert walked("/", lambda path: [path + "a"], depth=3) == ["/", "/a", "/aa", "/aaa"]
    assert walked("/", lambda path: [path + "a"], depth=0) == ["/"]


def test_pages_of_a_sitemap_count_as_one_deep_even_behind_an_index() -> None:
    walk = Walk([Address(f"{SITE}/index.xml", sitemap=True)], max_depth=1)
    (index,) = walk.next_part(9)
    walk.found(index, [f"{SITE}/pages.xml"], sitemaps=True)
    (pages,) = walk.next_part(9)
    walk.found(pages, [f"{SITE}/a"])
    (page,) = walk.next_part(9)
    assert page == Address(f"{SITE}/a", depth=1)
    walk.found(page, [f"{SITE}/b"])
    assert walk.next_part(9) == []


def test_no_further_sitemap_is_read_when_there_are_pages_enough() -> None:
    sitemaps = [Address(f"{SITE}/{number}.xml", sitemap=True) for number in range(3)]
    walk = Walk(sitemaps)
    (first,) = walk.next_part(2)
    walk.found(first, [f"{SITE}/{number}" for number in range(2 * ENOUGH)])
    assert [address.url for address in walk.next_part(2)] == [f"{SITE}/0", f"{SITE}/1"]


def test_an_address_is_met_once_in_all_its_spellings() -> None:
    links = ["/b?utm_source=x", "/b#top", "/b", "/b?PHPSESSID=1"]
    assert walked("/a", lambda path: links) == ["/a", "/b?utm_source=x"]


def test_an_endless_calendar_is_left_when_it_says_nothing_new() -> None:
    def calendar(path: str) -> list[str]:
        return ["/cal/1"] if path == "/" else [f"/cal/{int(path.rpartition('/')[2]) + 1}"]

    assert len(walked("/", calendar, said=1)) == 1 + 1 + PATIENCE  # home, and the first that says it
    assert len(walked("/", calendar, most=60)) == 60  # one that says something new each time


def test_the_first_address_that_is_not_followed_is_told() -> None:
    walk = Walk([Address(f"{SITE}/cal/{number}") for number in range(PATIENCE + 1)])
    for address in walk.next_part(100):
        walk.found(address, [f"{SITE}/cal/{100 + int(address.url.rpartition('/')[2])}"], said=1)
    assert walk.next_part(100) == []
    assert walk.trapped == {kind_of_address(f"{SITE}/cal/1"): f"{SITE}/cal/100"}


def test_other_kinds_of_pages_go_on_when_one_is_left() -> None:
    def links(path: str) -> list[str]:
        number = int(path.rpartition("/")[2] or 0)
        return [f"/cal/{number + 1}", f"/blog{number + 1}/"]

    order = walked("/", links, said=1)
    assert order.count("/blog1/") == 1
    assert len([path for path in order if path.startswith("/blog")]) > PATIENCE

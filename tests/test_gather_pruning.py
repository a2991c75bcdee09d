from __future__ import annotations

import lxml.html
import pytest

from steep.gather.pruning import prune

LONG = "The kettle sings on the hob while the rain falls over the harbour, and nobody in the house minds it at all."
LINK = "<a href='/snow'>Snow falls upon the slip</a>"


def pruned(body: str) -> str:
    page = lxml.html.fromstring(f"<html><body>{body}</body></html>")
    prune(page)
    inner: str = lxml.html.tostring(page.find("body"), encoding="unicode")
    return inner.removeprefix("<body>").removesuffix("</body>").replace('"', "'")


@pytest.mark.parametrize(
    ("html", "left"),
    [
        ("<div><a href='/snow'><img src='a.jpg'><h3>Snow</h3></a></div>", "<div></div>"),
        (f"<p>{LINK}</p>", ""),
        (f"<p>Also: {LINK}</p>", ""),
        (f"<p><b>DON'T MISS</b></p><p>{LINK}</p><p>{LONG}</p>", f"<p>{LONG}</p>"),
        (f"<p>You may also like...</p><p>{LINK}</p><p>{LINK}</p>", ""),
        (f"<p>{LONG}</p><h2>Read more</h2><p>{LINK}</p>", f"<p>{LONG}</p>"),
        (f"<h2>Read more</h2><p>{LINK}</p><h2>Rain</h2><p>{LONG}</p>", f"<h2>Rain</h2><p>{LONG}</p>"),
    ],
    ids=[
        "a card",
        "a link",
        "a link with a word",
        "label",
        "label of several",
        "last heading",
        "heading of nothing else",
    ],
)
def test_what_leads_elsewhere_goes(html: str, left: str) -> None:
    assert pruned(html) == left


@pytest.mark.parametrize(
    "html",
    [
        "<div><a href='#wind'><h2>Of the wind</h2></a></div>",
        f"<div><a href='/all'><h2>All</h2><p>{LONG * 10}</p></a></div>",
        f"<p>{LONG} {LINK}</p>",
        f"<ul><li><p>{LINK}</p></li></ul>",
        f"<table><tr><td><p>{LINK}</p></td></tr></table>",
        "<p><a href='/big.jpg'><img src='small.jpg'> The slip</a></p>",
        f"<h3><a href='/wren'>The Wren</a></h3><p>{LINK} falls and falls and falls and falls and falls</p>",
    ],
    ids=["a link to itself", "a long link", "a sentence", "an item", "a cell", "a picture", "a heading of little"],
)
def test_what_may_be_text_stays(html: str) -> None:
    assert pruned(html) == html


@pytest.mark.parametrize(
    ("above", "stays"),
    [
        ("<p>Put the kettle on.</p>", True),
        ("<p>What Dot has to say of it</p>", True),
        ("<h2>Rain</h2>", True),
        ("<div>More</div>", True),
        ("<p>More</p>", False),
    ],
)
def test_only_a_label_goes_with_the_link_below_it(above: str, stays: bool) -> None:
    assert pruned(f"{above}<p>{LINK}</p><p>{LONG}</p>") == (above if stays else "") + f"<p>{LONG}</p>"


def test_a_span_within_a_sentence_becomes_part_of_it() -> None:
    sentence = (
        "<p>Una says that <span class='link'><a href='/roof'>the roof</a></span> will be mended before winter.</p>"
    )
    assert pruned(sentence) == "<p>Una says that <a href='/roof'>the roof</a> will be mended before winter.</p>"
    assert pruned(f"<p>{LONG} <span class='share'>Share</span></p>").endswith("<span class='share'>Share</span></p>")


def test_the_heading_of_a_section_is_no_link() -> None:
    assert pruned(f"<h3><a href='/wren'>The Wren</a></h3><p>{LONG}</p>") == f"<h3>The Wren</h3><p>{LONG}</p>"

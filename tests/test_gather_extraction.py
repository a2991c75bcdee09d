from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest

from steep.demo import FOLDER
from steep.gather.decoding import Unreadable
from steep.gather.extraction import Page, main_text

FIRST = "The kettle sings on the hob while the rain falls over the harbour, and nobody in the house minds it at all."
SECOND = "Dot puts down the hammer, moves the cat and finds the pencil, and then she writes the number in the book."
THIRD = "In the evening the lid goes back on, the bench is swept, and the light in the lifeboat house goes out."
ADDRESS = "https://kettles.example/journal/rain"


def page(body: str, head: str = "") -> str:
    return f"<html><head><title>Rain | Kettles</title>{head}</head><body>{body}</body></html>"


def article(inside: str = "", head: str = "", around: str = "{}") -> str:
    paragraphs = f"<p>{FIRST}</p><p>{SECOND}</p>{inside}<p>{THIRD}</p>"
    return page(around.format(f"<article><h1>Rain</h1>{paragraphs}</article>"), head)


def text_of(html: str) -> str:
    return main_text(html, ADDRESS).text


def test_a_page_that_stops_in_its_tags_has_no_main_text() -> None:
    page = (FOLDER / "site" / "journal" / "unfinished.html").read_text("utf-8")
    with pytest.raises(Unreadable, match="no main text found"):
        main_text(page)


@pytest.mark.parametrize("html", ["", " \n", "<", "<html></html>", "\x00", "<p>", "plain words and no tag"])
def test_what_is_hardly_a_page_has_no_main_text(html: str) -> None:
    with pytest.raises(Unreadable):
        main_text(html)


# ------------------------------------------------------------------------------------------------------------ its title


def test_the_heading_above_the_text_is_its_title_and_not_repeated() -> None:
    found = main_text(article(), ADDRESS)
    assert found.title == "Rain"
    assert found.text == f"{FIRST}\n{SECOND}\n{THIRD}"


def test_a_text_that_is_nothing_but_its_title_stays() -> None:
    assert text_of(page(f"<article><h1>{FIRST}</h1></article>")) == FIRST


def test_the_title_stays_where_a_sentence_further_down_repeats_it() -> None:
    assert f"{SECOND}\nRain\n{THIRD}" in text_of(article("<p>Rain</p>"))


# ------------------------------------------------------------------------------------------- what is not the text of it


def test_a_paragraph_that_is_a_link_goes_with_the_label_above_it() -> None:
    teaser = "<p><b>DON'T MISS</b></p><p>Also: <a href='/snow'>Snow falls upon the slip and on the harbour</a></p>"
    assert text_of(article(teaser)) == f"{FIRST}\n{SECOND}\n{THIRD}"


def test_a_link_within_a_sentence_stays() -> None:
    sentence = "Una says that <span class='link'><a href='/roof'>the roof will be mended</a></span> before the winter."
    assert "Una says that the roof will be mended before the winter." in text_of(article(f"<p>{sentence}</p>"))


def test_a_cookie_banner_is_left_out() -> None:
    asking = "<p>We use cookies to measure how our pages are read by all of you. Our privacy policy says more.</p>"
    banner = f"<div class='x81b'>{asking}<button>Accept all</button></div>"
    assert text_of(article(banner)) == f"{FIRST}\n{SECOND}\n{THIRD}"


# -------------------------------------------------------------------------------------------------------- whose licence

CC = "https://creativecommons.org/licenses"


def licence_of(html: str) -> str | None:
    return main_text(html, ADDRESS).licence


@pytest.mark.parametrize(
    ("html", "licence"),
    [
        (article(head=f"<link rel='license' href='{CC}/by-sa/4.0/'>"), "cc-by-sa-4.0"),
        (article(around=f"{{}}<footer><a rel='license noopener' href='{CC}/by/3.0/'>CC</a></footer>"), "cc-by-3.0"),
        (article(f"<p>Find it <a REL='License' href='{CC}/by/4.0/deed.de'>here</a>.</p>"), "cc-by-4.0"),
        (article(around="{}<p><a rel='license' href='/terms'>CC BY 4.0</a></p>"), "cc-by-4.0"),
        (article(around="{}<p><a rel='license' href='/terms'>Terms</a></p>"), "https://kettles.example/terms"),
    ],
)
def test_a_link_with_rel_license_is_the_licence(html: str, licence: str) -> None:
    assert licence_of(html) == licence


def json_ld(data: str) -> str:
    return article(head=f"<script type='application/ld+json'>{data}</script>")


@pytest.mark.parametrize(
    "data",
    [
        '{"@type": "NewsArticle", "license": "LINK"}',
        '[{"@type": "Organization"}, {"@type": ["WebPage", "FAQPage"], "license": {"@id": "LINK"}}]',
        '{"@graph": [{"@type": "BlogPosting", "license": {"@type": "CreativeWork", "name": "CC BY 4.0"}}]}',
        '{"@type": "WebPage", "mainEntity": {"@type": "Article", "license": ["LINK"]}}',
        '{"@type": "Article", "headline": "a line\nbreak", "license": "LINK"}',
    ],
)
def test_the_licence_of_schema_org_is_that_of_the_text(data: str) -> None:
    assert licence_of(json_ld(data.replace("LINK", f"{CC}/by/4.0/"))) == "cc-by-4.0"


@pytest.mark.parametrize(
    "data",
    [
        '{"@type": "Article", "image": {"@type": "ImageObject", "license": "LINK"}}',
        '{"@graph": [{"@type": "ImageObject", "license": "LINK"}]}',
        '{"@type": "VideoObject", "license": "LINK"}',
        '{"license": "LINK"}',
        '{"@type": "Article", "license": "LINK"',
        '{"@type": 7, "license": {"@id": []}}',
        '"LINK"',
    ],
)
def test_the_licence_of_an_image_or_of_broken_json_is_not_that_of_the_text(data: str) -> None:
    assert licence_of(json_ld(data.replace("LINK", f"{CC}/by/4.0/"))) is None


def test_microdata_tells_the_licence_of_the_thing_that_it_is_in() -> None:
    link = f"<link itemprop='license' href='{CC}/by/4.0/'>"
    thing = "<div itemscope itemtype='https://schema.org/{}'>{}</div>"
    assert licence_of(article(around=thing.format("Article", link + "{}"))) == "cc-by-4.0"
    assert licence_of(article(thing.format("ImageObject", link))) is None


@pytest.mark.parametrize("name", ["dc.rights", "DC.Rights", "dcterms.license", "dcterms:rights"])
def test_dublin_core_tells_the_licence(name: str) -> None:
    assert licence_of(article(head=f"<meta name='{name}' content='Creative Commons Attribution 4.0'>")) == "cc-by-4.0"
    assert licence_of(article(head=f"<meta property='{name}' content='Ask Dot first'>")) == "Ask Dot first"


@pytest.mark.parametrize(
    "around",
    [
        "{}<footer><p>Kettles, <a href='LINK'>CC BY</a></p></footer>",
        "{}<div id='colophon'><a href='LINK'><img src='cc.png'></a></div>",
        "{}<div class='copyright-note'><a href='LINK'>Some rights reserved</a></div>",
        "{}<p>This work is licensed under a <a href='LINK'>Creative Commons License</a>.</p>",
        "{}<p>Except where otherwise noted: <a href='LINK'>CC BY 4.0</a></p>",
        "{}<p>Licensed under <a href='LINK'>CC BY 4.0</a></p>",
        "{}<p>Text und Bilder: Dieser Artikel steht unter der <a href='LINK'>Lizenz CC BY</a></p>",
    ],
)
def test_a_creative_commons_link_of_the_page_is_its_licence(around: str) -> None:
    assert licence_of(article(around=around.replace("LINK", f"{CC}/by/4.0/"))) == "cc-by-4.0"


@pytest.mark.parametrize(
    "inside",
    [
        "<figure><img src='a.jpg'><figcaption>The hob, <a rel='license' href='LINK'>CC BY</a></figcaption></figure>",
        "<div class='wp-caption'><img src='a.jpg'><p><a rel='license' href='LINK'>CC BY</a></p></div>",
        "<p>Photo by Jane Doe, licensed under <a rel='license' href='LINK'>CC BY 4.0</a></p>",
        "<div about='/media/a.jpg'><a rel='license' href='LINK'>CC BY</a></div>",
        "<blockquote>Another's words, <a rel='license' href='LINK'>CC BY</a></blockquote>",
        "<p>Those who give their pictures away choose <a href='LINK'>CC BY</a> or something like it.</p>",
        "<p>Anyone can read what <a href='LINK'>Attribution</a> asks for.</p>",
        "<p>See <a href='https://creativecommons.org/'>Creative Commons</a>.</p>",
    ],
)
def test_the_licence_of_a_part_and_a_mention_are_not_the_licence_of_the_page(inside: str) -> None:
    assert licence_of(article(inside.replace("LINK", f"{CC}/by/4.0/"))) is None


def test_a_picture_in_the_footer_that_is_licensed_tells_nothing_of_the_page() -> None:
    credit = f"<footer><p>Header image by Jane Doe, <a href='{CC}/by/4.0/'>CC BY</a></p></footer>"
    assert licence_of(article(around="{}" + credit)) is None


def test_of_declarations_that_disagree_the_strictest_wins_and_all_are_kept() -> None:
    html = article(
        head=f"<link rel='license' href='{CC}/by/4.0/'><meta name='dc.rights' content='(c) Dot Amory'>",
        around=f"{{}}<footer><a href='{CC}/by-nc/4.0/'>CC</a></footer>",
    )
    found = main_text(html, ADDRESS)
    assert found.licence == "cc-by-nc-4.0"
    assert found.meta["licences"] == ["cc-by-4.0", "(c) Dot Amory", "cc-by-nc-4.0"]


def test_a_page_that_declares_nothing_has_no_licence() -> None:
    found: Page = main_text(article(), ADDRESS)
    assert found.licence is None
    assert "licences" not in found.meta


# ------------------------------------------------------------------------------------------------------- how good it is


def benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "extraction.py"
    spec = importlib.util.spec_from_file_location("benchmark_extraction", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_measure_counts_runs_of_four_words_with_their_repetitions() -> None:
    measure = benchmark()
    assert measure.counted("one two three four five", "One two three four five") == (1, 1, 1)
    assert measure.counted("a b c d a b c d", "a b c d") == (1, 0, 4)
    assert measure.counted("only three words", "only three words") == (1, 0, 0)
    assert measure.counted("something", "") == (0, 0, 1)


def test_precision_and_recall_are_averaged_over_the_pages() -> None:
    measure = benchmark()
    precision, recall, f1 = measure.score([measure.Counts(*counts) for counts in ((1, 0, 1), (1, 3, 0), (0, 0, 5))])
    assert (precision, recall) == (0.625, 0.5)
    assert f1 == pytest.approx(2 * 0.625 * 0.5 / 1.125)


def test_real_pages_are_extracted_better_than_by_trafilatura_at_its_best(steep_data: Path) -> None:
    measure = benchmark()
    pages = measure.labelled_pages(steep_data / "html")
    held_out = [page.held_out for page in pages]
    best, steep = (
        [measure.counted(page.body, extract(page)) for page in pages]
        for extract in (measure.by_trafilatura(measure.BEST), measure.by_steep)
    )
    assert measure.score(steep)[2] > measure.score(best)[2] + 0.003
    best, steep = (list(itertools.compress(counts, held_out)) for counts in (best, steep))
    assert measure.score(steep)[2] > measure.score(best)[2] + 0.001

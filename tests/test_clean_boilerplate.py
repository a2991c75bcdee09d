from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import daft
import pytest

from steep.clean.boilerplate import learn_boilerplate, strip_step
from steep.clean.rows import Batch, Facts, Learned
from steep.errors import UsageError
from steep.recipe.clean import Boilerplate

MENU = "Home\nKettles\nMending\nContact us"
FOOTER = "© Hollow Oak Kettles. All rights reserved.\nSubscribe to the letter."


def article(seed: int, lines: int = 6) -> str:
    rng = random.Random(seed)
    return "\n\n".join(" ".join(f"w{rng.randrange(10_000)}" for _ in range(12)) for _ in range(lines))


def page(body: str) -> str:
    return f"{MENU}\n\n{body}\n\n{FOOTER}"


def frame(texts: list[str], urls: list[str | None] | None = None, source: str = "site") -> daft.DataFrame:
    urls = urls or [f"https://www.kettles.example/{row}" for row in range(len(texts))]
    rows = list(range(len(texts)))
    ids = [f"d{row}" for row in rows]
    return daft.from_pydict({"row": rows, "id": ids, "text": texts, "url": urls, "source": [source] * len(texts)})


def cleaned(documents: daft.DataFrame, **options: Any) -> tuple[list[str], Learned]:
    with tempfile.TemporaryDirectory() as scratch:
        learned = learn_boilerplate(documents, Boilerplate(**options), Path(scratch))
    table = documents.to_arrow()
    batch = Batch(table["text"].to_pylist(), [None] * len(table), [None] * len(table), Facts(table))
    strip_step(learned.table, Boilerplate(**options))(batch)
    return batch.text, learned


def test_lines_that_repeat_over_a_site_go_and_are_shown_with_their_counts() -> None:
    bodies = [article(seed) for seed in range(10)]
    texts, outcome = cleaned(frame([page(body) for body in bodies]))
    assert texts == bodies
    assert {block["block"] for block in outcome.evidence} == {*MENU.split("\n"), *FOOTER.split("\n")}
    assert {(block["site"], block["documents"], block["of"]) for block in outcome.evidence} == {
        ("kettles.example", 10, 10)
    }


def test_copies_of_one_article_do_not_make_its_body_boilerplate() -> None:
    copied = article(100, 12)
    copies = [f"{copied}\n\nPrinted by reader number {row} on a wet day." for row in range(8)]
    bodies = [article(seed) for seed in range(10)]
    texts, _ = cleaned(frame([page(body) for body in bodies + copies]))
    assert texts == bodies + copies


def test_a_menu_that_is_most_of_every_page_goes() -> None:
    menu = article(99, 12)
    bodies = [article(seed, 4) for seed in range(10)]
    assert cleaned(frame([f"{menu}\n\n{body}" for body in bodies]))[0] == bodies


def test_a_site_of_copies_only_keeps_them_whole() -> None:
    copies = [f"{article(100, 12)}\n\nPrinted by reader number {row} on a wet day." for row in range(8)]
    texts, outcome = cleaned(frame(copies))
    assert texts == copies
    assert not outcome.evidence


def test_a_line_that_only_copies_of_two_articles_share_stays() -> None:
    first, second = article(1, 12), article(2, 12)
    texts, outcome = cleaned(frame([f"{first}\n\nBy Una."] * 6 + [f"{second}\n\nBy Una."] * 6))
    assert texts == [f"{first}\n\nBy Una."] * 6 + [f"{second}\n\nBy Una."] * 6
    assert not outcome.evidence


def test_a_line_on_too_few_documents_stays() -> None:
    bodies = [article(seed) for seed in range(10)]
    signed = [f"{body}\n\nSigned, Piers" if row < 4 else body for row, body in enumerate(bodies)]
    assert cleaned(frame(signed), min_documents=5)[0] == signed
    assert cleaned(frame(signed), min_documents=4)[0] == bodies


def test_a_line_on_too_small_a_share_of_the_documents_stays() -> None:
    bodies = [article(seed) for seed in range(20)]
    signed = [f"{body}\n\nSigned, Piers" if row < 6 else body for row, body in enumerate(bodies)]
    assert cleaned(frame(signed), min_share=0.4)[0] == signed
    assert cleaned(frame(signed), min_share=0.3)[0] == bodies


def test_a_line_repeated_within_one_document_counts_once() -> None:
    texts = ["\n".join(["Refrain of the song"] * 9 + [article(0)]), *(article(seed) for seed in range(1, 6))]
    assert cleaned(frame(texts))[0] == texts


def test_each_site_has_boilerplate_of_its_own() -> None:
    bodies = [article(seed) for seed in range(12)]
    urls: list[str | None] = [f"https://{'a' if row < 6 else 'b'}.example/{row}" for row in range(12)]
    texts = (
        [f"Menu of a\n\n{body}" for body in bodies[:6]] + [f"{body}\n\nMenu of a" for body in bodies[6:7]] + bodies[7:]
    )
    found, outcome = cleaned(frame(texts, urls))
    assert found == bodies[:6] + texts[6:]
    assert [block["site"] for block in outcome.evidence] == ["a.example"]


@pytest.mark.parametrize("url", [None, "", "https://[broken", "no address"])
def test_documents_without_a_host_belong_to_their_source(url: str | None) -> None:
    bodies = [article(seed) for seed in range(6)]
    texts, outcome = cleaned(frame([page(body) for body in bodies], [url] * 6, source="posts"))
    assert texts == bodies
    assert {block["site"] for block in outcome.evidence} == {"posts"}


def test_no_documents_have_no_boilerplate() -> None:
    none = frame(["y"]).where(daft.col("id") == "")
    assert cleaned(none)[0] == []


def test_only_the_named_sources_are_looked_at() -> None:
    bodies = [article(seed) for seed in range(10)]
    posts = [f"{article(50 + seed, 1)}\n\nMind the whistle." for seed in range(10)]
    both = frame([page(body) for body in bodies], source="site").concat(
        frame(posts, [f"https://social.example/{row}" for row in range(10)], source="posts")
    )
    assert cleaned(both, sources=["site"])[0] == bodies + posts


def test_a_source_that_gave_no_document_is_named() -> None:
    with pytest.raises(UsageError, match="no document is of the source 'sites'; there are site"):
        cleaned(frame(["a text"]), sources=["sites"])

"""Main text of pages by the measure of the public article-extraction benchmark, beside trafilatura at its settings.

    STEEP_DATA=/path/to/data python benchmarks/extraction.py [--rules] [--json FILE]

The measure (scrapinghub/article-extraction-benchmark): words are runs of letters and digits; of a page's runs of four
words, counted with their repetitions, the share of those extracted that are right is its precision, the share of those
wanted that were extracted its recall; both are averaged over the pages, and F1 is the harmonic mean of the averages.
The +- is 1.96 standard deviations over 1,000 resamples of the pages. steep's rules were chosen by looking at one half
of the pages (all pages of a site are in the same half); the other half is held out. Seconds are those of one core.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import lxml.html
import trafilatura

from steep.demo import FOLDER
from steep.gather.decoding import Unreadable
from steep.gather.extraction import main_text
from steep.gather.pruning import RULES

RESAMPLES = 1000
BEST = {"favor_precision": True, "include_comments": False}
DATES = {"date_extraction_params": {"extensive_search": False, "original_date": True}}
"""As steep asks for them, so that the times compare."""
SETTINGS: dict[str, dict[str, bool]] = {
    f"{mode or 'default'}{extent}": {**({f"favor_{mode}": True} if mode else {}), **settings}
    for mode in ("", "precision", "recall")
    for extent, settings in {
        "": {},
        ", no comments": {"include_comments": False},
        ", no comments, no tables": {"include_comments": False, "include_tables": False},
    }.items()
}
_WORD = re.compile(r"\w+")


class Labelled(NamedTuple):
    """A page, its site, and the text that belongs to it."""

    html: str
    url: str
    body: str

    @property
    def site(self) -> str:
        return (urlsplit(self.url).hostname or "").removeprefix("www.")

    @property
    def held_out(self) -> bool:
        return bool(hashlib.sha256(self.site.encode()).digest()[0] % 2)


class Counts(NamedTuple):
    """Runs of words of one page."""

    right: int
    wrong: int
    missing: int


Score = tuple[float, float, float]
"""Precision, recall, F1."""
Extractor = Callable[[Labelled], str]


def counted(wanted: str, found: str) -> Counts:
    truth, guess = shingles(wanted), shingles(found)
    right = (truth & guess).total()
    return Counts(right, guess.total() - right, truth.total() - right)


def shingles(text: str, size: int = 4) -> Counter[tuple[str, ...]]:
    """A text of fewer words is one run."""
    words = _WORD.findall(text)
    return Counter(
        tuple(words[start : start + size]) for start in range(max(len(words) - size + 1, min(len(words), 1)))
    )


def score(pages: Sequence[Counts]) -> Score:
    """A page of which nothing was extracted has no precision, one in which nothing is wanted no recall."""
    precision = statistics.fmean(page.right / (page.right + page.wrong) for page in pages if page.right + page.wrong)
    recall = statistics.fmean(page.right / (page.right + page.missing) for page in pages if page.right + page.missing)
    return precision, recall, 2 * precision * recall / (precision + recall)


def resampled(pages: Sequence[Counts], *others: Sequence[Counts]) -> list[tuple[Score, ...]]:
    """Scores over pages drawn with replacement, the same ones for each of the extractors."""
    draw = random.Random(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = draw.choices(range(len(pages)), k=len(pages))
        found.append(tuple(score([counts[index] for index in drawn]) for counts in (pages, *others)))
    return found


def margins(pages: Sequence[Counts]) -> Score:
    precisions, recalls, f1s = zip(*(scores[0] for scores in resampled(pages)), strict=True)
    return 1.96 * statistics.stdev(precisions), 1.96 * statistics.stdev(recalls), 1.96 * statistics.stdev(f1s)


def difference(pages: Sequence[Counts], others: Sequence[Counts]) -> tuple[float, float]:
    """Of F1, with its margin."""
    differences = [mine[2] - theirs[2] for mine, theirs in resampled(pages, others)]
    return score(pages)[2] - score(others)[2], 1.96 * statistics.stdev(differences)


def by_trafilatura(settings: Mapping[str, bool], *rules: Callable[[Any], None]) -> Extractor:
    def extract(page: Labelled) -> str:
        tree = trafilatura.load_html(page.html)
        for rule in rules:
            rule(tree)
        found = trafilatura.bare_extraction(tree, url=page.url, with_metadata=True, **DATES, **settings)
        return found.text if found else ""

    return extract


def by_steep(page: Labelled) -> str:
    try:
        return main_text(page.html, page.url).text
    except Unreadable:
        return ""


def without_boilerplate(pages: Sequence[Labelled], texts: Sequence[str], **options: float) -> list[str]:
    """The texts after the cleaning step, which learns from all of them."""
    import daft

    from steep.clean import clean_documents
    from steep.recipe.clean import CleanStep
    from steep.records import Document

    rows = [
        Document(text, url=page.url, meta={"number": number}).row()
        for number, (page, text) in enumerate(zip(pages, texts, strict=True))
    ]
    cleaned = clean_documents(daft.from_pylist(rows), [CleanStep.model_validate({"boilerplate": options})])
    left = {json.loads(row["meta"])["number"]: row["text"] for row in cleaned.kept.to_pylist()}
    return [left.get(number, "") for number in range(len(pages))]


def labelled_pages(folder: Path) -> list[Labelled]:
    bodies = json.loads((folder / "article_bodies.json").read_text("utf-8"))
    pages = []
    for name, truth in bodies.items():
        html = gzip.decompress((folder / "pages" / f"{name}.html.gz").read_bytes()).decode("utf-8", "replace")
        pages.append(Labelled(html, truth["url"], truth["articleBody"]))
    return pages


def demo_pages() -> list[Labelled]:
    """Of the demo's site, whose pages mark what is always there: the article without its header and without that."""
    pages = []
    for path in sorted((FOLDER / "site").rglob("*.html")):
        html = path.read_bytes().decode("utf-8", "replace")
        article = lxml.html.fromstring(html).find(".//article")
        if article is None:
            continue
        for element in article.xpath(".//header|.//*[contains(concat(' ', @class, ' '), ' always ')]"):
            element.drop_tree()
        url = f"https://demo.example/{path.relative_to(FOLDER / 'site')}"
        pages.append(Labelled(html, url, "\n".join(article.itertext())))
    return pages


def measured(name: str, extract: Extractor, pages: Sequence[Labelled]) -> tuple[dict[str, Any], list[str]]:
    begin = time.process_time()
    texts = [extract(page) for page in pages]
    seconds = time.process_time() - begin
    return {**row(name, pages, texts), "pages_per_second": round(len(pages) / seconds, 1)}, texts


def row(name: str, pages: Sequence[Labelled], texts: Sequence[str]) -> dict[str, Any]:
    counts = [counted(page.body, text) for page, text in zip(pages, texts, strict=True)]
    halves = [[c for page, c in zip(pages, counts, strict=True) if page.held_out is held] for held in (False, True)]
    split = all(halves)
    return {
        "name": name,
        "pages": len(pages),
        "score": score(counts),
        "margins": margins(counts),
        "halves": [score(half)[2] if split else None for half in halves],
        "counts": counts,
    }


def compare(pages: Sequence[Labelled]) -> list[dict[str, Any]]:
    rows = [measured(f"trafilatura, {name}", by_trafilatura(setting), pages)[0] for name, setting in SETTINGS.items()]
    best = max(rows, key=lambda row: row["score"][2])
    steep, texts = measured("steep", by_steep, pages)
    cleaned = row("steep, boilerplate", pages, without_boilerplate(pages, texts, min_documents=2))
    for mine in (steep, cleaned):
        mine["difference"] = difference(mine["counts"], best["counts"])
        mine["against"] = best["name"]
    return [*rows, steep, cleaned]


def by_rule(pages: Sequence[Labelled]) -> list[dict[str, Any]]:
    """What each rule alone, and all of them, make of trafilatura's best; steep also takes the title off."""
    rules = {rule.__name__: (rule,) for rule in RULES} | {"all of them": RULES}
    rows = [measured("no rule", by_trafilatura(BEST), pages)[0]]
    return rows + [measured(name, by_trafilatura(BEST, *chosen), pages)[0] for name, chosen in rules.items()]


def of_one_site(pages: Sequence[Labelled], **options: float) -> list[dict[str, Any]]:
    """Pages whose site has several."""
    sites = Counter(page.site for page in pages)
    several = [page for page in pages if sites[page.site] > 1]
    best, _ = measured("trafilatura, precision, no comments", by_trafilatura(BEST), several)
    steep, texts = measured("steep", by_steep, several)
    cleaned = row("steep, boilerplate", several, without_boilerplate(several, texts, **options))
    cleaned["difference"] = difference(cleaned["counts"], steep["counts"])
    cleaned["against"] = "steep"
    return [best, steep, cleaned]


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}\n{'':46}  precision      recall         F1             chosen  held out  pages/s")
    for found in rows:
        cells = [f"{value:.4f} ±{margin:.3f}" for value, margin in zip(found["score"], found["margins"], strict=True)]
        halves = [f"{value:.4f}" if value is not None else "" for value in found["halves"]]
        speed = found.get("pages_per_second", "")
        print(f"{found['name']:46}  {'  '.join(cells)}  {halves[0]:6}  {halves[1]:8}  {speed:>7}")
        if "difference" in found:
            by, margin = found["difference"]
            print(f"{'':46}  F1 {by:+.4f} ±{margin:.4f} against {found['against']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rules", action="store_true", help="what each rule adds as well")
    parser.add_argument("--json", type=Path, help="write everything to this file as well")
    options = parser.parse_args()
    pages = labelled_pages(Path(os.environ["STEEP_DATA"]) / "html")
    by_steep(pages[0])  # what is loaded once is not counted
    tables = {f"all {len(pages)} pages": compare(pages)}
    several = of_one_site(pages, min_documents=2)
    tables[f"the {several[0]['pages']} pages whose site has two; boilerplate: min_documents 2"] = several
    demo = of_one_site(demo_pages())
    tables[f"the {demo[0]['pages']} pages of the demo's site"] = demo
    if options.rules:
        tables["each rule alone"] = by_rule(pages)
    for title, rows in tables.items():
        show(title, rows)
    if options.json:
        versions = {name: version(name) for name in ("steep", "trafilatura", "lxml")}
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
        kept = {
            title: [{key: value for key, value in found.items() if key != "counts"} for found in rows]
            for title, rows in tables.items()
        }
        options.json.write_text(json.dumps({"machine": machine | versions, "tables": kept}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

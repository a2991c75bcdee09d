"""Menus, footers and calls to subscribe, learned from the corpus: lines that repeat over many pages of one site.

Copies of one article also repeat every line of it, and must not make its body look like a menu. So a line is counted
not by pages but by pages that differ in what they say: a page's own words are its lines that are rare on the site,
and pages whose own words are alike count once. A page with hardly any words of its own (less than a fifth) is judged
by all of its lines. The price is that the menu of a site on which every page is mostly menu stays.

A site is the host of the address, or the source where there is none. Refrains that stand on a line of their own look
like boilerplate to this step: name in ``sources`` where it should look, or raise ``min_share``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any
from urllib.parse import urlsplit

import daft
from daft import col, lit
from daft.functions import explode, regexp_split, when

from steep.clean.outcome import Outcome, on_strings
from steep.clean.text import squeeze
from steep.duplicates import near_duplicate_groups
from steep.errors import UsageError
from steep.recipe.clean import Boilerplate

_OWN_SHARE = 0.2
_ALIKE = 0.5

Blocks = Mapping[str, Set[str]]


def clean_boilerplate(documents: daft.DataFrame, options: Boilerplate) -> Outcome:
    concerned = col("source").is_in(_known(options.sources, documents)) if options.sources else lit(True)
    pages = documents.where(concerned).select("id", "text", _site().alias("site")).distinct("id").collect()
    lines = _lines(pages)
    repeated = _repeated(lines.select("site", "line", col("id").alias("page")), options)
    if not repeated:
        return Outcome(documents)
    witnesses = near_duplicate_groups(_witnesses(pages, _by_site(repeated)), _ALIKE)
    counted = lines.join(witnesses, on="id").select("site", "line", col("group").alias("page"))
    found = _repeated(counted, options)
    blocks = _by_site(found)
    strip = on_strings(lambda text, site: _strip(text, blocks.get(site, frozenset())))
    stripped = when(concerned, strip(col("text"), _site())).otherwise(col("text"))
    return Outcome(documents.with_column("text", stripped), found)


def _known(sources: list[str], documents: daft.DataFrame) -> list[str]:
    """The named sources. Raises UsageError where one of them gave no document."""
    there = documents.select("source").distinct().to_pydict()["source"]
    for name in sources:
        if name not in there:
            raise UsageError(f"clean: boilerplate: no document is of the source {name!r}; there are {', '.join(there)}")
    return sources


def _lines(pages: daft.DataFrame) -> daft.DataFrame:
    """Every line of every page, with the page and its site."""
    line = explode(regexp_split(col("text"), r"\n+")).alias("line")
    lines = pages.select("id", "site", line).with_column("line", on_strings(_normal)(col("line")))
    return lines.where(col("line") != "").collect()


def _repeated(lines: daft.DataFrame, options: Boilerplate) -> list[dict[str, Any]]:
    """Lines that stand on enough pages of their site: site, block, documents (how many), of (pages of the site)."""
    sizes = lines.select("site", "page").distinct().groupby("site").agg(col("page").count().alias("of"))
    counts = lines.distinct().groupby("site", "line").agg(col("page").count().alias("documents"))
    enough = (col("documents") >= options.min_documents) & (col("documents") >= options.min_share * col("of"))
    found = counts.join(sizes, on="site").where(enough).select("site", col("line").alias("block"), "documents", "of")
    return sorted(found.to_pylist(), key=lambda block: (block["site"], -block["documents"], block["block"]))


def _by_site(found: list[dict[str, Any]]) -> Blocks:
    blocks: dict[str, set[str]] = {}
    for block in found:
        blocks.setdefault(block["site"], set()).add(block["block"])
    return blocks


def _witnesses(pages: daft.DataFrame, repeated: Blocks) -> daft.DataFrame:
    """Each page reduced to its own words, or whole where it has hardly any."""

    def own(text: str, site: str) -> str:
        rare = _strip(text, repeated.get(site, frozenset()))
        return rare if len(rare) >= _OWN_SHARE * len(text) else text

    return pages.select("id", on_strings(own)(col("text"), col("site")).alias("text"))


def _strip(text: str, blocks: Set[str]) -> str:
    lines = text.split("\n")
    kept = [line for line in lines if _normal(line) not in blocks]
    return squeeze("\n".join(kept)) if len(kept) < len(lines) else text


def _normal(line: str) -> str:
    return " ".join(line.split())


def _site() -> Any:
    return on_strings(lambda url, source: _host(url) or source or "")(col("url"), col("source"))


def _host(url: str | None) -> str | None:
    try:
        host = urlsplit(url or "").hostname
    except ValueError:  # e.g. an unclosed bracket in the host
        return None
    return host.removeprefix("www.") if host else None

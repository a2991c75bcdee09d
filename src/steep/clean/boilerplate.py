"""Menus, footers and calls to subscribe, learned from the corpus: lines that repeat over many pages of one site.

Copies of one article also repeat every line of it, and must not make its body look like a menu. So a line is counted
not by pages but by pages that differ in what they say: a page's own words are its lines that are rare on the site,
and pages whose own words are alike count once. A page with hardly any words of its own (less than a fifth) is judged
by all of its lines. The price is that the menu of a site on which every page is mostly menu stays.

A site is the host of the address, or the source where there is none. Refrains that stand on a line of their own look
like boilerplate to this step: name in ``sources`` where it should look, or raise ``min_share``.

Lines are counted by their 64-bit hashes, since most occur once and only those that repeat are worth their characters.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import daft
import pyarrow as pa
from daft import DataType, col, lit
from daft.functions import coalesce, concat, explode, list_distinct, regexp_replace, regexp_split

from steep.clean.rows import Batch, Learned, RowStep
from steep.clean.text import squeeze
from steep.duplicates import near_duplicate_groups
from steep.errors import UsageError
from steep.recipe.clean import Boilerplate

_OWN_SHARE = 0.2
_ALIKE = 0.5
_SCHEMA = pa.schema([("site", pa.string()), ("block", pa.string()), ("documents", pa.int64()), ("of", pa.int64())])

Blocks = Mapping[str, Set[str]]


def learn_boilerplate(documents: daft.DataFrame, options: Boilerplate, scratch: Path) -> Learned:
    """The blocks of each site: site, block, documents (on how many differing pages), of (such pages of the site)."""
    wanted = col("source").is_in(_known(options.sources, documents)) if options.sources else lit(True)
    pages = documents.where(wanted).select("row", "id", "text", _site().alias("site"))
    sites = pages.select("id", "site").collect()
    lines = _repeating(_lines(pages), options.min_documents)
    repeated = _repeated(lines, sites, options)
    found: list[dict[str, Any]] = []
    if repeated:
        concerned = pages.join(lines.select("id").distinct(), on="id", how="semi")
        alike = near_duplicate_groups(_witnesses(concerned, _by_site(repeated), scratch), _ALIKE, scratch)
        differing = sites.join(alike, on="id", how="left").with_column("id", coalesce(col("group"), col("id")))
        counted = lines.join(alike, on="id").select("site", "line", col("group").alias("id"))
        found = _repeated(counted, differing.select("id", "site"), options)
    return Learned(pa.Table.from_pylist(found, schema=_SCHEMA), found)


def strip_step(learned: pa.Table, options: Boilerplate) -> RowStep:
    """Takes the blocks of its site out of each text."""
    blocks = _by_site(learned.to_pylist())

    def step(batch: Batch) -> None:
        if blocks:
            rows = zip(batch.text, batch.facts["url"], batch.facts["source"], strict=True)
            batch.text = [
                _strip(text, blocks.get(_site_of(url, source), frozenset()))
                if not options.sources or source in options.sources
                else text
                for text, url, source in rows
            ]

    return step


def _known(sources: list[str], documents: daft.DataFrame) -> list[str]:
    """The named sources. Raises UsageError where one of them gave no document."""
    there = documents.select("source").distinct().to_pydict()["source"]
    for name in sources:
        if name not in there:
            known = ", ".join(sorted(there))
            raise UsageError(f"clean: boilerplate: no document is of the source {name!r}; there are {known}")
    return sources


def _lines(pages: daft.DataFrame) -> daft.DataFrame:
    """The differing lines of every page, in normal form, with the page and its site."""
    blanks = regexp_replace(col("text"), r"[^\S\n]+", " ")
    lines = list_distinct(regexp_split(blanks, r" ?\n[ \n]*")).alias("line")
    found = pages.select("id", "site", explode(lines).alias("line")).with_column("line", col("line").strip())
    return found.where(col("line") != "").with_column("key", concat(concat(col("site"), lit("\n")), col("line")).hash())


def _repeating(lines: daft.DataFrame, times: int) -> daft.DataFrame:
    """The lines that stand on so many pages of their site: few of all, so they are held in memory."""
    counts = lines.groupby("key").agg(col("key").count().alias("pages")).where(col("pages") >= times)
    often = counts.select("key").collect()
    return lines.join(often, on="key", how="semi").select("id", "site", "line").collect()


def _repeated(lines: daft.DataFrame, pages: daft.DataFrame, options: Boilerplate) -> list[dict[str, Any]]:
    """Lines that stand on enough of the pages of their site, most frequent first."""
    sizes = pages.distinct().groupby("site").agg(col("id").count().alias("of"))
    counts = lines.distinct().groupby("site", "line").agg(col("id").count().alias("documents"))
    enough = (col("documents") >= options.min_documents) & (col("documents") >= options.min_share * col("of"))
    found = counts.join(sizes, on="site").where(enough).select("site", col("line").alias("block"), "documents", "of")
    return sorted(found.to_pylist(), key=lambda block: (block["site"], -block["documents"], block["block"]))


def _by_site(found: list[dict[str, Any]]) -> Blocks:
    blocks: dict[str, set[str]] = {}
    for block in found:
        blocks.setdefault(block["site"], set()).add(block["block"])
    return blocks


def _witnesses(pages: daft.DataFrame, repeated: Blocks, scratch: Path) -> daft.DataFrame:
    """Each page reduced to its own words, or whole where it has hardly any; on disk, since it is read several times."""

    def own(text: str, site: str) -> str:
        rare = _strip(text, repeated.get(site, frozenset()))
        return rare if len(rare) >= _OWN_SHARE * len(text) else text

    reduce = daft.func(own, return_dtype=DataType.string(), use_process=False)
    reduced = pages.select("row", "id", reduce(col("text"), col("site")).alias("text"))
    written: list[str] = reduced.write_parquet(scratch / "witnesses").to_pydict()["path"]
    return daft.read_parquet([glob.escape(path) for path in written])  # a worker that died may leave others


def _strip(text: str, blocks: Set[str]) -> str:
    lines = text.split("\n")
    kept = [line for line in lines if _normal(line) not in blocks]
    return squeeze("\n".join(kept)) if len(kept) < len(lines) else text


def _normal(line: str) -> str:
    return " ".join(line.split())


def _site() -> Any:
    return daft.func(_site_of, return_dtype=DataType.string(), use_process=False)(col("url"), col("source"))


def _site_of(url: str | None, source: str | None) -> str:
    return _host(url) or source or ""


def _host(url: str | None) -> str | None:
    try:
        host = urlsplit(url or "").hostname
    except ValueError:  # e.g. an unclosed bracket in the host
        return None
    return host.removeprefix("www.") if host else None

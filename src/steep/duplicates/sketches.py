"""What is kept of each document to find those like it: a hash of its normal form and one key for each MinHash band.

Texts are compared without case, punctuation and white space; Chinese and Japanese characters count as a word each.
Bands are chosen so that a pair exactly at the threshold shares one with a probability of 97 %; the price is at most 256
hashes per document. One pass over the texts, at about 30 MB/s and core, leaves 0.2 kB per document on disk.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import daft
from daft import DataType, col
from daft.functions import chunk, fill_null, hash, length_bytes, list_map, minhash, normalize, regexp_replace

from steep.duplicates.components import connected_components, gathered

WORDS_PER_SHINGLE = 5
MOST_HASHES = 256
RECALL = 0.97
KEYS_AT_ONCE = 2**21
"""How many band keys are grouped in one query: it needs about 100 bytes for each."""

MOST_EDGES = 2**22
"""Where more pairs share a band, they are reduced to their components before those of further bands are added."""


@lru_cache
def bands_and_rows(threshold: float) -> tuple[int, int]:
    """The most selective banding that proposes a pair at the threshold with a probability of at least `RECALL`."""
    chosen = (MOST_HASHES, 1)  # below a similarity of about 0.014 not even one row per band reaches the recall
    if threshold == 1:
        return 1, MOST_HASHES
    for rows in range(1, MOST_HASHES + 1):
        agree = threshold**rows  # the probability that two such documents agree in all rows of a band
        if agree * MOST_HASHES < 1:
            break
        bands = math.ceil(math.log(1 - RECALL) / math.log1p(-agree))
        if bands * rows <= MOST_HASHES:
            chosen = (bands, rows)
    return chosen


def normal_form(text: daft.Expression) -> daft.Expression:
    """Without case and runs of white space; empty for null."""
    known = fill_null(text.cast(DataType.string()), daft.lit(""))
    spaced = regexp_replace(known, r"([\p{Han}\p{Hiragana}\p{Katakana}])", " $1 ")
    return normalize(spaced, lowercase=True, nfd_unicode=True, white_space=True)


def without_punctuation(form: daft.Expression) -> daft.Expression:
    """The words of a normal form with one blank between them."""
    return normalize(form, remove_punct=True, white_space=True).strip()  # it leaves a blank before a last dash


def with_signatures(documents: daft.DataFrame, threshold: float) -> daft.DataFrame:
    """The documents with ``form``, their text without case and runs of white space, ``words``, the same without
    punctuation, and the MinHash ``signature`` of these, in place of ``text``.
    """
    bands, rows = bands_and_rows(threshold)
    form, words = normal_form(col("text")), without_punctuation(col("form"))
    signature = minhash(col("words"), num_hashes=bands * rows, ngram_size=WORDS_PER_SHINGLE)
    formed = documents.with_column("form", form).exclude("text").with_column("words", words)
    return formed.with_column("signature", signature)


class Sketches:
    """Sketches of documents in a folder, and what they say about which documents are alike."""

    def __init__(self, documents: daft.DataFrame, threshold: float, folder: Path) -> None:
        self.threshold = threshold
        self.folder = folder
        self._bands = [f"band{number}" for number in range(bands_and_rows(threshold)[0])]
        written = _sketched(documents, threshold).write_parquet(folder / "sketches").to_pydict()
        # Not all that lies there: a worker of a cluster that was killed leaves half a file.
        self.rows = daft.read_parquet([glob.escape(path) for path in written["path"]])
        """``row``, ``id``, ``equal``, ``size`` (bytes of its words, 0 where it has none) and a key for each band."""

    def repeated(self) -> daft.DataFrame:
        """``row`` and ``first``: rows that are equal to an earlier one but for case and white space."""
        return _repeated(self.rows.select("row", col("equal").alias("key"))).collect()

    def candidates(self, repeated: daft.DataFrame) -> daft.DataFrame:
        """``row`` and ``first``: which rows may be alike, as components that no two rows that are alike lie across.

        A text without a word has no shingle, and texts equal to an earlier one follow its fate.
        """
        edges = repeated.limit(0)
        for bands in self._portions():
            found = self._sharing(bands).join(repeated, on="row", how="anti")
            edges = gathered(edges.concat(found))
            if edges.count_rows() > MOST_EDGES:
                edges = connected_components(edges)
        return connected_components(edges)

    def _portions(self) -> Iterator[list[str]]:
        at_once = max(1, KEYS_AT_ONCE // max(1, self.rows.count_rows()))
        for start in range(0, len(self._bands), at_once):
            yield self._bands[start : start + at_once]

    def _sharing(self, bands: list[str]) -> daft.DataFrame:
        keys = self.rows.where(col("size") > 0).unpivot("row", bands, variable_name="band", value_name="key")
        return _repeated(keys.select("row", "key")).distinct()


def _sketched(documents: daft.DataFrame, threshold: float) -> daft.DataFrame:
    bands, rows = bands_and_rows(threshold)
    signature = col("signature").cast(DataType.list(DataType.uint32()))
    keys = list_map(chunk(signature, rows), hash(daft.element()))
    found = with_signatures(documents.select("row", "id", "text"), threshold).with_column("keys", keys)
    return found.select(
        col("row").cast(DataType.int64()),
        col("id").cast(DataType.string()),
        hash(col("form")).alias("equal"),
        length_bytes(col("words")).alias("size"),
        *(col("keys").get(band).alias(f"band{band}") for band in range(bands)),
    )


def _repeated(keys: daft.DataFrame) -> daft.DataFrame:
    """``row`` and ``first`` of rows that share a ``key`` with an earlier row."""
    shared = keys.groupby("key").agg(col("row").min().alias("first"), col("row").count().alias("rows"))
    shared = shared.where(col("rows") > 1).select("key", "first")
    return keys.join(shared, on="key").where(col("row") != col("first")).select("row", "first")

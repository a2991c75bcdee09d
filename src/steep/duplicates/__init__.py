"""Which documents say the same thing: MinHash bands propose pairs, the true Jaccard similarity of word 5-grams decides.

Texts are compared without case, punctuation and white space. A text of fewer than five words is one shingle, so it
equals another such text or shares nothing with it. Chinese and Japanese characters count as a word each.

All of it is Daft dataflow, on this machine or on Ray: a pass over the documents leaves a sketch of each on disk
(`sketches`), sketches propose components of documents that may be alike (`components`), and a second pass reads the
texts of these only and verifies what is alike (`verification`, `members`, `walks`). So documents are read twice, and
never held in memory if they come from disk: 2 GB of abstracts take 50 s on 2 cores (70 s of CPU) and 1.3 GB of memory.

Documents have the columns id and text, and ``row``, a number that gives their order; documents without it are numbered
as they stand, for which they are loaded. ``scratch`` is a folder for sketches that all workers reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import daft
import pyarrow as pa
from daft import col
from daft.functions import coalesce

from steep.duplicates.sketches import Sketches
from steep.duplicates.verification import verified
from steep.duplicates.walks import similar_copies, similar_groups

__all__ = ["copies", "near_duplicate_groups"]


def copies(documents: daft.DataFrame, threshold: float, scratch: Path | None = None) -> daft.DataFrame:
    """``row``, ``of`` and ``similarity`` of each row that repeats an earlier row which is not itself a copy.

    ``of`` is the id of the row that stays, ``similarity`` null where the texts are equal but for case and white space.
    A chain of documents of which each resembles only the next is thinned out, not reduced to its first: every copy is
    this similar to a row that stays, and no two rows that stay are.
    """
    numbered = _numbered(documents)
    with _sketched(numbered, threshold, scratch) as sketches:
        repeated = sketches.repeated()
        similar = verified(numbered, sketches, sketches.candidates(repeated), similar_copies)
        found = similar.concat(_following(repeated, similar))
        names = sketches.rows.select(col("row").alias("first"), col("id").alias("of"))
        return found.join(names, on="first").select("row", "of", "similarity").sort("row").collect()


def near_duplicate_groups(documents: daft.DataFrame, threshold: float, scratch: Path | None = None) -> daft.DataFrame:
    """``id`` and ``group`` of every distinct document, in row order.

    Documents belong together when a chain of pairs at least this similar joins them; a group is named after the id of
    its first member. Documents of one id are one document.
    """
    numbered = _numbered(documents)
    with _sketched(numbered, threshold, scratch) as sketches:
        repeated = sketches.repeated()
        similar = verified(numbered, sketches, sketches.candidates(repeated), similar_groups)
        found = similar.concat(_following(repeated, similar))
        names = sketches.rows.select(col("row").alias("first"), col("id").alias("group"))
        groups = found.join(names, on="first").select("row", "group")
        documents = sketches.rows.groupby("id").agg(col("row").min()).join(groups, on="row", how="left")
        return documents.sort("row").select("id", coalesce(col("group"), col("id")).alias("group")).collect()


def _following(repeated: daft.DataFrame, similar: daft.DataFrame) -> daft.DataFrame:
    """Rows equal to an earlier one, which follow it where that is itself similar to one before."""
    leads = similar.select(col("row").alias("first"), col("first").alias("lead"), "similarity")
    followed = repeated.join(leads, on="first", how="left")
    return followed.select("row", coalesce(col("lead"), col("first")).alias("first"), "similarity")


def _numbered(documents: daft.DataFrame) -> daft.DataFrame:
    if "row" in documents.column_names:
        return documents
    table = documents.select("id", "text").to_arrow()
    return daft.from_arrow(table.append_column("row", pa.array(range(len(table)), pa.int64())))


@contextmanager
def _sketched(documents: daft.DataFrame, threshold: float, scratch: Path | None) -> Iterator[Sketches]:
    with TemporaryDirectory(prefix="duplicates-", dir=scratch) as folder:
        yield Sketches(documents, threshold, Path(folder))

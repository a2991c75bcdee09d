"""Documents that may be alike, and the two questions asked about them: which shared a band, and how similar are they.

Shingles lie in a file, since those of 2 GB of text take as much; signatures are cut to 8 bits, which is enough to pass
over most pairs that are below the threshold. So a document takes about 0.5 kB of memory, whatever its length.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from steep.duplicates.sketches import WORDS_PER_SHINGLE, bands_and_rows

MOST_COMPARISONS = 64
"""How many documents one is compared with at most: those whose signatures agree most with its own."""
SAMPLE = 1000
"""How many shingles decide whether it is worth comparing all of two long documents."""

Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_MULTIPLIERS = np.random.default_rng(5).integers(1, 2**63, 256, dtype=np.uint64) | np.uint64(1)


class Members:
    """Documents by their position in the order of rows."""

    def __init__(self, paths: Sequence[str], threshold: float, file: BinaryIO) -> None:
        self.threshold = threshold
        bands, _ = bands_and_rows(threshold)
        parts = list(_read(paths, bands, shingles := _Shingles(file)))
        rows, signatures, keys = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(rows)
        self.rows: Indices = rows[order]
        self._shingles = shingles
        self._places = order
        self._signatures = signatures[order]
        self._buckets = _buckets(keys[order])

    def __len__(self) -> int:
        return len(self.rows)

    def buckets(self, member: int) -> list[int]:
        """The numbers of its buckets: members whose signatures agree in one band."""
        own = self._buckets[member]
        found: list[int] = own[own >= 0].tolist()
        return found

    def likeliest(self, member: int, others: Collection[int]) -> list[int]:
        """Those of the others that may be as similar as the threshold, by their signatures, the most similar first."""
        if not others:
            return []
        among = np.sort(np.fromiter(others, np.int64, len(others)))
        hashes = self._signatures.shape[1]
        agree = np.count_nonzero(self._signatures[among] == self._signatures[member], axis=1) / hashes
        likely = agree >= self.threshold - _margin(self.threshold, hashes)
        found: list[int] = among[likely][np.argsort(-agree[likely], kind="stable")][:MOST_COMPARISONS].tolist()
        return found

    def similarity(self, member: int, other: int) -> float:
        return jaccard(self._shingles[self._places[member]], self._shingles[self._places[other]], self.threshold)


def jaccard(left: Hashes, right: Hashes, threshold: float) -> float:
    """The similarity of two sorted sets, or 0 where their sizes or a sample of them put it below the threshold."""
    smaller, larger = sorted((len(left), len(right)))
    if smaller < threshold * larger:
        return 0.0
    if smaller > 4 * SAMPLE:  # the smallest hashes of both are a sample of both
        bound = np.uint64(2**64 // larger * SAMPLE)
        samples = (found[: np.searchsorted(found, bound)] for found in (left, right))
        if _overlap(*samples) < threshold - _margin(threshold, SAMPLE):
            return 0.0
    return _overlap(left, right)


def _overlap(left: Hashes, right: Hashes) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def _margin(threshold: float, size: int) -> float:
    """Four standard deviations of an estimate: a pair that is passed over below it would have been one in 30,000."""
    return 4 * math.sqrt(threshold * (1 - threshold) / size)


class _Shingles:
    """The distinct shingles of each document as sorted 64-bit numbers, in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ends = [0]

    def add(self, words: pa.LargeListArray) -> None:
        """The words of the next documents, as hashes."""
        flat, offsets = words.flatten().to_numpy(), words.offsets.to_numpy() - words.offsets[0].as_py()
        runs = _runs(flat, WORDS_PER_SHINGLE)
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            short = end - start < WORDS_PER_SHINGLE
            found = np.unique(
                _runs(flat[start:end], end - start) if short else runs[start : end - WORDS_PER_SHINGLE + 1]
            )
            self._file.write(found.data)
            self._ends.append(self._ends[-1] + len(found))

    def __getitem__(self, place: int) -> Hashes:
        start, end = self._ends[place], self._ends[place + 1]
        self._file.seek(8 * start)
        return np.frombuffer(self._file.read(8 * (end - start)), np.uint64)


def _runs(words: Hashes, size: int) -> Hashes:
    """A hash of each run of so many words."""
    if len(words) < size:
        return np.empty(0, np.uint64)
    return np.lib.stride_tricks.sliding_window_view(words, size) @ _MULTIPLIERS[:size]


def _read(paths: Sequence[str], bands: int, shingles: _Shingles) -> Iterator[tuple[Any, Any, Any]]:
    """Rows, signatures and band keys, a batch at a time; words go to the shingles in the same order."""
    for batch in in_row_groups(paths):
        shingles.add(batch["words"])
        signatures = batch["signature"].flatten().to_numpy().reshape(len(batch), bands, -1)
        keys = signatures.astype(np.uint64) @ _MULTIPLIERS[: signatures.shape[2]]
        yield batch["row"].to_numpy(), signatures.astype(np.uint8).reshape(len(batch), -1), keys


def in_row_groups(paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """What they hold, in batches that are no larger than a row group, however many rows those have."""
    for path in paths:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield from file.iter_batches(row_groups=[group], columns=["row", "words", "signature"])


def _buckets(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """The number of each member's bucket in each band, or -1 where it is alone in it."""
    numbers = np.full(keys.shape, -1, np.int32)
    taken = 0
    for band in range(keys.shape[1]):
        _, found, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        shared = counts > 1
        renumbered = np.where(shared, np.cumsum(shared) - 1 + taken, -1)
        numbers[:, band] = renumbered[found]
        taken += int(shared.sum())
    return numbers

"""How far a figure on held-out documents, or a difference between two models, may be chance.

What is drawn again and again is a cluster of near-duplicate documents (`groups`), not a sentence or a token: the tokens
of one document are no independent evidence. A metric is rows of statistics per document and a function ``value`` of
their sums, the same for any multiple of them, so that the resamples are one product of weights with rows.

Intervals are percentiles of the bootstrap, widened by Student's t for what a small sample understates (Hesterberg 2015,
The American Statistician 69:371). BCa and the bootstrap-t cover less where documents differ much in length: 87 and 88 %
against 93 % of differences in perplexity on 30 texts (`python benchmarks/calibration.py --methods`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]
"""From sums of rows, [..., k], to the metric, [...]; NaN where it is undefined."""
Better = Literal["higher", "lower"]
Word = Literal["better", "worse", "not proven"]
Groups = Sequence[Hashable] | NDArray[Any]

FEWEST = 6
"""Clusters from which on a two-sided p-value can be below 0.05: the sign test's smallest is 2 ** (1 - clusters)."""
MOST = 4096
"""More clusters than this are drawn in so many lots, put together at random: 10,000 resamples then take 40 MB."""
CHUNK = 1 << 22
"""Weights that are in memory as floats at the same time."""
ROUNDING = 1e-12
"""Relative; a matrix product may add equal columns in another order."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """``value`` is None where the metric is undefined; so are the bounds there and on fewer than `FEWEST` clusters."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """The tuned model's value minus the other's, paired by document.

    ``p`` is two-sided, and below 0.05 where the 95 % interval excludes 0. ``effect_size`` is the difference over the
    standard deviation of the clusters' contributions to it: Cohen's d_z for a mean; None where they are all the same.
    ``wins`` is the share of the documents on which the tuned model is better; a tie counts half.
    """

    value: float
    low: float
    high: float
    p: float
    effect_size: float | None
    wins: float


def interval(
    rows: ArrayLike,
    value: Value,
    *,
    groups: Groups | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 42,
) -> Interval:
    """The metric over all documents; ``rows``: [documents, k], ``groups``: a label each, by default each its own."""
    sums = _clusters(_rows(rows), groups)
    whole = float(value(sums.sum(axis=0)))
    if not math.isfinite(whole):
        return Interval(None)
    drawn = _resampled(sums, value, resamples, seed)
    return Interval(whole, *_bounds(drawn, len(sums), confidence)) if len(drawn) else Interval(whole)


def difference(  # noqa: PLR0913 - what is drawn and how is said by name
    tuned_rows: ArrayLike,
    other_rows: ArrayLike,
    value: Value,
    *,
    better: Better | None,
    groups: Groups | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 42,
) -> Difference | None:
    """How the tuned model differs from another; both are [documents, k] of the same documents in the same order.

    A resample holds the same clusters of both. None where the metric is undefined for one of them, and on fewer than
    `FEWEST` clusters, from which nothing can be concluded.
    """
    sums, between = _pair(tuned_rows, other_rows, value, groups)
    whole = float(between(sums.sum(axis=0)))
    drawn = _resampled(sums, between, resamples, seed) if math.isfinite(whole) else np.empty(0)
    if not len(drawn):
        return None
    low, high = _bounds(drawn, len(sums), confidence)
    return Difference(
        value=whole,
        low=low,
        high=high,
        p=_p_value(drawn, len(sums)),
        effect_size=_effect_size(whole, _spread(sums, between)),
        wins=_wins(value(_rows(tuned_rows)) - value(_rows(other_rows)), better),
    )


def deviation(tuned_rows: ArrayLike, other_rows: ArrayLike, value: Value, *, groups: Groups | None = None) -> float:
    """Standard deviation of the clusters' contributions to the difference: by its root of their number divided, it is
    the difference's standard error. Of a mean that is the standard deviation of the paired differences."""
    return _spread(*_pair(tuned_rows, other_rows, value, groups))


# ------------------------------------------------------------------------------------------------------- resampling


def _rows(rows: ArrayLike) -> Floats:
    found = np.asarray(rows, dtype=np.float64)
    if found.ndim != 2:
        raise ValueError(f"rows must be [documents, k], not {found.shape}")
    return found


def _clusters(rows: Floats, groups: Groups | None) -> Floats:
    """The sums of each cluster's rows, [clusters, k]."""
    if groups is None:
        return rows
    places: dict[Hashable, int] = {}
    index = [places.setdefault(group, len(places)) for group in groups]
    if len(index) != len(rows):
        raise ValueError(f"{len(index)} groups for {len(rows)} rows")
    return _added(rows, np.array(index, dtype=np.intp), len(places))


def _added(rows: Floats, index: NDArray[np.intp], count: int) -> Floats:
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def _pair(tuned_rows: ArrayLike, other_rows: ArrayLike, value: Value, groups: Groups | None) -> tuple[Floats, Value]:
    """The clusters' rows of both side by side, [clusters, 2k], and the difference as a function of their sums."""
    tuned, other = _rows(tuned_rows), _rows(other_rows)
    if tuned.shape != other.shape:
        raise ValueError(f"rows of the same documents have one shape, not {tuned.shape} and {other.shape}")
    k = tuned.shape[1]

    def between(sums: Floats) -> Floats:
        one, another = value(sums[..., :k]), value(sums[..., k:])
        return np.where(np.isclose(one, another, rtol=ROUNDING, atol=0.0), 0.0, one - another)

    return _clusters(np.concatenate([tuned, other], axis=1), groups), between


def _resampled(sums: Floats, value: Value, resamples: int, seed: int) -> Floats:
    """The metric of each resample of clusters where it is defined, sorted; none on too few clusters."""
    if len(sums) < FEWEST:
        return np.empty(0)
    if len(sums) > MOST:
        lots = np.random.default_rng(seed).permutation(len(sums)) % MOST
        sums = _added(sums, lots, MOST)
    found = np.concatenate([value(weights @ sums) for weights in _weights(len(sums), resamples, seed)])
    return np.sort(found[np.isfinite(found)])


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample: [some of the resamples, clusters] at a time."""
    drawn = _drawn(clusters, resamples, seed)
    step = max(1, CHUNK // clusters)
    for start in range(0, resamples, step):
        yield drawn[start : start + step].astype(np.float64)


@lru_cache(maxsize=1)  # the metrics of an evaluation are mostly of the same documents
def _drawn(clusters: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, clusters), dtype=np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(clusters, size=clusters), minlength=clusters)
    return counts


def _spread(sums: Floats, value: Value) -> float:
    """Standard deviation of the jackknife's influence values (Efron and Tibshirani 1993, section 11.5)."""
    without = value(sums.sum(axis=0) - sums)
    return float((len(sums) - 1) * np.std(without, ddof=1)) if len(sums) > 1 else 0.0


def _effect_size(whole: float, spread: float) -> float | None:
    if whole == 0:
        return 0.0
    return whole / spread if spread > abs(whole) * ROUNDING * MOST else None


def _wins(gains: Floats, better: Better | None) -> float:
    known = gains[np.isfinite(gains)] * (-1 if better == "lower" else 1)
    return float(np.mean((np.sign(known) + 1) / 2)) if len(known) else 0.5


# ------------------------------------------------------------------------------------- from resamples to conclusions


def _bounds(drawn: Floats, clusters: int, confidence: float) -> tuple[float, float]:
    tail = _NORMAL.cdf(-_widened(_NORMAL.inv_cdf(0.5 + confidence / 2), clusters))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _p_value(drawn: Floats, clusters: int) -> float:
    """The smallest p for which an interval of confidence 1 - p would exclude 0.

    Beyond what so many resamples can tell, where all of them lie on one side of 0, by their standard deviation: a
    correction for many tests needs smaller p-values than 2 / resamples.
    """
    below = int(np.searchsorted(drawn, 0.0, side="right"))
    above = len(drawn) - int(np.searchsorted(drawn, 0.0, side="left"))
    tail = (min(below, above) + 1) / (len(drawn) + 1)
    if tail >= 0.5:
        return 1.0
    z = -_NORMAL.inv_cdf(tail)
    if not min(below, above):
        z = max(z, abs(float(drawn.mean())) / max(float(drawn.std()), math.ulp(0.0)))
    return max(2 * _NORMAL.cdf(-_narrowed(z, clusters)), 2.0 ** (1 - clusters))


def _widened(z: float, clusters: int) -> float:
    """A normal quantile as Student's t, times what the bootstrap's variance lacks: it divides by n, not by n - 1.

    With the approximation of Wallace (1959), Ann. Math. Statist. 30:1121, within 0.1 % from 6 clusters on.
    """
    freedom = clusters - 1
    scaled = z * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(scaled * scaled / freedom) * clusters / freedom)


def _narrowed(widened: float, clusters: int) -> float:
    """The inverse of `_widened`."""
    freedom = clusters - 1
    scaled = math.sqrt(freedom * math.log1p(widened * widened / clusters))
    return scaled * (8 * freedom + 1) / (8 * freedom + 3)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of a single false claim among them stays at alpha, however they hang together.

    Step-down method of Holm (1979), Scand. J. Statist. 6:65.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def verdict(p_adjusted: float, value: float, better: Better, alpha: float = 0.05) -> Word:
    """On one metric; ``value`` is the difference."""
    if p_adjusted >= alpha or value == 0:
        return "not proven"
    return "better" if (value > 0) == (better == "higher") else "worse"


def overall(words: Iterable[Word]) -> Word:
    """Over several metrics: better, or worse, where some are and none is the contrary."""
    proven = set(words) - {"not proven"}
    return proven.pop() if len(proven) == 1 else "not proven"


def required_documents(difference: float, deviation: float = 1.0, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Documents (clusters) on which a difference is found with this probability.

    ``deviation`` is that of the clusters' contributions; without it the difference is an effect size. Normal
    approximation with Guenther's correction for Student's t (1981, The American Statistician 35:243).
    """
    z, reach = _reach(power, alpha)
    return max(FEWEST, math.ceil((reach * deviation / difference) ** 2 + z * z / 2))


def detectable_difference(documents: int, deviation: float = 1.0, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference that is found on so many documents with this probability; infinite on too few."""
    z, reach = _reach(power, alpha)
    enough = documents >= FEWEST and documents > z * z / 2
    return reach * deviation / math.sqrt(documents - z * z / 2) if enough else math.inf


def _reach(power: float, alpha: float) -> tuple[float, float]:
    z = _NORMAL.inv_cdf(1 - alpha / 2)
    return z, z + _NORMAL.inv_cdf(power)

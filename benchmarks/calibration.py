"""Whether the intervals and verdicts of steep.significance keep what they promise, by simulation: how often the 95 %
interval covers the truth, and how often two identical models come out as one better than the other.

python benchmarks/calibration.py [--trials 1000] [--seed 0] [--methods] [--json]

--methods sets other intervals beside it. The models that are simulated share each document's difficulty, and
near-duplicate documents share more of it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.overlap.bleu import bleu_value
from steep.evaluate.values import mean, perplexity
from steep.significance import Value, difference, holm, interval, overall, verdict

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
Interval = tuple[float, float]
SIZES = (30, 50, 100, 300)
DUPLICATES = (1, 3)
"""Documents per cluster, on average."""
RESAMPLES = 2_000
Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class World:
    """``draw(generator, groups, gain)`` gives the rows, [documents, k], of a tuned model and of another one;
    ``gain`` is by how much the tuned one finds every document easier."""

    name: str
    draw: Callable[[np.random.Generator, Labels, float], tuple[Floats, Floats]]
    value: Value
    gain: float


@cache
def truth(world: World, duplicates: int) -> tuple[float, float]:
    """The value of both over a million clusters."""
    generator = np.random.default_rng(7)
    drawn = [world.draw(generator, clustered(generator, 50_000, duplicates), world.gain) for _ in range(20)]
    tuned, other = (np.sum([pair[place].sum(axis=0) for pair in drawn], axis=0) for place in (0, 1))
    return float(world.value(tuned)), float(world.value(other))


def clustered(generator: np.random.Generator, clusters: int, duplicates: int) -> Labels:
    """A label for each document."""
    sizes = generator.geometric(1 / duplicates, clusters) if duplicates > 1 else np.ones(clusters, dtype=int)
    return np.repeat(np.arange(clusters), sizes)


def _difficulty(generator: np.random.Generator, groups: Labels, between: float, within: float) -> Floats:
    shared = generator.normal(0, between, groups.max() + 1)
    return np.asarray(shared[groups] + generator.normal(0, within, len(groups)))


def _as_share(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _counted(values: Floats) -> Floats:
    return np.stack([values, np.ones_like(values)], axis=1)


def overlaps(generator: np.random.Generator, groups: Labels, gain: float) -> tuple[Floats, Floats]:
    """A score from 0 to 1 for each document, skewed: most are low."""
    ease = _difficulty(generator, groups, 0.8, 0.6) - 1.5
    tuned, other = (ease + g + generator.normal(0, 0.5, len(groups)) for g in (gain, 0.0))
    return _counted(_as_share(tuned)), _counted(_as_share(other))


def hits(generator: np.random.Generator, groups: Labels, gain: float) -> tuple[Floats, Floats]:
    """Right or wrong, and mostly wrong."""
    ease = _difficulty(generator, groups, 0.8, 0.6) - 2.0
    tuned, other = (generator.random(len(groups)) < _as_share(ease + g) for g in (gain, 0.0))
    return _counted(tuned.astype(float)), _counted(other.astype(float))


def likelihoods(generator: np.random.Generator, groups: Labels, gain: float) -> tuple[Floats, Floats]:
    """Nats and tokens; the longest tenth of the texts has four tenths of the tokens."""
    surprise = 3.0 + _difficulty(generator, groups, 0.3, 0.3)
    tokens = np.maximum(np.round(generator.lognormal(5.5, 1.0, len(groups))), 8)
    tuned, other = (surprise - g + generator.normal(0, 0.1, len(groups)) for g in (gain, 0.0))
    return np.stack([tokens * tuned, tokens], axis=1), np.stack([tokens * other, tokens], axis=1)


def ngrams(generator: np.random.Generator, groups: Labels, gain: float) -> tuple[Floats, Floats]:
    """The counts of corpus BLEU: of texts of 8 to some hundred words, a little shorter than their references."""
    ease = _difficulty(generator, groups, 0.5, 0.4) - 0.9
    wanted = np.maximum(np.round(generator.lognormal(4.0, 0.7, len(groups))), 8)

    def model(more: float) -> Floats:
        words = np.maximum(np.round(wanted * generator.lognormal(-0.1, 0.2, len(groups))), 5)
        totals = words[:, None] - np.arange(4)
        ability = ease + more + generator.normal(0, 0.3, len(groups))
        right = generator.binomial(totals.astype(int), _as_share(ability[:, None] - np.array([0, 0.8, 1.5, 2.1])))
        return np.concatenate([words[:, None], wanted[:, None], right, totals], axis=1)

    return model(gain), model(0.0)


WORLDS = (
    World("ROUGE (mean)", overlaps, mean, 0.25),
    World("exact match", hits, mean, 0.6),
    World("perplexity", likelihoods, perplexity, 0.05),
    World("BLEU", ngrams, bleu_value, 0.15),
)


# --------------------------------------------------------------------------------------------------------- coverage


@dataclass(frozen=True, slots=True)
class Coverage:
    metric: str
    clusters: int
    duplicates: int
    model: float
    """Share of the trials in which the interval of one model's value covers the truth."""
    difference: float
    consistent: float
    """Share in which p < 0.05 says the same as the interval."""


def coverage(world: World, clusters: int, duplicates: int, trials: int, seed: int) -> Coverage:
    tuned_truth, other_truth = truth(world, duplicates)
    generator = np.random.default_rng(seed + clusters)
    model = between = same = 0
    for _ in range(trials):
        groups = clustered(generator, clusters, duplicates)
        tuned, other = world.draw(generator, groups, world.gain)
        one = interval(other, world.value, groups=groups, resamples=RESAMPLES)
        gap = difference(tuned, other, world.value, better="higher", groups=groups, resamples=RESAMPLES)
        assert gap is not None
        assert one.low is not None
        assert one.high is not None
        model += one.low <= other_truth <= one.high
        between += gap.low <= tuned_truth - other_truth <= gap.high
        same += (gap.p < 0.05) == (gap.low > 0 or gap.high < 0)
    return Coverage(world.name, clusters, duplicates, model / trials, between / trials, same / trials)


# ------------------------------------------------------------------------------------------------- identical models


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is said of two identical models, over all measures and with Holm's correction."""

    models: str
    clusters: int
    duplicates: int
    better: float
    worse: float


def of_identical_models(clusters: int, duplicates: int, trials: int, seed: int, *, same_outputs: bool) -> Nothing:
    """Both of one distribution, each with noise of its own; or with the very same outputs."""
    generator = np.random.default_rng(seed + clusters)
    words = [_verdict(generator, clusters, duplicates, same_outputs) for _ in range(trials)]
    name = "the same outputs" if same_outputs else "one distribution"
    return Nothing(name, clusters, duplicates, *(words.count(word) / trials for word in ("better", "worse")))


def _verdict(generator: np.random.Generator, clusters: int, duplicates: int, same_outputs: bool) -> str:
    groups = clustered(generator, clusters, duplicates)
    gaps = []
    for value, better, tuned, other in _measures(generator, groups):
        rows = other if same_outputs else tuned
        gaps.append((difference(rows, other, value, better=better, groups=groups, resamples=RESAMPLES), better))
    adjusted = holm([gap.p for gap, _ in gaps])
    return overall(verdict(p, gap.value, better) for p, (gap, better) in zip(adjusted, gaps, strict=True))


def _measures(generator: np.random.Generator, groups: Labels) -> Iterator[tuple[Value, str, Floats, Floats]]:
    """Perplexity, BLEU, exact match, and three measures of overlap that hang together as ROUGE-1, -2 and -L do."""
    yield (perplexity, "lower", *likelihoods(generator, groups, 0.0))
    yield (bleu_value, "higher", *ngrams(generator, groups, 0.0))
    yield (mean, "higher", *hits(generator, groups, 0.0))
    ease = _difficulty(generator, groups, 0.8, 0.6)
    skill = [ease + generator.normal(0, 0.5, len(groups)) for _ in range(2)]
    for level in (-0.5, -2.5, -1.0):
        tuned, other = (_counted(_as_share(one + level + generator.normal(0, 0.2, len(groups)))) for one in skill)
        yield mean, "higher", tuned, other


# ---------------------------------------------------------------------------------------------------- other methods


def methods(world: World, clusters: int, trials: int, seed: int) -> dict[str, float]:
    """Share of the trials in which the interval of the difference covers the truth, by method."""
    tuned_truth, other_truth = truth(world, 1)
    generator = np.random.default_rng(seed + clusters)
    weights = np.random.default_rng(42).multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(float)
    covered: dict[str, int] = {}
    for _ in range(trials):
        pair = world.draw(generator, np.arange(clusters), world.gain)
        rows, value = np.concatenate(pair, axis=1), _between(world.value, pair[0].shape[1])
        gap = difference(*pair, world.value, better="higher", resamples=RESAMPLES)
        drawn = value(weights @ rows)
        found = {
            "steep": (gap.low, gap.high),
            "percentile": tuple(np.quantile(drawn, [0.025, 0.975])),
            "BCa": _bca(rows, value, drawn),
            "bootstrap-t": _bootstrap_t(rows, value, drawn, weights),
        }
        for name, (low, high) in found.items():
            covered[name] = covered.get(name, 0) + bool(low <= tuned_truth - other_truth <= high)
    return {name: times / trials for name, times in covered.items()}


def _between(value: Value, k: int) -> Value:
    return lambda sums: value(sums[..., :k]) - value(sums[..., k:])


def _bca(rows: Floats, value: Value, drawn: Floats) -> Interval:
    """Efron (1987), JASA 82:171."""
    normal, whole = NormalDist(), rows.sum(axis=0)
    without = value(whole - rows)
    influence = without.mean() - without
    skew = float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))
    below = float(((drawn < value(whole)).mean() + (drawn <= value(whole)).mean()) / 2)
    bias = normal.inv_cdf(min(max(below, 1e-3), 1 - 1e-3))
    tails = [normal.cdf(bias + (bias + z) / (1 - skew * (bias + z))) for z in (-Z, Z)]
    low, high = np.quantile(drawn, tails)
    return float(low), float(high)


def _bootstrap_t(rows: Floats, value: Value, drawn: Floats, weights: Floats) -> Interval:
    """Efron (1982), each resample with its own standard error by the delta method."""
    whole = rows.sum(axis=0)
    error = math.sqrt(float(_variance(rows, value, np.ones((1, len(rows))))[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (drawn - value(whole)) / np.sqrt(np.maximum(_variance(rows, value, weights), 0))
    low, high = np.quantile(np.nan_to_num(scaled, posinf=1e9, neginf=-1e9), [0.025, 0.975])
    return float(value(whole) - high * error), float(value(whole) - low * error)


def _variance(rows: Floats, value: Value, weights: Floats) -> Floats:
    count, k = rows.shape
    sums, step = weights @ rows, rows.std(axis=0) + 1e-12
    slopes = np.stack([(value(sums + step[j] * np.eye(k)[j]) - value(sums)) / step[j] for j in range(k)], axis=1)
    squares = (weights @ (rows[:, :, None] * rows[:, None, :]).reshape(count, -1)).reshape(-1, k, k)
    spread = np.einsum("bi,bij,bj->b", slopes, squares, slopes) - np.einsum("bi,bi->b", slopes, sums) ** 2 / count
    return np.asarray(spread * count / (count - 1))


# ------------------------------------------------------------------------------------------------------------ print


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the trials; the method was chosen by those of 0")
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    out = sys.stderr if given.json else sys.stdout
    start = time.perf_counter()
    found = (_compare_methods if given.methods else _calibrate)(given.trials, given.seed, out)
    print(f"\n{given.trials} trials each, {RESAMPLES} resamples, {time.perf_counter() - start:.0f} s", file=out)
    if given.json:
        print(json.dumps(found, indent=1))


def _calibrate(trials: int, seed: int, out: object) -> dict[str, object]:
    print("Two identical models, six measures: overall verdict\n", file=out)
    print(f"{'models':18} clusters  documents each  better   worse", file=out)
    nothing = []
    for same in (False, True):
        for duplicates in DUPLICATES:
            for clusters in SIZES:
                one = of_identical_models(clusters, duplicates, trials, seed, same_outputs=same)
                nothing.append(one)
                print(f"{one.models:18} {clusters:8}  {duplicates:14}  {one.better:6.1%}  {one.worse:6.1%}", file=out)
    print("\nCoverage of the 95 % interval\n", file=out)
    print(f"{'metric':13} clusters  documents each  one model  difference  p agrees", file=out)
    covered = []
    for world in WORLDS:
        for duplicates in DUPLICATES:
            for clusters in SIZES:
                row = coverage(world, clusters, duplicates, trials, seed)
                covered.append(row)
                figures = f"{row.model:9.1%}  {row.difference:10.1%}  {row.consistent:8.1%}"
                print(f"{row.metric:13} {clusters:8}  {duplicates:14}  {figures}", file=out, flush=True)
    return {
        "trials": trials,
        "seed": seed,
        "identical": list(map(asdict, nothing)),
        "coverage": list(map(asdict, covered)),
    }


def _compare_methods(trials: int, seed: int, out: object) -> dict[str, object]:
    print("Coverage of the 95 % interval of a difference, by method\n", file=out)
    rows = []
    for world in WORLDS:
        for clusters in SIZES:
            found = methods(world, clusters, trials, seed)
            rows.append({"metric": world.name, "clusters": clusters, **found})
            figures = "  ".join(f"{name} {share:6.1%}" for name, share in found.items())
            print(f"{world.name:13} {clusters:4}  {figures}", file=out, flush=True)
    return {"trials": trials, "seed": seed, "methods": rows}


if __name__ == "__main__":
    main()

"""Intervals, p-values, verdicts and the documents they take."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from steep.significance import (
    FEWEST,
    MOST,
    Interval,
    detectable_difference,
    deviation,
    difference,
    holm,
    interval,
    overall,
    required_documents,
    verdict,
)


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def perplexity(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.exp(sums[..., 0] / sums[..., 1])


def product(sums: np.ndarray) -> np.ndarray:
    """Of ten columns, as BLEU has."""
    return np.exp(np.log(sums[..., 2:6] / sums[..., 6:10]).mean(axis=-1))


def counted(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], axis=1)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    other = random.normal(0.3, 0.2, 60)
    return counted(other + random.normal(0.05, 0.1, 60)), counted(other)


def test_the_interval_of_a_mean_is_as_wide_as_that_of_students_t() -> None:
    values = np.random.default_rng(1).normal(10, 2, 30)
    found = interval(counted(values), mean)
    reach = 2.0452 * values.std(ddof=1) / np.sqrt(30)  # the 97.5 % quantile of t with 29 degrees of freedom
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.03)
    assert (found.high + found.low) / 2 == pytest.approx(values.mean(), abs=0.1 * reach)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    rows = counted(np.random.default_rng(1).normal(0, 1, 40))
    one, other = interval(rows, mean, confidence=0.8), interval(rows, mean, confidence=0.99)
    assert other.low < one.low < one.high < other.high


def test_the_effect_size_of_a_mean_is_cohens_d_of_the_pairs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    gains = pair[0][:, 0] - pair[1][:, 0]
    assert difference(*pair, mean, better="higher").effect_size == pytest.approx(gains.mean() / gains.std(ddof=1))


def test_the_deviation_of_a_ratio_is_that_of_the_delta_method() -> None:
    random = np.random.default_rng(2)
    tokens = random.integers(50, 500, 400).astype(float)
    nats = tokens * random.normal(3, 0.3, 400)
    better = nats - tokens * random.normal(0.1, 0.05, 400)

    def contributions(rows: np.ndarray) -> np.ndarray:
        level = rows.sum() / tokens.sum()
        return np.exp(level) * (rows - level * tokens) / tokens.mean()

    expected = np.std(contributions(better) - contributions(nats), ddof=1)
    found = deviation(np.stack([better, tokens], 1), np.stack([nats, tokens], 1), perplexity)
    assert found == pytest.approx(expected, rel=0.01)


def test_documents_are_paired(pair: tuple[np.ndarray, np.ndarray]) -> None:
    tuned, other = pair
    shuffled = np.random.default_rng(0).permutation(other)
    apart = difference(tuned, shuffled, mean, better="higher")
    together = difference(tuned, other, mean, better="higher")
    assert apart.value == pytest.approx(together.value)
    assert together.high - together.low < 0.5 * (apart.high - apart.low)


@pytest.mark.parametrize("value", [mean, perplexity, product])
def test_the_same_outputs_do_not_differ(value: object) -> None:
    rows = np.random.default_rng(4).lognormal(2, 1, (57, 10))
    found = difference(rows, rows.copy(), value, better="higher")
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert (found.effect_size, found.wins) == (0, 0.5)


def test_what_differs_by_rounding_alone_does_not_differ() -> None:
    rows = counted(np.random.default_rng(4).lognormal(2, 1, 57))
    found = difference(3 * rows, rows, mean, better="higher")
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_is_below_5_percent_where_the_interval_excludes_0() -> None:
    random = np.random.default_rng(6)
    agree = []
    for _ in range(100):
        other = random.lognormal(0, 1, 25)
        tuned = other + random.normal(0.2, 0.4, 25)
        found = difference(counted(tuned), counted(other), mean, better="higher", resamples=2_000)
        agree.append((found.p < 0.05) == (found.low > 0 or found.high < 0))
    assert np.mean(agree) > 0.97


def test_copies_of_a_document_are_no_further_evidence(pair: tuple[np.ndarray, np.ndarray]) -> None:
    copied = [np.repeat(rows, 4, axis=0) for rows in pair]
    groups = np.repeat([f"group {number}" for number in range(60)], 4)
    once = difference(*pair, mean, better="higher")
    assert difference(*copied, mean, better="higher", groups=groups).low == pytest.approx(once.low)
    assert difference(*copied, mean, better="higher").low > once.low + 0.2 * (once.high - once.low)


def test_the_same_seed_gives_the_same_interval(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one = difference(*pair, mean, better="higher", seed=1)
    assert difference(*pair, mean, better="higher", seed=1) == one
    assert difference(*pair, mean, better="higher", seed=2) != one


def test_a_measure_of_nothing_is_undefined() -> None:
    rows = np.zeros((20, 2))
    assert interval(rows, perplexity) == Interval(None)
    assert difference(rows, np.ones((20, 2)), perplexity, better="lower") is None


def test_resamples_without_a_word_are_left_out() -> None:
    rows = np.zeros((8, 2))
    rows[0] = 3, 1
    found = interval(rows, perplexity)
    assert (found.low, found.high) == (pytest.approx(np.exp(3)), pytest.approx(np.exp(3)))


def test_nothing_is_concluded_from_five_documents() -> None:
    rows = counted(np.arange(5.0))
    assert interval(rows, mean) == Interval(2.0)
    assert difference(rows + np.array([1, 0]), rows, mean, better="higher") is None


def test_no_documents_are_undefined() -> None:
    with np.errstate(invalid="ignore"):
        assert interval(np.empty((0, 2)), mean) == Interval(None)


def test_six_documents_that_agree_are_just_proof() -> None:
    rows = counted(np.arange(float(FEWEST)))
    found = difference(rows + np.array([1, 0]), rows, mean, better="higher")
    assert found.p == pytest.approx(2 * 0.5**FEWEST)  # as the sign test says
    assert found.effect_size is None


def test_many_tests_can_be_corrected_for() -> None:
    random = np.random.default_rng(8)
    other = random.normal(0, 1, 40)
    found = difference(counted(other + random.normal(1, 0.3, 40)), counted(other), mean, better="higher", resamples=500)
    assert 0 < found.p < 1e-6


def test_lots_of_many_clusters_give_the_same_interval() -> None:
    values = np.random.default_rng(9).normal(0, 1, 3 * MOST)
    found = interval(counted(values), mean, resamples=2_000)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.06)


def test_wins_follow_the_direction_that_is_better() -> None:
    other = counted(np.arange(8.0))
    tuned = counted(np.arange(8.0) + np.array([1, 1, 1, 1, 1, 0, 0, -1]))
    assert difference(tuned, other, mean, better="higher").wins == pytest.approx(6 / 8)
    assert difference(tuned, other, mean, better="lower").wins == pytest.approx(2 / 8)


def test_rows_of_other_documents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, not \(4, 2\) and \(5, 2\)"):
        difference(np.ones((4, 2)), np.ones((5, 2)), mean, better="higher")
    with pytest.raises(ValueError, match="3 groups for 4 rows"):
        interval(np.ones((4, 2)), mean, groups=[1, 2, 3])
    with pytest.raises(ValueError, match=r"\[documents, k\], not \(4,\)"):
        interval(np.ones(4), mean)


def test_holm_multiplies_the_smallest_most() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_metric_is_better_only_by_proof_and_direction() -> None:
    assert verdict(0.01, 2.0, "higher") == "better"
    assert verdict(0.01, 2.0, "lower") == "worse"
    assert verdict(0.01, -2.0, "lower") == "better"
    assert verdict(0.05, 2.0, "higher") == "not proven"
    assert verdict(0.04, 2.0, "higher", alpha=0.01) == "not proven"


def test_a_gain_beside_a_loss_proves_nothing_overall() -> None:
    assert overall(["better", "not proven", "better"]) == "better"
    assert overall(["worse", "not proven"]) == "worse"
    assert overall(["better", "worse", "better"]) == "not proven"
    assert overall(["not proven"]) == "not proven"
    assert overall([]) == "not proven"


@pytest.mark.parametrize(("effect", "documents"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_documents_needed_are_those_of_the_paired_t_test(effect: float, documents: int) -> None:
    assert required_documents(effect) == documents  # as Cohen's tables and G*Power have it
    assert required_documents(3 * effect, 3.0) == documents


def test_more_power_takes_more_documents() -> None:
    needed = [required_documents(0.3, power=power) for power in (0.5, 0.8, 0.9, 0.99)]
    assert all(fewer < more for fewer, more in pairwise(needed))


def test_the_detectable_difference_takes_the_documents_there_are() -> None:
    assert required_documents(detectable_difference(120, 4.0), 4.0) == 120
    assert detectable_difference(3) == np.inf


def test_the_documents_needed_give_the_power_promised() -> None:
    random = np.random.default_rng(10)
    documents = required_documents(0.4)
    proven = 0
    for _ in range(300):
        tuned = counted(random.normal(0.4, 1, documents))
        proven += difference(tuned, counted(np.zeros(documents)), mean, better="higher", resamples=1_000).p < 0.05
    assert 0.73 < proven / 300 < 0.87


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        tokens = np.round(random.lognormal(5, 1, 100)) + 8
        surprise = random.normal(3, 0.4, 100)
        better = surprise - 0.1 + random.normal(0, 0.1, 100)
        rows = [np.stack([tokens * each, tokens], axis=1) for each in (better, surprise)]
        found = difference(*rows, perplexity, better="lower", resamples=1_000)
        covered += found.low <= np.exp(2.9) - np.exp(3.0) <= found.high
    assert 0.92 < covered / 400 < 0.98

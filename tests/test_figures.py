"""Figures as people read them."""

from __future__ import annotations

import math

import pytest

import proofs
from steep.figures import fixed, p_value, rows_of, span
from steep.scores import Metric

GAP = {"value": 0.0012, "low": 0.0004, "high": 0.002, "p": 0.01, "effect_size": 0.3, "wins": 0.6}


def row(better="higher", name="continuation.rouge2", gap=GAP, **models):
    values = {"base": 0.016, "tuned": 0.0172} | models
    one = {
        "documents": 40,
        "better": better,
        "models": {model: {"value": value} for model, value in values.items()},
        "differences": {"base": gap} if gap else {},
    }
    made = proofs.scores({}, metrics={name: Metric.model_validate(one)})
    return rows_of(made)[0]


def test_a_small_difference_that_counts_is_not_rounded_to_nothing():
    assert (row().gaps["base"].value, row().gaps["base"].interval) == ("+0.0012", "+0.0004 to +0.0020")
    assert (row().models["base"].value, row().models["tuned"].value) == ("0.0160", "0.0172")


def test_a_large_value_has_few_decimals():
    wide = GAP | {"value": -120.0, "low": -150.0, "high": -90.0}
    assert row(gap=wide, base=340.12, tuned=220.12).models["base"].value == "340.1"


def test_an_interval_of_no_width_does_not_ask_for_decimals():
    flat = GAP | {"value": 0.0, "low": 0.0, "high": 0.0, "effect_size": 0.0}
    assert row(gap=flat, base=0.0, tuned=0.0).gaps["base"].interval == "0.000 to 0.000"


@pytest.mark.parametrize(
    ("value", "sign", "shown"),
    [
        (-1.5, "-", "−1.50"),
        (1.5, "+", "+1.50"),
        (-0.001, "+", "0.00"),
        (1234.5, "-", "1,234.50"),
        (math.inf, "-", "∞"),
        (-math.inf, "-", "−∞"),
        (math.nan, "-", "undefined"),
    ],
)
def test_a_number_has_a_true_minus_and_what_is_shown_as_zero_has_no_sign(value, sign, shown):
    assert fixed(value, 2, sign) == shown


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.0496, "0.050"), (0.2345, "0.23"), (1.0, "1.00")]
)
def test_a_p_value_is_never_shown_as_zero(p, shown):
    assert p_value(p) == shown


def test_what_is_undefined_says_so_and_has_no_interval():
    assert row(base=None, gap=None).models["base"].value == "undefined"
    assert span(None, None, 2) == ""


def test_an_effect_without_a_size_is_a_dash():
    assert row(gap=GAP | {"effect_size": None}).gaps["base"].effect == "–"


def test_the_direction_that_is_better_is_told_with_the_meaning():
    assert row().meaning == "word pairs shared with it, 0 to 1; higher is better"
    assert row(better="lower", name="perplexity").meaning.endswith("; lower is better")


def test_only_of_a_ratio_a_change_is_a_share():
    assert row(name="perplexity", better="lower").gaps["base"].change == "+8\u00a0%"
    assert row().gaps["base"].change == ""


def test_a_task_of_another_program_goes_by_its_own_name():
    assert row(name="lm_eval.arc_easy.acc,none").label == "arc_easy.acc,none"


def test_measures_keep_their_order_and_the_spread_is_of_their_subsets():
    rows = rows_of(proofs.scores())
    assert [row.name for row in rows][:3] == ["perplexity", "bits_per_byte", "continuation.bleu"]
    assert "±" in rows[2].spread["tuned"]
    assert rows[0].spread == {}

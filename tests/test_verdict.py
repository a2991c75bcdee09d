"""What the scores say, in words."""

from __future__ import annotations

import pytest

from steep.verdict import changes, verdict


def measured(**values):
    return changes(
        {"metrics": {name: {"base": base, "tuned": tuned, "n": 50} for name, (base, tuned) in values.items()}}
    )


def test_a_measure_whose_shown_values_are_equal_is_unchanged():
    (change,) = measured(rouge2=(0.0161, 0.0163))
    assert (change.gain, change.difference) == (0, "0.000")


@pytest.mark.parametrize(
    ("bleu", "headline"),
    [
        ((4, 5), "Better than its base model on 1 of 2 measures, unchanged on 1."),
        ((5, 4), "Worse than its base model on 1 of 2 measures, unchanged on 1."),
        ((4, 4.001), "No different from its base model on all 2 measures."),
    ],
)
def test_the_headline_counts_what_is_unchanged(bleu, headline):
    assert verdict(measured(bleu=bleu, rouge2=(0.0161, 0.0163))).headline == headline


def test_a_measure_that_is_undefined_is_not_called_unchanged():
    said = verdict(measured(bleu=(4, 5), rouge2=(float("nan"), float("nan"))))
    assert said.headline == "Mixed: of 2 measures, 1 better than the base model, 0 worse."

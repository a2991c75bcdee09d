"""What the scores say, in words."""

from __future__ import annotations

import re

import pytest

import proofs
from proofs import LEVELS, scores
from steep.scores import Gate, Metric
from steep.verdict import gate_sentence, verdict

EQUAL = {"continuation.bleu": (4.0, 4.0, 4.0)}


def test_a_model_that_is_better_in_all_says_so_with_documents_figures_intervals_and_p_values():
    said = verdict(scores())
    assert said.headline == "Better than its base model, and better than prompting it with examples."
    assert said.sentences[0] == (
        "Against its base model, on 60 held-out documents, the tuned model is better on all 6 measures."
    )


def test_a_figure_is_told_with_both_values_its_interval_and_its_p_value():
    models = {"base": {"value": 80.254}, "few_shot": {"value": 53.03}, "tuned": {"value": 20.6}}
    gap = {"value": -59.654, "low": -69.24, "high": -50.88, "p": 0.0002, "p_adjusted": 0.0006, "wins": 1.0}
    beside = gap | {"value": -32.43, "low": -39.02, "high": 0.5, "p_adjusted": 0.0604, "verdict": "not proven"}
    one = {"documents": 9, "better": "lower", "models": models}
    one["differences"] = {"base": gap | {"verdict": "better"}, "few_shot": beside}
    made = scores().model_copy(update={"metrics": {"perplexity": Metric.model_validate(one)}})
    assert verdict(made).figures == (
        "Perplexity fell from 80.25 to 20.60, −59.65 or −74\u00a0% (−69.24 to −50.88; p < 0.001): better; "
        "against prompting (53.03) −32.43 (−39.02 to +0.50; p = 0.060): not proven.",
    )


def measured(base, few_shot):
    """Scores of one measure with these words."""
    gap = {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, "wins": 0.7}
    models = {model: {"value": 1.0} for model in ("base", "few_shot", "tuned")}
    gaps = {"base": gap | {"verdict": base}, "few_shot": gap | {"verdict": few_shot}}
    one = {"documents": 9, "better": "higher", "models": models, "differences": gaps}
    metrics = {"continuation.bleu": Metric.model_validate(one)}
    return scores({}, metrics=metrics, verdict={"base": base, "few_shot": few_shot})


@pytest.mark.parametrize(
    ("base", "few_shot", "headline"),
    [
        ("better", "better", "Better than its base model, and better than prompting."),
        ("better", "not proven", "Better than its base model, but not proven better than prompting."),
        ("better", "worse", "Better than its base model, but worse than prompting."),
        (
            "not proven",
            "better",
            "Not proven better than its base model, though better than prompting it with examples.",
        ),
        ("not proven", "not proven", "Not proven better than its base model, nor than prompting."),
        ("not proven", "worse", "Not proven better than its base model, and worse than prompting."),
        ("worse", "better", "Worse than its base model, though better than prompting."),
        ("worse", "not proven", "Worse than its base model, and not proven better than prompting."),
        ("worse", "worse", "Worse than its base model, and worse than prompting."),
    ],
)
def test_the_headline_says_both_words(base, few_shot, headline):
    assert verdict(measured(base, few_shot)).headline == headline.replace("prompting.", "prompting it with examples.")


def test_a_verdict_that_some_measures_prove_says_how_many():
    some = scores(LEVELS | {"continuation.bleu": (0.8, 9.4, 9.5), "continuation.rouge2": (0.02, 0.127, 0.1265)})
    assert verdict(some).headline == (
        "Better than its base model, and better than prompting it with examples on 4 of 6 measures."
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("not proven", "A fine-tuning that does not beat prompting is not worth it; that this one does is not proven."),
        (
            "worse",
            "A fine-tuning that does not beat prompting is not worth it, and this one does worse than prompting.",
        ),
    ],
)
def test_a_tuning_that_does_not_beat_prompting_is_said_to_be_not_worth_it(word, said):
    assert verdict(measured("better", word)).sentences[-1] == said


def test_a_tuning_that_beats_prompting_is_not_called_worthless():
    assert not any("not worth it" in sentence for sentence in verdict(scores()).sentences)


def test_where_prompting_was_not_measured_the_verdict_says_that_it_was_not():
    without = scores(verdict={"base": "better"})
    assert "was not measured" in verdict(without).sentences[-1]


def test_measures_on_both_sides_are_named_and_prove_nothing():
    mixed = scores(LEVELS | {"continuation.chrf": (26, 26, 20), "continuation.bleu": (1, 1.02, 1.01)})
    said = verdict(mixed)
    assert said.headline.startswith("Not proven better than its base model")
    assert (
        "better on 4 of 6 measures, worse on 1 (chrF), "
        "not proven better or worse on 1 (BLEU). Better on some and worse on others is no proof either way."
    ) in said.sentences[0]


def test_one_measure_that_does_not_differ_is_not_proven_and_not_called_equal():
    said = verdict(scores(EQUAL))
    assert "is not proven better or worse on the one measure taken, BLEU." in said.sentences[0]
    assert "Not proven does not mean equal." in said.method


def test_a_measure_that_is_worse_is_told_with_its_sign():
    said = verdict(scores({"perplexity": (20, 30, 30)}))
    assert said.headline.startswith("Worse than its base model, and not proven better than prompting")
    assert said.figures[0].startswith("Perplexity rose from 19.")
    assert ": worse; against prompting" in said.figures[0]


def test_what_repeats_another_measure_is_not_counted():
    assert (
        "on the one measure taken, Perplexity"
        in verdict(scores({"perplexity": (86, 61, 21), "bits_per_byte": (2.4, 2.1, 1.6)})).sentences[0]
    )


def test_steps_with_the_same_measure_are_told_apart():
    both = scores({"continuation.rougeL": (0.1, 0.2, 0.3), "completion.rougeL": (0.3, 0.4, 0.5)})
    assert [figure.partition(" rose")[0] for figure in verdict(both).figures] == [
        "ROUGE-L (completion)",
        "ROUGE-L (continuation)",
    ]


def test_a_model_from_scratch_is_not_called_better_than_anything():
    said = verdict(proofs.from_scratch(scores()))
    assert said.headline == "There is no base model to compare with."
    assert re.fullmatch(r"Perplexity is [\d.]+ \([\d.]+ to [\d.]+\)\.", said.figures[0])
    assert "Holm" not in said.method


def test_of_one_document_there_is_no_verdict_and_no_interval():
    said = verdict(scores(documents=1))
    assert said.headline == "No verdict: there is no difference that could be tested."
    assert "A test needs 6 held-out documents" in said.sentences[0]
    assert said.method == "No intervals could be made."


def test_a_measure_that_is_undefined_for_the_base_model_is_told_and_not_compared():
    made = scores()
    undefined = made.metrics["perplexity"].model_dump(mode="json")
    undefined["models"]["base"] = {"value": None}
    del undefined["differences"]["base"]
    one = Metric.model_validate(undefined)
    said = verdict(made.model_copy(update={"metrics": made.metrics | {"perplexity": one}}))
    assert "of the base model it is undefined" in said.figures[0]
    assert "better on all 5 measures" in said.sentences[0]


def test_an_interval_without_zero_that_is_not_proven_is_explained():
    made = scores()
    gap = made.metrics["perplexity"].differences["base"].model_copy(update={"verdict": "not proven"})
    one = made.metrics["perplexity"].model_copy(update={"differences": {"base": gap}})
    doubted = made.model_copy(update={"metrics": made.metrics | {"perplexity": one}})
    assert "once it counts that several measures were tried" in verdict(doubted).method
    assert "once it counts" not in verdict(made).method


def test_the_method_says_what_the_intervals_leave_out():
    method = verdict(scores()).method
    assert "paired bootstrap over 58 documents or groups of near-duplicates (4,000 resamples, seed 42)" in method
    assert "adjusted for 6 measures by Holm's method" in method
    assert "not on the seed of the training" in method


def test_a_gate_is_told_with_what_was_found_and_what_is_allowed():
    assert gate_sentence(Gate(name="forgetting", value=0.234, limit=0.1, passed=False)) == (
        "Failed: the rise of perplexity on general text is 23.4\u00a0%, the recipe allows 10\u00a0%."
    )

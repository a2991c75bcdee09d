from __future__ import annotations

import json

import pytest

from steep.errors import SteepError
from steep.evaluate import compare_models, evaluate_model
from steep.models import new_model
from steep.recipe import Architecture, EvaluateStep

TEXTS = ["The kettle sings when the water is ready.", "Rain", "Rain fell on the roof all morning, and nobody minded."]
EXAMPLES = [{"text": text, "document_id": f"d{number}", "group": "", "source": ""} for number, text in enumerate(TEXTS)]
STEPS = [EvaluateStep.model_validate(name) for name in ("perplexity", "continuation")]


@pytest.fixture
def base(tiny_model, tokenizer):
    return evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=64)


@pytest.fixture
def tuned(tokenizer):
    shape = Architecture(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return evaluate_model(new_model(shape, tokenizer, seed=1), tokenizer, EXAMPLES, STEPS, max_length=64)


def test_scores_have_both_models_the_number_of_texts_and_the_better_direction(base, tuned):
    metrics = compare_models(base, tuned).scores["metrics"]
    assert list(metrics) == ["perplexity", "bits_per_byte", "bleu", "rouge1", "rouge2", "rougeL"]
    assert metrics["perplexity"] == {
        "base": base.scores["perplexity"].value,
        "tuned": tuned.scores["perplexity"].value,
        "n": 3,
        "better": "lower",
    }
    assert metrics["rougeL"]["n"] == 2
    assert {name: metric["better"] for name, metric in metrics.items() if metric["better"] == "lower"} == {
        "perplexity": "lower",
        "bits_per_byte": "lower",
    }


def test_settings_and_signatures_say_how_it_was_measured(base, tuned):
    scores = compare_models(base, tuned).scores
    assert scores["settings"] == {
        "perplexity": {"window": 64, "stride": 32},
        "continuation": {
            "split": 0.5,
            "max_new_tokens": 128,
            "temperature": 0.0,
            "top_p": 1.0,
            "seed": 42,
            "skipped": 1,
        },
    }
    assert scores["signatures"]["bleu"].startswith("nrefs:1|")
    assert "no stemming" in scores["signatures"]["rouge"]


def test_a_sample_has_both_answers_to_one_prompt_and_the_measures_of_both(base, tuned):
    first, short, last = compare_models(base, tuned).samples
    assert first["prompt"] + first["reference"] == TEXTS[0]
    assert (first["base"], first["tuned"]) == (base.samples[0].output, tuned.samples[0].output)
    assert first["measures"]["nll"] == {
        "base": base.samples[0].measures["nll"],
        "tuned": tuned.samples[0].measures["nll"],
    }
    assert set(last["measures"]) == {"nll", "rouge1", "rouge2", "rougeL"}
    assert last["bytes"] == len(TEXTS[2])
    assert short["reference"] is None
    assert set(short["measures"]) == {"nll"}


def test_a_model_from_scratch_is_reported_without_a_base(tuned):
    comparison = compare_models(None, tuned)
    assert comparison.scores["metrics"]["bleu"]["base"] is None
    assert comparison.samples[0]["base"] is None
    assert comparison.samples[0]["measures"]["nll"]["base"] is None
    assert comparison.samples[0]["tuned"] is not None


def test_what_is_written_is_plain_json(base, tuned):
    comparison = compare_models(base, tuned)
    assert json.loads(json.dumps(comparison.scores, allow_nan=False)) == comparison.scores
    assert json.loads(json.dumps(comparison.samples, allow_nan=False)) == comparison.samples


def test_only_what_the_recipe_asks_for_is_measured(tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"continuation": {"metrics": ["bleu"]}})
    assert list(evaluate_model(tiny_model, tokenizer, EXAMPLES, [step], max_length=64).scores) == ["bleu"]


def test_the_window_is_never_longer_than_the_model_can_see(tiny_model, tokenizer):
    results = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS[:1], max_length=4096)
    assert results.settings["perplexity"] == {"window": 256, "stride": 128}


def test_texts_too_short_for_a_continuation_leave_its_scores_out(tiny_model, tokenizer):
    results = evaluate_model(tiny_model, tokenizer, EXAMPLES[1:2], STEPS)
    assert list(results.scores) == ["perplexity", "bits_per_byte"]
    assert results.settings["continuation"]["skipped"] == 1


def test_results_on_other_texts_are_never_set_side_by_side(base, tiny_model, tokenizer):
    other = evaluate_model(tiny_model, tokenizer, EXAMPLES[:2], STEPS, max_length=64)
    with pytest.raises(SteepError, match="not evaluated on the same prompts with the same settings"):
        compare_models(base, other)
    narrow = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=32)
    with pytest.raises(SteepError, match="not evaluated on the same prompts with the same settings"):
        compare_models(base, narrow)

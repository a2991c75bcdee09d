from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from conftest import SHAPE
from steep.errors import SteepError
from steep.evaluate import Results, compare_models, evaluate_model
from steep.evaluate.compare import compare_metrics, verdicts
from steep.evaluate.results import Answer, Measured
from steep.models import new_model, train_tokenizer
from steep.recipe.evaluate import EvaluateStep
from steep.scores import Scores

TEXTS = ["The kettle sings when the water is ready.", "Rain", "Rain fell on the roof all morning, and nobody minded."]
EXAMPLES = [{"text": text, "document_id": f"d{number}", "group": "", "source": ""} for number, text in enumerate(TEXTS)]
WHOLE = {"continuation": {"subsets": 2, "subset_share": 1.0}}
STEPS = [EvaluateStep.model_validate(step) for step in ("perplexity", WHOLE)]


@pytest.fixture
def base(tiny_model, tokenizer):
    return evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=64)


@pytest.fixture
def tuned(tokenizer):
    return evaluate_model(new_model(SHAPE, tokenizer, seed=1), tokenizer, EXAMPLES, STEPS, max_length=64)


def measured(values, name="continuation.rougeL"):
    documents = [f"d{number}" for number in range(len(values))]
    rows = np.array([(value, 1) for value in values], dtype=float)
    return {name: Measured(documents, documents, rows)}


def draws(seed, gain, count=60):
    generator = np.random.default_rng(seed)
    before = generator.uniform(0.1, 0.5, count)
    return before, before + gain + generator.normal(0, 0.02, count)


def test_every_measure_has_both_models_and_the_number_of_texts(base, tuned):
    metrics = compare_models({"base": base, "tuned": tuned}).scores.metrics
    assert set(metrics["perplexity"].models) == {"base", "tuned"}
    assert metrics["perplexity"].documents == 3
    assert metrics["continuation.rougeL"].documents == 2, "one text is too short to be cut"
    assert metrics["perplexity"].better == "lower"


def test_a_clear_gain_is_better_with_an_interval_around_the_true_difference():
    before, after = draws(0, 0.05)
    found = compare_metrics({"base": measured(before), "tuned": measured(after)})["continuation.rougeL"]
    difference = found.differences["base"]
    assert difference.verdict == "better"
    assert difference.low < 0.05 < difference.high
    assert difference.value == pytest.approx(float(np.mean(after) - np.mean(before)))


def test_where_less_is_better_a_rise_is_worse():
    before, after = draws(1, 0.05)
    names = "perplexity"
    found = compare_metrics({"base": measured(before, names), "tuned": measured(after, names)})
    assert found["perplexity"].differences["base"].verdict == "worse"
    assert verdicts(found) == {"base": "worse"}


def test_the_same_answers_prove_nothing():
    before, _ = draws(2, 0.0)
    difference = compare_metrics({"base": measured(before), "tuned": measured(before)})["continuation.rougeL"]
    assert difference.differences["base"].verdict == "not proven"
    assert difference.differences["base"].p == 1.0


def test_p_values_are_corrected_over_the_measures_of_the_verdict():
    before, after = draws(3, 0.008)
    alone = compare_metrics({"base": measured(before), "tuned": measured(after)})["continuation.rougeL"]
    many_before, many_after = {}, {}
    for number, name in enumerate(("continuation.rouge1", "continuation.rouge2", "continuation.chrf")):
        noise = draws(10 + number, 0.0)
        many_before |= measured(noise[0], name)
        many_after |= measured(noise[1], name)
    both = compare_metrics({"base": many_before | measured(before), "tuned": many_after | measured(after)})[
        "continuation.rougeL"
    ].differences["base"]
    assert both.p == alone.differences["base"].p
    assert both.p_adjusted == pytest.approx(min(1.0, 4 * both.p))


def test_a_measure_that_repeats_another_is_no_part_of_the_verdict():
    before, after = draws(4, 0.05)
    found = compare_metrics({"base": measured(before, "bits_per_byte"), "tuned": measured(after, "bits_per_byte")})
    assert found["bits_per_byte"].differences["base"].verdict is None
    assert verdicts(found) == {}


def test_the_spread_over_random_subsets_is_told_for_what_was_generated(tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"continuation": {"subsets": 3, "subset_share": 0.7, "max_new_tokens": 4}})
    results = evaluate_model(tiny_model, tokenizer, EXAMPLES, [step], max_length=64)
    spread = compare_models({"tuned": results}).scores.metrics["continuation.rougeL"].subsets["tuned"]
    assert len(spread) == 3


def test_a_sample_has_all_answers_to_one_prompt_and_their_measures(base, tuned):
    first, last = compare_models({"base": base, "tuned": tuned}).samples
    assert first["prompt"] + first["reference"] == TEXTS[0]
    assert first["answers"] == {"base": base.answers[0].text, "tuned": tuned.answers[0].text}
    assert set(first["measures"]["rougeL"]) == {"base", "tuned"}
    assert last["document_id"] == "d2"


def test_the_statistics_of_each_document_are_kept_so_that_others_can_test(base, tuned):
    rows = compare_models({"base": base, "tuned": tuned}).measures
    nll = [row for row in rows if row["metric"] == "perplexity" and row["model"] == "tuned"]
    assert [row["document_id"] for row in nll] == ["d0", "d1", "d2"]
    total = np.array([row["row"] for row in nll]).sum(axis=0)
    scores = compare_models({"base": base, "tuned": tuned}).scores
    assert scores.metrics["perplexity"].models["tuned"].value == pytest.approx(np.exp(total[0] / total[1]))


def test_a_model_from_scratch_is_reported_without_a_base(tuned):
    scores = compare_models({"tuned": tuned}).scores
    assert set(scores.models) == {"tuned"}
    assert scores.metrics["continuation.bleu"].differences == {}
    assert scores.verdict == {}


def test_what_is_written_is_plain_json_and_is_read_back(base, tuned):
    compared = compare_models({"base": base, "tuned": tuned})
    written = compared.scores.model_dump_json()
    assert Scores.model_validate_json(written) == compared.scores
    assert json.loads(json.dumps(compared.samples, allow_nan=False)) == compared.samples


def test_only_what_the_recipe_asks_for_is_measured(tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"continuation": {"metrics": ["bleu"]}})
    found = evaluate_model(tiny_model, tokenizer, EXAMPLES, [step], max_length=64).measured
    quality = {f"continuation.{name}" for name in ("stop_rate", "repetition", "length_ratio", "empty")}
    assert set(found) - quality == {"continuation.bleu"}


def test_the_window_is_never_longer_than_the_model_can_see(tiny_model, tokenizer):
    results = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS[:1], max_length=4096)
    assert results.settings["perplexity"]["window"] == 256


def test_texts_too_short_for_a_continuation_leave_its_scores_out(tiny_model, tokenizer):
    results = evaluate_model(tiny_model, tokenizer, EXAMPLES[1:2], STEPS)
    assert "perplexity" in compare_models({"tuned": results}).scores.metrics
    assert results.settings["continuation"]["too_short"] == 1
    assert results.answers == []


def test_results_on_other_texts_are_never_set_side_by_side(base, tiny_model, tokenizer):
    other = evaluate_model(tiny_model, tokenizer, EXAMPLES[:2], STEPS, max_length=64)
    with pytest.raises(SteepError, match="not evaluated on the same prompts with the same settings"):
        compare_models({"base": base, "tuned": other})


def test_results_with_other_cuts_are_never_set_side_by_side(base, tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"continuation": {"split": 0.25, "subsets": 2, "subset_share": 1.0}})
    other = evaluate_model(tiny_model, tokenizer, EXAMPLES, [STEPS[0], step], max_length=64)
    with pytest.raises(SteepError, match="not evaluated on the same prompts with the same settings"):
        compare_models({"base": base, "tuned": other})


def test_what_was_measured_before_an_interruption_is_not_measured_again(tiny_model, tokenizer, tmp_path, monkeypatch):
    ledger = tmp_path / "tuned.jsonl"
    whole = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=64, ledger=ledger)
    lines = ledger.read_text("utf-8").splitlines(keepends=True)
    ledger.write_text("".join(lines[:-1]) + lines[-1][:5], "utf-8")
    passes = []
    forward = tiny_model.forward
    monkeypatch.setattr(tiny_model, "forward", lambda *args, **kwargs: passes.append(1) or forward(*args, **kwargs))
    again = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=64, ledger=ledger)
    assert [answer.text for answer in again.answers] == [answer.text for answer in whole.answers]
    assert 0 < len(passes) <= len(whole.answers[-1].token_ids) + 1, "only the last answer was missing"
    assert ledger.read_text("utf-8").splitlines(keepends=True) == lines


def test_another_tokenizer_answers_the_same_prompts(tiny_model, tokenizer):
    own = train_tokenizer([" ".join(TEXTS)] * 20, vocab_size=300, model_max_length=256)
    step = EvaluateStep.model_validate({"continuation": {"subsets": 1, "subset_share": 1.0, "max_new_tokens": 8}})
    steps = [STEPS[0], step]
    other = evaluate_model(tiny_model, own, EXAMPLES, steps, max_length=64, cut_by=tokenizer)
    run = evaluate_model(tiny_model, tokenizer, EXAMPLES, steps, max_length=64)
    assert [one.prompt for one in other.answers] == [one.prompt for one in run.answers]
    assert "perplexity" not in other.measured, "a perplexity per token says nothing across tokenizers"
    metric = compare_models({"base": run, "tuned": other}).scores.metrics["bits_per_byte"]
    assert set(metric.models) == {"base", "tuned"}


def test_a_tokenizer_of_the_same_vocabulary_is_the_same_tokenizer(tiny_model, tokenizer):
    other = evaluate_model(tiny_model, copy.deepcopy(tokenizer), EXAMPLES, STEPS, max_length=64, cut_by=tokenizer)
    run = evaluate_model(tiny_model, tokenizer, EXAMPLES, STEPS, max_length=64)
    difference = compare_models({"base": run, "tuned": other}).scores.metrics["perplexity"].models
    assert difference["base"] == difference["tuned"]


def test_a_model_that_sees_less_answers_the_same_prompts(tiny_model, tokenizer):
    short = new_model(SHAPE.model_copy(update={"max_position_embeddings": 8}), tokenizer, seed=1)
    step = EvaluateStep.model_validate({"continuation": {"subsets": 1, "subset_share": 1.0, "max_new_tokens": 4}})
    run = evaluate_model(tiny_model, tokenizer, EXAMPLES, [STEPS[0], step], max_length=64)
    other = evaluate_model(short, tokenizer, EXAMPLES, [STEPS[0], step], max_length=64, cut_by=tokenizer)
    assert max(len(tokenizer(one.prompt)["input_ids"]) for one in run.answers) > 8 - 4, "prompts that it cannot see"
    assert len(compare_models({"base": run, "tuned": other}).samples) == 2


def test_special_tokens_of_the_run_are_no_text_to_another_tokenizer(tiny_model, tokenizer):
    own = train_tokenizer([" ".join(TEXTS)] * 20, vocab_size=300, model_max_length=256)
    chat = copy.deepcopy(tokenizer)
    chat.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    rows = [
        {"prompt": "Which? ", "completion": f"{label}<|end|>", "document_id": f"d{number}"}
        for number, label in enumerate(["rain", "kettle"] * 6)
    ]
    plain = [{**row, "completion": row["completion"].removesuffix("<|end|>")} for row in rows]
    steps = [STEPS[0], EvaluateStep.model_validate({"completion": {"max_new_tokens": 4, "metrics": ["labels"]}})]
    found = evaluate_model(tiny_model, own, rows, steps, max_length=64, cut_by=chat)
    assert found.details["completion"]["confusion"]["unlabelled"] == 0
    alone = evaluate_model(tiny_model, own, plain, steps[:1], max_length=64)
    assert found.measured["bits_per_byte"].rows == pytest.approx(alone.measured["bits_per_byte"].rows)


def test_a_measure_that_one_answer_lacks_is_null_in_its_sample(tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"continuation": {"subsets": 1, "subset_share": 1.0, "max_new_tokens": 2}})
    found = compare_models({"tuned": evaluate_model(tiny_model, tokenizer, EXAMPLES, [step], max_length=64)})
    assert found.samples[0]["measures"]["repetition"] == {"tuned": None}, "two tokens hold no 4-gram"
    json.dumps(found.samples, allow_nan=False)


def test_an_answer_is_kept_with_the_document_it_belongs_to():
    answer = Answer("continuation", 1, "d1", "p", "r", "t", [1], True, {"rougeL": 1.0})
    results = Results("hash", ["d0", "d1"], answers=[answer])
    assert compare_models({"tuned": results}).samples[0]["document_id"] == "d1"

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pyarrow as pa
import pytest
import torch

from steep.evaluate import Material, compare_models, evaluate_model, examine
from steep.evaluate.labels import find_labels, label_rows
from steep.evaluate.results import Answer, Measured, Results
from steep.recipe.evaluate import EvaluateStep

WORDS = [
    "kettle",
    "harbour",
    "rain",
    "water",
    "brown",
    "fox",
    "lazy",
    "dog",
    "wall",
    "roof",
    "morning",
    "singing",
    "ready",
    "nobody",
    "quick",
    "jumps",
    "over",
    "minded",
]
STEPS = ("perplexity", {"continuation": {"max_new_tokens": 6, "subsets": 1, "subset_share": 1.0}})


def text(seed, length=40):
    return " ".join(Random(seed).choices(WORDS, k=length))


def example(name, words):
    return {"document_id": name, "group": name, "source": "s", "text": words}


HELD_OUT = [example(f"h{number}", text(number)) for number in range(8)]


def examined(model, tokenizer, steps, training, *, held_out=HELD_OUT, base=None, gathered=(), kinds=()):
    chosen = [EvaluateStep.model_validate(step) for step in (*STEPS, *steps)]
    results = {"base": evaluate_model(base or model, tokenizer, held_out, chosen, max_length=128)}
    results["tuned"] = evaluate_model(model, tokenizer, held_out, chosen, max_length=128)
    table = pa.Table.from_pylist([example(f"t{number}", words) for number, words in enumerate(training)])
    material = Material(tokenizer, held_out, table, gathered=lambda: gathered, kinds=kinds)
    return examine(compare_models(results).scores, results, chosen, material)


def messages(scores, kind):
    return [warning.message for warning in scores.warnings if warning.kind == kind]


def test_held_out_text_that_was_trained_on_is_told_and_left_out_of_second_scores(tiny_model, tokenizer):
    training = [HELD_OUT[2]["text"], *(text(seed) for seed in range(100, 140))]
    scores = examined(tiny_model, tokenizer, ["contamination"], training)
    check = scores.checks["contamination"]
    assert [leak["text"] for leak in check["leaks"]] == ["h2"]
    assert check["metrics_without"]["perplexity"]["documents"] == 7
    assert messages(scores, "contamination")[0].startswith("1 of 8 held-out texts stand in the training text")


def test_without_a_leak_there_is_no_second_score_and_no_warning(tiny_model, tokenizer):
    scores = examined(tiny_model, tokenizer, ["contamination"], [text(seed) for seed in range(100, 140)])
    assert scores.checks["contamination"] == {"texts": 8, "leaked": 0, "leaks": []}
    assert messages(scores, "contamination") == []


def test_what_an_answer_repeats_of_the_training_text_is_told_with_the_base_model_for_contrast(tokenizer):
    known, step = text(500), EvaluateStep.model_validate({"memorization": {"min_tokens": 20}})

    def said(words):
        answers = [Answer("continuation", 0, "h0", "Say: ", "r", words, [], True)]
        return Results("hash", ["h0"], answers=answers)

    results = {"base": said(text(501)), "tuned": said(known[10:])}
    table = pa.Table.from_pylist([example("t0", f"{text(502)} {known} {text(503)}")])
    scores = examine(compare_models(results).scores, results, [step], Material(tokenizer, HELD_OUT, table))
    assert scores.checks["memorization"]["tuned"]["memorised"] == 1
    assert scores.checks["memorization"]["base"]["memorised"] == 0
    assert "repeats its training text: 1 of 1 answers" in messages(scores, "memorization")[0]


def test_a_redacted_value_that_comes_back_is_told_and_never_written(tokenizer):
    def said(words):
        return Results("hash", ["h0"], answers=[Answer("continuation", 0, "h0", "Mail ", "r", words, [], True)])

    results = {"base": said("nobody"), "tuned": said("jane.doe@harbour.org or me@invented.org")}
    table = pa.Table.from_pylist([example("t0", text(1))])
    material = Material(tokenizer, HELD_OUT, table, gathered=lambda: ["write to Jane.Doe@harbour.org"], kinds=["email"])
    scores = examine(compare_models(results).scores, results, [EvaluateStep.model_validate("memorization")], material)
    assert scores.checks["personal_data"]["tuned"]["returned"] == {"email": 1}
    assert scores.checks["personal_data"]["tuned"]["invented"] == {"email": 1}
    assert "email 1 (the base model: none)" in messages(scores, "personal_data")[0]
    assert "jane" not in scores.model_dump_json().lower()


def test_few_held_out_texts_are_told(tiny_model, tokenizer):
    scores = examined(tiny_model, tokenizer, [], [text(100)])
    assert "only 8 held-out texts" in messages(scores, "few_documents")[0]


@pytest.mark.parametrize(("limit", "passed"), [(0.001, False), (1e9, True)])
def test_the_gate_of_forgetting_is_held_against_the_measured_rise(tiny_model, tokenizer, tmp_path, limit, passed):
    general = tmp_path / "general.txt"
    general.write_text("\n\n".join(text(seed, 20) for seed in range(50, 60)))
    base = type(tiny_model)(tiny_model.config)
    base.load_state_dict(tiny_model.state_dict())
    with torch.no_grad():
        tiny_model.lm_head.weight *= 30.0  # surer of itself, and no wiser
    step = {"forgetting": {"max_increase": limit, "texts": str(general)}}
    scores = examined(tiny_model, tokenizer, [step], [text(100)], base=base)
    (gate,) = scores.gates
    assert gate.value == pytest.approx(scores.checks["forgetting"]["rise"])
    assert gate.passed is passed
    assert "worse at general text" in messages(scores, "forgetting")[0]


def test_a_prompted_base_model_that_was_asked_for_and_not_measured_is_told(tiny_model, tokenizer):
    scores = examined(tiny_model, tokenizer, ["few_shot"], [text(100)])
    assert "no training example fits" in messages(scores, "skipped")[0]


def test_the_lines_of_a_template_are_no_leak_and_what_stands_in_them_is(tiny_model, tokenizer):
    def row(name, words, topic):
        prompt = f"Write the section {topic} of the record of this patient, and write it well.\n{words}\n"
        return {"document_id": name, "group": name, "source": "s", "prompt": prompt, "completion": f"Answer {name}"}

    held_out = [row("h0", text(0), "ALLERGIES"), row("h1", text(1), "PLAN")]
    training = [row(f"t{seed}", text(seed), "ALLERGIES") for seed in range(100, 104)] + [row("t1", text(1), "PLAN")]
    table = pa.Table.from_pylist(training)
    results = {"tuned": Results("hash", ["h0", "h1"])}
    step = EvaluateStep.model_validate({"contamination": {"threshold": 0.05}})
    scores = examine(compare_models(results).scores, results, [step], Material(tokenizer, held_out, table))
    assert [leak["text"] for leak in scores.checks["contamination"]["leaks"]] == ["h1"]


@pytest.mark.parametrize(("right", "told"), [(12, True), (20, False)])
def test_an_accuracy_that_one_label_would_reach_is_told(tokenizer, right, told):
    labels = ["a"] * 12 + ["b"] * 8
    said = ["a"] * 12 + ["b"] * (right - 12) + ["a"] * (20 - right)
    rows, confusion = label_rows(said, [[label] for label in labels], find_labels([], labels * 2))
    documents = [f"h{number}" for number in range(20)]
    measured = {"completion.accuracy": Measured(documents, documents, rows["accuracy"])}
    details = {"completion": {"confusion": asdict(confusion)}}
    results = {"tuned": Results("hash", documents, measured=measured, details=details)}
    material = Material(tokenizer, HELD_OUT, pa.Table.from_pylist([example("t0", text(1))]))
    found = messages(examine(compare_models(results).scores, results, [], material), "one_label")
    assert found == (
        ["an accuracy of 0.60 is not proven above the 0.60 of always answering the most frequent label"] if told else []
    )


def test_a_limit_that_nothing_can_be_held_against_is_told(tiny_model, tokenizer):
    step = EvaluateStep.model_validate({"forgetting": {"max_increase": 0.1}})
    results = {"tuned": evaluate_model(tiny_model, tokenizer, HELD_OUT, [step], max_length=128)}
    table = pa.Table.from_pylist([example("t0", text(100))])
    scores = examine(compare_models(results).scores, results, [step], Material(tokenizer, HELD_OUT, table))
    assert scores.gates == []
    assert "max_increase was not held against anything" in messages(scores, "skipped")[0]
    assert messages(scores, "few_documents") == [], "general text is no held-out document"


def test_training_examples_need_not_say_where_they_come_from(tokenizer):
    results = {"tuned": Results("hash", ["h0"])}
    table = pa.Table.from_pylist([{"document_id": "t0", "text": text(0)}])
    step = EvaluateStep.model_validate("contamination")
    scores = examine(compare_models(results).scores, results, [step], Material(tokenizer, HELD_OUT, table))
    assert [leak["text"] for leak in scores.checks["contamination"]["leaks"]] == ["h0"]


def test_a_single_held_out_text_is_told_as_one(tiny_model, tokenizer):
    scores = examined(tiny_model, tokenizer, [], [text(100)], held_out=HELD_OUT[:1])
    assert messages(scores, "few_documents")[0].startswith("only one held-out text, or near-duplicates of one: with")

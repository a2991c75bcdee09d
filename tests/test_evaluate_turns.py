"""Conversations and pairs are evaluated as their forms ask for it: the last turn, the chosen answer."""

from __future__ import annotations

import pyarrow as pa
import pytest

from steep import scores as kept
from steep.evaluate import Material, choose_shots, evaluate_model, examine
from steep.evaluate.completion import tasks
from steep.evaluate.heldout import answer_of, asked_in, hash_of, hold_out, last_turn
from steep.recipe.evaluate import EvaluateStep, FewShot

TALK = [
    {"role": "user", "content": "What sings?"},
    {"role": "assistant", "content": "The kettle."},
    {"role": "user", "content": "When does it sing?"},
    {"role": "assistant", "content": "When the water is ready, by the wall."},
]
ROW = {"document_id": "talk", "messages": TALK}
PAIR = {"document_id": "pair", "prompt": "What sings? ", "chosen": "The kettle sings.", "rejected": "Nobody minded."}


def said(tokenizer, example):
    return tokenizer.decode([example.input_ids[place] for place in example.scored])


def rendered(tokenizer, messages):
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_the_perplexity_of_a_conversation_is_that_of_all_turns_of_the_assistant(tokenizer):
    (example,) = hold_out([ROW], tokenizer)
    assert said(tokenizer, example) == "The kettle.\nWhen the water is ready, by the wall.\n"


def test_asked_is_for_the_last_turn(tokenizer):
    (example,) = hold_out([ROW], tokenizer)
    assert said(tokenizer, last_turn(example)) == "When the water is ready, by the wall.\n"


def test_a_conversation_of_one_turn_is_its_own_last_one(tokenizer):
    (example,) = hold_out([{**ROW, "messages": TALK[:2]}], tokenizer)
    assert last_turn(example) == example


def test_the_prompt_of_a_completion_is_all_before_the_last_turn(tokenizer):
    (task,) = tasks([ROW], tokenizer, 128, 256)
    assert tokenizer.decode(task.prompt_ids) == rendered(tokenizer, TALK[:3])
    assert task.reference.strip() == TALK[3]["content"]


def test_the_chosen_answer_of_a_pair_is_the_reference(tokenizer):
    (task,) = tasks([PAIR], tokenizer, 128, 256)
    assert (task.prompt, task.reference) == (PAIR["prompt"], PAIR["chosen"])


def test_a_continuation_begins_within_the_last_turn(tiny_model, tokenizer):
    steps = [EvaluateStep.model_validate({"continuation": {"max_new_tokens": 4, "subset_share": 1.0}})]
    long = {"role": "assistant", "content": "Rain fell on the roof all morning, and nobody minded. " * 2}
    talk = [TALK[0], long, *TALK[2:]]
    (answer,) = evaluate_model(tiny_model, tokenizer, [{**ROW, "messages": talk}], steps).answers
    whole = rendered(tokenizer, talk[:3]).replace(tokenizer.bos_token, "").replace(tokenizer.eos_token, "")
    given = answer.prompt.removeprefix(whole)
    assert len(given) < len(answer.prompt), "the turns before it are given"
    assert TALK[3]["content"].startswith(given)
    assert TALK[3]["content"][len(given) :].startswith(answer.reference)


@pytest.mark.parametrize("row", [ROW, PAIR])
def test_all_steps_that_generate_measure_it(tiny_model, tokenizer, row):
    steps = [EvaluateStep.model_validate(name) for name in ("perplexity", "completion", "continuation")]
    rows = [{**row, "document_id": f"{number}"} for number in range(3)]
    measured = evaluate_model(tiny_model, tokenizer, rows, steps, training=pa.Table.from_pylist(rows)).measured
    assert {"perplexity", "completion.f1", "continuation.rougeL"} <= set(measured)


@pytest.mark.parametrize("row", [ROW, PAIR])
def test_an_example_for_a_prompt_stands_as_in_training(tiny_model, tokenizer, row):
    (whole,) = hold_out([row], tokenizer)
    shots = choose_shots(pa.Table.from_pylist([{**row, "source": "s"}]), tiny_model, tokenizer, FewShot(examples=1))
    text = tokenizer.decode(whole.input_ids).removesuffix(tokenizer.eos_token)
    assert tokenizer.decode(shots.input_ids) == f"{text}\n\n"
    assert shots.ends_at_blank_line


def test_what_is_asked_and_answered_in_each_form():
    assert (asked_in(ROW), answer_of(ROW)) == ("What sings?\n\nThe kettle.\n\nWhen does it sing?", TALK[3]["content"])
    assert (asked_in(PAIR), answer_of(PAIR)) == ("What sings? ", "The kettle sings.")
    assert (asked_in({"text": "Rain fell."}), answer_of({"text": "Rain fell."})) == ("", "Rain fell.")


@pytest.mark.parametrize(("row", "name", "other"), [(ROW, "messages", TALK[:2]), (PAIR, "rejected", "Rain fell.")])
def test_another_turn_or_answer_is_another_test_set(row, name, other):
    assert hash_of([row]) != hash_of([{**row, name: other}])


def test_the_hash_of_texts_is_what_it_was_before_there_were_pairs():
    assert hash_of([{"document_id": "d", "text": "Rain fell."}]) == "039fa13901e316d1"


WORDS = "a quick brown fox jumps over the lazy dog by the harbour wall while rain falls on the roof"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": WORDS}]},
        {"prompt": "Say it.", "chosen": WORDS, "rejected": "No."},
    ],
)
def test_an_answer_that_stands_in_the_training_text_is_a_leak(tokenizer, row):
    held_out = [{**row, "document_id": "h"}]
    training = pa.Table.from_pylist([{**row, "document_id": "t", "source": "s"}])
    scores = kept.Scores(test_set=kept.TestSet(documents=1, hash="h"), models={}, metrics={})
    steps = [EvaluateStep.model_validate("contamination")]
    found = examine(scores, {}, steps, Material(tokenizer, held_out, training))
    assert found.checks["contamination"]["leaked"] == 1

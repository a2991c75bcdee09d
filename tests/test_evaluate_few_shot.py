from __future__ import annotations

import pyarrow as pa
import pytest

from steep.evaluate import choose_shots, evaluate_model
from steep.evaluate.heldout import hold_out
from steep.evaluate.perplexity import likelihoods
from steep.recipe.evaluate import EvaluateStep, FewShot
from steep.records import CANARIES

TEXTS = ["The kettle sings.", "Rain fell on the roof.", "A quick brown fox jumps.", "Nobody minded."]
PAIRS = [{"prompt": f"Say {number}: ", "completion": text} for number, text in enumerate(TEXTS)]
HELD_OUT = [{"text": "The water is ready, and the kettle sings by the harbour wall.", "document_id": "h"}]


def table(rows):
    extra = [{"document_id": f"t{number}", "source": "s", **row} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(extra)


def shots_of(rows, model, tokenizer, **options):
    return choose_shots(table(rows), model, tokenizer, FewShot(**options))


def test_examples_stand_after_bos_as_in_training_with_a_blank_line_after_each(tiny_model, tokenizer):
    shots = shots_of(PAIRS, tiny_model, tokenizer, examples=2)
    chosen = [PAIRS[int(name[1:])] for name in shots.documents]
    text = "".join(f"{row['prompt']}{row['completion']}\n\n" for row in chosen)
    assert shots.input_ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(shots.input_ids[1:]) == text


def test_the_seed_decides_which_examples_are_drawn(tiny_model, tokenizer):
    rows = [{"text": text} for text in TEXTS * 5]
    one, same, other = (shots_of(rows, tiny_model, tokenizer, seed=seed).documents for seed in (1, 1, 2))
    assert one == same != other


def test_examples_leave_half_of_the_positions_to_the_task(tiny_model, tokenizer):
    shots = shots_of([{"text": "kettle " * 10}] * 20, tiny_model, tokenizer, examples=20)
    assert 0 < len(shots.documents) < 20
    assert len(shots.input_ids) <= 128


def test_where_no_example_fits_there_are_none(tiny_model, tokenizer):
    assert shots_of([{"text": "kettle " * 300}] * 3, tiny_model, tokenizer).documents == []


def test_a_planted_canary_is_never_shown(tiny_model, tokenizer):
    rows = [{"text": TEXTS[0]}, {"text": "The canary is 123456789.", "source": CANARIES}]
    assert shots_of(rows, tiny_model, tokenizer).documents == ["t0"]


def test_examples_leave_room_for_the_longest_prompt_which_is_never_cut(tiny_model, tokenizer):
    prompt = "The kettle sings when the water is ready, and nobody minded. " * 14
    held_out = [{"prompt": prompt, "completion": "Rain.", "document_id": "h"}]
    step = EvaluateStep.model_validate({"completion": {"max_new_tokens": 4, "metrics": ["f1"]}})
    alone = evaluate_model(tiny_model, tokenizer, held_out, [step])
    assert alone.longest_task == 1 + len(tokenizer(prompt)["input_ids"]) + 4
    assert 128 < alone.longest_task < 256
    room = 256 - alone.longest_task
    training, options = table(PAIRS * 10), FewShot(examples=20)
    shots = choose_shots(training, tiny_model, tokenizer, options, longest_task=alone.longest_task)
    assert 0 < len(shots.input_ids) <= room < len(choose_shots(training, tiny_model, tokenizer, options).input_ids)


def test_a_document_that_is_repeated_in_training_is_shown_once(tiny_model, tokenizer):
    rows = [{"text": text, "document_id": text} for text in TEXTS] * 3
    assert sorted(shots_of(rows, tiny_model, tokenizer, examples=8).documents) == sorted(TEXTS)


def test_training_examples_need_not_say_where_they_come_from(tiny_model, tokenizer):
    rows = pa.Table.from_pylist([{"text": TEXTS[0], "document_id": "t0"}])
    assert choose_shots(rows, tiny_model, tokenizer, FewShot()).documents == ["t0"]


@pytest.mark.parametrize(("rows", "ends"), [(PAIRS, True), ([{"text": text} for text in TEXTS], False)])
def test_only_completions_of_one_paragraph_end_at_a_blank_line(tiny_model, tokenizer, rows, ends):
    assert shots_of(rows, tiny_model, tokenizer).ends_at_blank_line == ends


def test_the_held_out_text_is_scored_behind_the_examples_token_by_token(tiny_model, tokenizer):
    shots = shots_of([{"text": text} for text in TEXTS], tiny_model, tokenizer)
    (example,) = hold_out(HELD_OUT, tokenizer)
    (found,) = likelihoods(tiny_model, tokenizer, [example], window=128, stride=64, prefix=shots.input_ids)
    joined = shots.input_ids + example.input_ids[1:]
    import torch

    with torch.no_grad():
        logits = tiny_model(torch.tensor([joined])).logits[0].log_softmax(-1)
    begin = len(shots.input_ids)
    expected = -sum(float(logits[place - 1, joined[place]]) for place in range(begin, begin + len(example.scored)))
    assert found.nll == pytest.approx(expected, rel=1e-4)
    assert found.tokens == len(example.scored)


def test_the_prompted_model_answers_the_same_prompts(tiny_model, tokenizer):
    steps = [EvaluateStep.model_validate({"continuation": {"max_new_tokens": 5, "subsets": 1, "subset_share": 1.0}})]
    shots = shots_of([{"text": text} for text in TEXTS], tiny_model, tokenizer)
    alone = evaluate_model(tiny_model, tokenizer, HELD_OUT, steps)
    prompted = evaluate_model(tiny_model, tokenizer, HELD_OUT, steps, shots=shots)
    assert [one.prompt for one in prompted.answers] == [one.prompt for one in alone.answers]
    assert [one.reference for one in prompted.answers] == [one.reference for one in alone.answers]

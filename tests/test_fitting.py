"""What becomes of examples that are longer than max_length: cut, left out or split, and counted."""

from __future__ import annotations

import pyarrow as pa
import pytest

from steep.errors import UsageError
from steep.fitting import Encoded, fit_sequence
from steep.recipe import Prepare, Train
from steep.records import IGNORE
from steep.tokens import Fit, encode, encode_prompts, fit_examples, pair_of, text_ids
from steep.train.rows import Encoder

TEXT = {"text": "Rain fell on the roof all morning, and nobody minded."}
ASKED = {"prompt": "The kettle sings when ", "completion": "the water is ready, all morning long."}
PAIR = {"prompt": "The kettle sings when ", "chosen": "the water is ready.", "rejected": "rain fell on the roof."}
TALK = {
    "messages": [
        {"role": "user", "content": "Who sings?"},
        {"role": "assistant", "content": "The kettle by the wall."},
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "When the water is ready."},
    ]
}


@pytest.fixture
def whole(tokenizer):
    return lambda row: encode([row], tokenizer, None)[0]


@pytest.fixture
def fitted(tokenizer):
    return lambda row, *fit: fit_examples([row], tokenizer, Fit(*fit))[0]


@pytest.mark.parametrize("row", [TEXT, ASKED, TALK])
@pytest.mark.parametrize("policy", ["truncate", "drop", "split"])
def test_what_is_no_longer_than_allowed_stays_as_it_is(whole, fitted, row, policy):
    one = whole(row)
    assert fitted(row, len(one.input_ids), policy).sequences == [one]


@pytest.mark.parametrize("row", [TEXT, ASKED, TALK, PAIR])
@pytest.mark.parametrize("policy", ["truncate", "drop", "split"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_nothing_is_longer_than_allowed(fitted, row, policy, side):
    for length in range(8, 40):
        assert all(len(one.input_ids) <= length for one in fitted(row, length, policy, side).sequences)


@pytest.mark.parametrize("row", [TEXT, ASKED])
@pytest.mark.parametrize("policy", ["truncate", "drop"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_token_is_kept_or_counted_as_dropped(whole, fitted, row, policy, side):
    one = fitted(row, 16, policy, side)
    assert sum(len(part.input_ids) for part in one.sequences) + one.dropped == len(whole(row).input_ids)


def test_the_right_side_loses_the_end_and_its_eos(whole, fitted):
    (cut,) = fitted(TEXT, 8).sequences
    assert cut.input_ids == whole(TEXT).input_ids[:8]
    assert not cut.ends


def test_the_left_side_of_a_text_is_cut_after_bos_and_keeps_its_eos(whole, fitted, tokenizer):
    (cut,) = fitted(TEXT, 8, "truncate", "left").sequences
    assert cut.input_ids == [tokenizer.bos_token_id, *whole(TEXT).input_ids[-7:]]
    assert cut.input_ids[-1] == tokenizer.eos_token_id
    assert cut.ends


def test_the_left_side_of_a_prompt_is_cut_and_the_completion_stays_whole(whole, fitted, tokenizer):
    one = whole(ASKED)
    (cut,) = fitted(ASKED, len(one.input_ids) - 3, "truncate", "left").sequences
    assert cut.input_ids == [tokenizer.bos_token_id, *one.input_ids[4:]]
    assert [label for label in cut.labels if label != IGNORE] == [label for label in one.labels if label != IGNORE]


def test_a_completion_that_leaves_nothing_of_its_prompt_is_left_out_with_the_reason(whole, fitted):
    length = whole(ASKED).trained + 1
    one = fitted(ASKED, length, "truncate", "left")
    assert one.fault == f"completion fills max_length {length}: nothing is left of the prompt"
    assert fitted(ASKED, length + 1, "truncate", "left").fault is None


def test_a_prompt_that_leaves_nothing_of_its_completion_is_left_out_with_the_reason(whole, fitted):
    length = whole(ASKED).prompt
    for policy in ("truncate", "split"):
        assert fitted(ASKED, length, policy).fault == f"prompt fills max_length {length}: nothing is left to train"
        assert fitted(ASKED, length + 1, policy).fault is None


def test_drop_leaves_out_what_is_too_long(whole, fitted):
    one = fitted(ASKED, 10, "drop")
    assert (one.sequences, one.fault) == ([], "longer than max_length 10")
    assert one.dropped == len(whole(ASKED).input_ids)


def test_a_split_text_is_whole_again_when_its_pieces_are_joined(whole, fitted):
    pieces = fitted(TEXT, 9, "split").sequences
    assert [token for piece in pieces for token in piece.input_ids] == whole(TEXT).input_ids


def test_only_the_first_piece_of_a_text_has_bos_and_only_the_last_has_eos(fitted, tokenizer):
    pieces = fitted(TEXT, 9, "split").sequences
    assert [piece.input_ids.count(tokenizer.bos_token_id) for piece in pieces] == [1] + [0] * (len(pieces) - 1)
    assert [piece.input_ids.count(tokenizer.eos_token_id) for piece in pieces] == [0] * (len(pieces) - 1) + [1]
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_every_piece_of_a_completion_stands_after_the_whole_prompt(whole, fitted, tokenizer):
    (prompt,) = encode_prompts([ASKED["prompt"]], tokenizer)
    pieces = fitted(ASKED, len(prompt) + 4, "split").sequences
    assert all(piece.input_ids[: len(prompt)] == prompt for piece in pieces)
    said = [token for piece in pieces for token in piece.input_ids[len(prompt) :]]
    assert said == [label for label in whole(ASKED).labels if label != IGNORE]


def test_the_prompt_of_every_piece_is_only_read(fitted, tokenizer):
    (prompt,) = encode_prompts([ASKED["prompt"]], tokenizer)
    for piece in fitted(ASKED, len(prompt) + 4, "split").sequences:
        assert piece.prompt == len(prompt)


def test_no_piece_is_much_shorter_than_the_others(fitted, whole):
    for length in range(8, len(whole(TEXT).input_ids)):
        sizes = [len(piece.input_ids) for piece in fitted(TEXT, length, "split").sequences]
        assert max(sizes) - min(sizes) <= 1


def test_a_piece_of_a_conversation_in_which_only_the_user_speaks_is_left_out_and_counted():
    answers_far_apart = Encoded([1, *range(10, 40)], [IGNORE, 10, 11, *[IGNORE] * 27, 39])
    split = fit_sequence(answers_far_apart, Fit(8, "split"), bos=1)
    assert [piece.trained > 0 for piece in split.sequences] == [True, True]
    assert split.dropped == 31 - sum(len(piece.input_ids) for piece in split.sequences) > 0


def test_pretraining_sets_no_limit_and_other_objectives_that_of_the_recipe():
    options = Prepare(max_length=64, overlength="drop", truncation_side="left")
    assert Fit.of(options, "pretrain") == Fit(None)
    assert Fit.of(options, "sft") == Fit.of(options, "dpo") == Fit(64, "drop", "left")


@pytest.mark.parametrize("objective", ["dpo", "reward"])
def test_pairs_cannot_be_split(objective):
    with pytest.raises(UsageError, match=rf"prepare\.overlength: {objective} compares whole answers.*truncate or drop"):
        Fit.of(Prepare(overlength="split"), objective)


# ----------------------------------------------------------------------------------------------------- what trains


@pytest.fixture
def trained(tokenizer, tmp_path):
    """The columns that training reads of rows."""

    def columns(rows, fit, objective="sft"):
        return Encoder(tokenizer, Train(objective=objective), fit).rows(pa.Table.from_pylist(rows), tmp_path).to_dict()

    return columns


def test_training_reads_all_pieces_in_order_and_nothing_of_what_was_left_out(trained, whole, fitted):
    rows, short = [TEXT, {"text": "Rain."}], whole({"text": "Rain."})
    pieces = [*fitted(TEXT, 9, "split").sequences, short]
    assert trained(rows, Fit(9, "split")) == {
        "input_ids": [one.input_ids for one in pieces],
        "labels": [one.labels for one in pieces],
    }
    assert trained(rows, Fit(9, "drop")) == {"input_ids": [short.input_ids], "labels": [short.labels]}


def test_dpo_reads_a_pair_in_three_and_a_reward_model_as_two_texts(trained, tokenizer):
    fit = Fit(None)
    pair = pair_of(*fit_examples([PAIR], tokenizer, fit))
    assert trained([PAIR], fit, "dpo") == {
        "prompt_ids": [pair.prompt_ids],
        "chosen_ids": [pair.chosen_ids],
        "rejected_ids": [pair.rejected_ids],
    }
    assert trained([PAIR], fit, "reward") == {
        "chosen_ids": [pair.prompt_ids + pair.chosen_ids],
        "rejected_ids": [pair.prompt_ids + pair.rejected_ids],
    }


def test_a_pair_is_one_prompt_and_two_answers_that_end_with_eos(tokenizer):
    pair = pair_of(*fit_examples([PAIR], tokenizer, Fit(None)))
    chosen, rejected = text_ids([PAIR["chosen"], PAIR["rejected"]], tokenizer)
    assert [pair.prompt_ids] == encode_prompts([PAIR["prompt"]], tokenizer)
    assert pair.chosen_ids == [*chosen, tokenizer.eos_token_id]
    assert pair.rejected_ids == [*rejected, tokenizer.eos_token_id]


def test_the_answers_of_a_cut_pair_keep_the_same_prompt(tokenizer):
    length = max(len(one.input_ids) for one in fit_examples([PAIR], tokenizer, Fit(None))[0].sequences) - 2
    pair = pair_of(*fit_examples([PAIR], tokenizer, Fit(length, "truncate", "left")))
    assert len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) == length
    assert pair.chosen_ids[-1] == pair.rejected_ids[-1] == tokenizer.eos_token_id
    pair = pair_of(*fit_examples([PAIR], tokenizer, Fit(length)))
    assert [pair.prompt_ids] == encode_prompts([PAIR["prompt"]], tokenizer)


def test_a_pair_whose_answers_differ_only_in_what_was_cut_is_left_out(fitted, whole):
    pair = {"prompt": "Rain ", "chosen": "fell on the roof.", "rejected": "fell on the wall."}
    length = whole(pair).prompt + 2
    assert fitted(pair, length).fault == f"chosen and rejected are the same up to max_length {length}"


def test_a_pair_of_which_one_answer_is_too_long_is_dropped_as_a_whole(fitted, whole):
    long = {**PAIR, "rejected": PAIR["rejected"] * 4}
    length = len(whole(PAIR).input_ids)
    found = fitted(long, length, "drop")
    assert found.fault == f"longer than max_length {length}"
    assert not found.sequences


def test_where_a_completion_is_asked_for_the_chosen_answer_is_taken(whole):
    assert whole(PAIR) == whole({"prompt": PAIR["prompt"], "completion": PAIR["chosen"]})

from __future__ import annotations

import math
import re
from collections import Counter

import pytest

from steep.evaluate import evaluate_model
from steep.evaluate.continuation import subsets, tasks
from steep.evaluate.heldout import hold_out
from steep.generation import generate
from steep.recipe.evaluate import Continuation, EvaluateStep

LONG = "The kettle sings when the water is ready. Rain fell on the roof all morning, and nobody minded."


def cut(tokenizer, *examples, window=256, **options):
    rows = [{"document_id": str(number)} | example for number, example in enumerate(examples)]
    return tasks(hold_out(rows, tokenizer), tokenizer, Continuation(**options), window)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_text_is_cut_at_the_share_of_its_tokens(tokenizer):
    (task,) = cut(tokenizer, {"text": LONG}, split=0.25)
    text = ids(tokenizer, LONG)
    border = round(len(text) / 4)
    assert task.prompt_ids == [tokenizer.bos_token_id, *text[:border]]
    assert task.limit == len(text) - border


def test_prompt_and_reference_join_to_the_text(tokenizer):
    (task,) = cut(tokenizer, {"text": LONG})
    assert task.prompt + task.reference == LONG


def test_of_prompt_and_completion_only_the_completion_is_cut(tokenizer):
    (task,) = cut(tokenizer, {"prompt": "### title: rain ### ", "completion": LONG})
    completion = ids(tokenizer, LONG)
    given = completion[: round(len(completion) / 2)]
    assert task.prompt_ids == [tokenizer.bos_token_id, *ids(tokenizer, "### title: rain ### "), *given]
    assert task.prompt.startswith("### title: rain ### The kettle")
    assert task.reference == tokenizer.decode(completion[len(given) :])


def test_the_reference_is_cut_to_as_many_tokens_as_the_model_may_say(tokenizer):
    (task,) = cut(tokenizer, {"text": LONG}, max_new_tokens=5)
    text = ids(tokenizer, LONG)
    border = round(len(text) / 2)
    assert task.limit == 5
    assert task.reference == tokenizer.decode(text[border : border + 5])


def test_prompt_and_answer_fit_into_the_window(tokenizer):
    (task,) = cut(tokenizer, {"text": LONG * 3}, window=24)
    assert task.limit == 12
    assert len(task.prompt_ids) == 12
    assert task.prompt_ids[0] == tokenizer.bos_token_id
    text = ids(tokenizer, LONG * 3)
    assert task.prompt_ids[1:] == text[: round(len(text) / 2)][-11:]


def test_examples_too_short_to_cut_are_left_out(tokenizer):
    three, four = (tokenizer.decode(ids(tokenizer, LONG)[:n]) for n in (3, 4))
    (task,) = cut(tokenizer, {"text": three}, {"text": four}, split=0.9)
    assert task.example == 1
    assert (len(task.prompt_ids), task.limit) == (3, 2)


RARE = "Extraordinarily unfathomable juxtapositions don't bewilder xylophonists."


@pytest.mark.parametrize("split", [number / 20 for number in range(1, 17)])
def test_whole_words_moves_the_cut_right_to_the_end_of_a_word(tokenizer, split):
    (plain,), (moved,) = (
        cut(tokenizer, {"text": RARE}, split=split),
        cut(tokenizer, {"text": RARE}, split=split, whole_words=True),
    )
    assert moved.prompt + moved.reference == RARE
    ends = [match.end() for match in re.finditer(r"[\w']+| |\.", RARE)]
    assert len(moved.prompt) == min(end for end in ends if end >= len(plain.prompt))


def test_whole_words_ends_no_word_in_the_middle_of_its_last_character(tokenizer):
    text = "Zyxwvutö bcdfghj"
    (task,) = cut(tokenizer, {"text": text}, split=0.2, whole_words=True)
    assert (task.prompt, task.reference) == ("Zyxwvutö", " bcdfghj")


def test_whole_words_leaves_a_cut_between_words_alone(tokenizer):
    given = {"text": LONG}
    (plain,) = cut(tokenizer, given, split=0.5)
    assert plain.prompt.endswith("Rain")
    assert plain.reference.startswith(" fell")
    assert cut(tokenizer, given, split=0.5, whole_words=True) == [plain]


def test_in_one_long_word_the_cut_stays_where_it_is(tokenizer):
    given = {"text": "Qwxz" * 30}
    assert cut(tokenizer, given, whole_words=True) == cut(tokenizer, given)


def test_a_script_without_blanks_is_cut_between_its_characters(tokenizer):
    given = {"text": "茶道は日本の文化です" * 4}
    assert cut(tokenizer, given, split=0.51, whole_words=True) == cut(tokenizer, given, split=0.51)


def test_subsets_are_drawn_without_replacement_and_each_text_is_as_likely():
    drawn = subsets(40, 2_000, 0.25, seed=1)
    assert all(len(one) == 10 and one == sorted(set(one)) for one in drawn)
    counts = Counter(place for one in drawn for place in one)
    assert set(counts) == set(range(40))
    assert all(abs(count - 500) < 5 * math.sqrt(2_000 * 0.25 * 0.75) for count in counts.values())


def test_the_same_seed_draws_the_same_subsets_and_fewer_are_the_first_of_more():
    assert subsets(40, 3, 0.5, seed=1) == subsets(40, 5, 0.5, seed=1)[:3]
    assert subsets(40, 3, 0.5, seed=1) != subsets(40, 3, 0.5, seed=2)


@pytest.mark.parametrize(("documents", "share", "size"), [(1, 0.1, 1), (3, 0.01, 1), (5, 1.0, 5), (7, 0.5, 4)])
def test_a_subset_has_its_share_of_the_texts_and_at_least_one(documents, share, size):
    assert [len(one) for one in subsets(documents, 3, share, seed=0)] == [size] * 3


@pytest.mark.parametrize("split", [0.1, 0.3, 0.5, 0.62, 0.7])
def test_a_character_of_several_tokens_is_never_cut_in_two(tokenizer, split):
    (task,) = cut(tokenizer, {"text": "茶道 ☕ 日本語のテキスト"}, split=split)
    assert task.prompt + task.reference == "茶道 ☕ 日本語のテキスト"


def test_a_last_character_that_the_limit_cuts_in_two_is_left_away(tokenizer):
    (task,) = cut(tokenizer, {"text": "zyxwvu茶茶"}, split=0.33, max_new_tokens=3)
    assert task.limit == 3
    assert task.reference == "vu"


def test_answers_stand_beside_their_tasks_and_leave_the_prompt_out(tiny_model, tokenizer):
    rows = [{"document_id": str(number), "text": text} for number, text in enumerate((LONG, "Rain fell.", LONG * 2))]
    options = {"max_new_tokens": 8, "batch_size": 2, "subsets": 1, "subset_share": 1.0}
    step = EvaluateStep.model_validate({"continuation": options})
    found = evaluate_model(tiny_model, tokenizer, rows, [step]).answers
    for task, answer in zip(cut(tokenizer, *rows, **options), found, strict=True):
        (alone,) = generate(tiny_model, tokenizer, [task.prompt_ids], max_new_tokens=task.limit)
        assert answer.text == alone.text.rstrip("\ufffd")
        assert (answer.document, answer.prompt, answer.reference) == (task.example, task.prompt, task.reference)

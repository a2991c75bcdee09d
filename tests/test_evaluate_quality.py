from __future__ import annotations

import numpy as np
import pytest

from steep.evaluate.quality import match_rows, quality_rows
from steep.evaluate.values import value_of


def value(name, rows):
    return float(value_of(name)(rows.sum(axis=0)))


def match(answer, *references):
    rows = match_rows([answer], [references])
    return {name: value(name, found) for name, found in rows.items()}


def quality(answers, references, finished=None):
    wanted = [[one] if isinstance(one, str) else one for one in references]
    rows = quality_rows(answers, wanted, finished or [True] * len(answers))
    return {name: value(name, found) for name, found in rows.items()}


@pytest.mark.parametrize("answer", ["The  kettle sings!", " the kettle SINGS\n", "The 'kettle', sings"])
def test_case_punctuation_and_blanks_do_not_matter(answer):
    assert match(answer, "The kettle sings.") == {"exact_match": 1, "f1": 1}


def test_other_words_are_no_match():
    assert match("A kettle sings.", "The kettle sings.")["exact_match"] == 0


def test_the_order_of_words_matters_for_a_match_and_not_for_f1():
    assert match("sings the kettle", "the kettle sings") == {"exact_match": 0, "f1": 1}


def test_f1_is_the_harmonic_mean_of_precision_and_recall_of_words():
    # 2 of 3 words are right, 2 of 4 are found: 2 * 2/3 * 1/2 / (2/3 + 1/2)
    assert match("the cat sat", "the cat lay down")["f1"] == pytest.approx(4 / 7)


def test_a_word_counts_as_often_as_it_is_in_both():
    assert match("the the the", "the cat the")["f1"] == pytest.approx(2 / 3)


def test_articles_are_words():
    assert match("cat", "the cat") == {"exact_match": 0, "f1": pytest.approx(2 / 3)}


def test_texts_without_spaces_are_compared_by_character():
    assert match("茶道", "茶室")["f1"] == 0.5
    assert match("Чай готов", "чай готов.")["exact_match"] == 1


def test_signs_without_words_are_compared_as_they_are():
    assert match("+", "-") == {"exact_match": 0, "f1": 0}
    assert match(" 👍 ", "👍") == {"exact_match": 1, "f1": 1}


def test_an_empty_answer_is_no_match():
    assert match("", "The cat") == {"exact_match": 0, "f1": 0}


def test_of_several_references_the_best_counts_for_each_measure():
    assert match("the cat", "a dog", "the cat", "the cat sat") == {"exact_match": 1, "f1": 1}
    assert match("the cat", "a dog", "the cat sat")["f1"] == 0.8


def test_the_stop_rate_is_the_share_of_answers_that_the_model_ended():
    assert quality(["a", "b", "c", "d"], ["x"] * 4, [True, False, False, False])["stop_rate"] == 0.25


def test_repetition_is_the_share_of_4_grams_that_stood_in_the_same_answer_before():
    # 8 words, 5 of their 4-grams; abcd comes twice
    assert quality(["a b c d a b c d"], ["x"])["repetition"] == 0.2
    assert quality(["a b c d", "a b c d"], ["x", "x"])["repetition"] == 0


def test_answers_count_by_their_4_grams_for_repetition_and_short_ones_not_at_all():
    assert quality(["a a a a a a", "a b c d", "a"], ["x"] * 3)["repetition"] == 0.5
    assert np.isnan(quality(["a b c"], ["x"])["repetition"])


def test_the_length_ratio_is_one_of_sums():
    assert quality(["a b c d", "a b"], ["one", "one two three"])["length_ratio"] == 1.5


def test_of_several_references_the_nearest_in_length_counts_and_of_two_the_shorter():
    assert quality(["a b c d"], [["one", "one two three", "one two three four five"]])["length_ratio"] == 4 / 3


def test_an_answer_without_a_word_is_empty():
    assert quality(["", " \n", "...", "a"], ["x"] * 4)["empty"] == 0.75


def test_without_answers_there_are_no_rows():
    rows = match_rows([], []) | quality_rows([], [], [])
    assert {found.shape for found in rows.values()} == {(0, 2)}

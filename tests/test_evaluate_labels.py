from __future__ import annotations

import csv
import gzip
import json
from dataclasses import asdict

import numpy as np
import pytest

from steep.evaluate.labels import MOST, Labels, find_labels, label_rows, macro_f1


def measured(truths, answers, *names):
    labels = find_labels(names, ())
    rows, confusion = label_rows(answers, [[one] for one in truths], labels)
    accuracy = rows["accuracy"].sum(axis=0)
    return accuracy[0] / accuracy[1], float(macro_f1(rows["macro_f1"].sum(axis=0))), confusion


@pytest.mark.parametrize("answer", ["sports", " Sports.", "SPORTS!\n", "sports ..."])
def test_an_answer_is_a_label_but_for_case_blanks_and_punctuation_at_its_end(answer):
    assert find_labels(["Politics", "Sports"], ()).place(answer) == 1


@pytest.mark.parametrize("answer", ["This is about sports.", "sports and politics", "", "-sports"])
def test_any_other_answer_is_none(answer):
    assert find_labels(["Politics", "Sports"], ()).place(answer) is None


def test_labels_of_punctuation_and_signs_are_told_apart():
    labels = find_labels(["?", "C", "C++", "C#"], ())
    assert [labels.place(name) for name in ("?", "C.", "C++", "c#")] == [0, 1, 2, 3]


def test_labels_are_found_among_the_completions_the_most_frequent_first():
    assert find_labels([], ["b", "a", "B.", " b", "a"]).written == ["b", "a"]


def test_labels_that_the_recipe_names_stand_in_its_order_and_may_be_many():
    names = [f"label {number}" for number in range(MOST + 10)]
    assert find_labels(names, ["other completions"]).written == names


def test_more_than_fifty_completions_are_no_labels():
    assert len(find_labels([], [f"{n}" for n in range(MOST)] * 2).written) == MOST
    assert find_labels([], [f"{n}" for n in range(MOST + 1)] * 2) is None


def test_completions_of_which_many_occur_only_once_are_no_labels():
    assert find_labels([], ["yes"] * 9 + ["a summary"]) is not None
    assert find_labels([], ["yes"] * 8 + ["a summary"]) is None
    assert find_labels([], []) is None


def test_topics_of_real_papers_are_labels_though_some_occur_once_and_real_summaries_are_not(steep_data):
    with gzip.open(steep_data / "arxiv" / "arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        topics = [json.loads(line)["topic"] for line in lines]
    assert sorted(find_labels([], topics).written) == sorted(set(topics))
    path = steep_data / "summaries" / "mts_dialog" / "MTS-Dialog-ValidationSet.csv"
    with path.open(encoding="utf-8", newline="") as file:
        assert find_labels([], [row["section_text"] for row in csv.DictReader(file)][:40]) is None


def test_accuracy_is_the_share_of_answers_with_the_right_label():
    accuracy, _, _ = measured("aabb", ["a", "b", "b", "who knows"], "a", "b")
    assert accuracy == 0.5


def test_macro_f1_is_the_mean_over_the_labels():
    # a: 1 right, 1 missed: 2/3. b: 1 right, 1 too many: 2/3. c: 1 right: 1
    _, f1, _ = measured("aabc", ["a", "b", "b", "c"], "a", "b", "c")
    assert f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_a_label_that_is_only_answered_counts_as_zero_and_one_that_never_occurs_not_at_all():
    _, f1, _ = measured("aa", ["a", "b"], "a", "b", "never")
    assert f1 == pytest.approx((2 / 3 + 0) / 2)


def test_an_answer_that_is_no_label_is_missed_by_the_true_one_and_no_label_of_its_own():
    _, f1, _ = measured("ab", ["a", "Well, b"], "a", "b")
    assert f1 == 0.5


def test_macro_f1_equals_scikit_learns_on_random_answers():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(3)
    for _ in range(20):
        truths, answers = draw.choice(list("abcde"), 12), draw.choice(list("abcdef"), 12)
        present = sorted(set(truths) | set(answers) - {"f"})
        expected = metrics.f1_score(truths, answers, labels=present, average="macro", zero_division=0)
        assert measured(truths, answers, *"abcde")[1] == pytest.approx(expected)


def test_macro_f1_of_resamples_is_computed_from_weighted_sums_at_once():
    labels = find_labels("abc", ())
    truths, answers = list("aabcb"), ["a", "b", "b", "?", "a"]
    rows = label_rows(answers, [[one] for one in truths], labels)[0]["macro_f1"]
    draws = [[0, 0, 1, 2, 2], [3, 3, 3, 3, 3], [4, 1, 0, 3, 2]]
    weights = np.array([np.bincount(draw, minlength=5) for draw in draws])
    alone = [measured([truths[i] for i in draw], [answers[i] for i in draw], *"abc")[1] for draw in draws]
    assert macro_f1(weights @ rows) == pytest.approx(alone)


def test_macro_f1_is_undefined_where_no_label_occurs():
    assert np.isnan(measured(["x"], ["y"], "a", "b")[1])


def test_the_confusion_matrix_has_a_column_for_what_is_no_label():
    _, _, confusion = measured("aabb", ["a", "b", "b", "who knows"], "a", "b")
    assert json.loads(json.dumps(asdict(confusion))) == {
        "labels": ["a", "b"],
        "counts": [[1, 1, 0], [0, 1, 1]],
        "unlabelled": 0,
        "most_frequent": 0.5,
    }


def test_a_reference_that_is_no_label_is_counted_and_no_answer_to_it_is_right():
    accuracy, f1, confusion = measured(["a", "x", "x"], ["a", "x", "a"], "a", "b")
    assert (accuracy, f1) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (confusion.counts, confusion.unlabelled) == ([[1, 0, 0], [0, 0, 0]], 2)


def test_each_of_several_references_is_right():
    rows, confusion = label_rows(["b", "c"], [["a", "b"], ["a", "b"]], Labels({"a": "A", "b": "B", "c": "C"}))
    assert rows["accuracy"].tolist() == [[1, 1], [0, 1]]
    assert confusion.counts == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]

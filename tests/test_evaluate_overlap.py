from __future__ import annotations

import json

import pytest
import sacrebleu

from steep.evaluate.overlap import bleu, rouge, words


@pytest.fixture
def metrics(steep_data):
    return steep_data / "metrics"


def test_rouge_equals_the_values_of_rouge_score_on_its_own_test_lines(metrics):
    expected = json.loads((metrics / "expected.json").read_text())["per_line"]
    texts, references = ((metrics / f"{n}.txt").read_text().splitlines() for n in ("prediction", "target"))
    found = [rouge(text, reference) for text, reference in zip(texts, references, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert [one[name] for one in found] == pytest.approx([v["f"] for v in expected[f"{name}_nostem"]], abs=1e-5)


def test_rouge_equals_the_perl_script_on_texts_of_one_sentence_with_one_reference(metrics):
    data = json.loads((metrics / "rouge-1.5.5.json").read_text())
    expected = data["runs"]["nostem_A_gap4"]["scores"]
    cases = [case for case in data["cases"] if len(case["references"]) == 1 and "\n" not in case["candidate"]]
    assert len(cases) >= 13
    for case in cases:
        found = rouge(case["candidate"], case["references"][0])
        for ours, theirs in (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L")):
            assert found[ours] == pytest.approx(expected[case["id"]][theirs]["f"], abs=2e-5), (case["id"], ours)


def test_a_repeated_word_counts_no_more_often_than_in_the_reference():
    assert rouge("the the the the", "the cat")["rouge1"] == pytest.approx(2 * 1 / (4 + 2))


def test_rouge_l_follows_the_order_of_words():
    found = rouge("the gunman kill police", "police killed the gunman")
    assert found["rougeL"] == pytest.approx(0.5)
    assert found["rouge1"] == pytest.approx(0.75)


@pytest.mark.parametrize(("text", "reference"), [("", "a b"), ("a b", ""), ("", ""), ("!?", "…"), ("one", "two")])
def test_rouge_is_zero_where_nothing_is_shared(text, reference):
    assert rouge(text, reference) == {"rouge1": 0, "rouge2": 0, "rougeL": 0}


def test_words_of_english_are_those_of_rouge_score():
    assert words("AT&T's Q3 2021 state-of-the-art, $4.5_x!") == [
        *("at", "t", "s", "q3", "2021", "state", "of", "the", "art", "4", "5", "x")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ёлка стоит", ["ёлка", "стоит"]),
        ("Café crème", ["café", "crème"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("日本語abc", ["日", "本", "語", "abc"]),
        ("שלום עולם", ["שלום", "עולם"]),
    ],
)
def test_words_of_other_scripts_are_kept(text, expected):
    assert words(text) == expected


def test_bleu_is_the_corpus_score_of_sacrebleu_with_its_signature():
    pairs = [("the cat sat on the mat today", "the cat sat on the mat"), ("a dog barks", "a dog barked at the moon")]
    score, signature = bleu(pairs)
    texts, references = zip(*pairs, strict=True)
    assert score == pytest.approx(sacrebleu.corpus_bleu(list(texts), [list(references)]).score)
    assert 0 < score < 100
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from steep.evaluate.overlap import (
    MEASURES,
    SIGNATURES,
    bleu_rows,
    bleu_signature,
    bleu_value,
    brevity_penalty,
    chrf_rows,
    chrf_value,
    grams,
    pairs,
    rouge_rows,
    rouge_scores,
    words,
)

MAT = ["The cat is on the mat.", "There is a cat on the mat."]
RUNS = ["nostem_A_gap0", "nostem_A_gap1", "nostem_A_gap4", "nostem_A_gapinf", "nostem_best_gap4"]
RUNS += ["stem_A_gap4", "stem_A_gapinf"]


@pytest.fixture
def metrics(steep_data):
    return steep_data / "metrics"


def rouge(text, references, measure, **options):
    """Precision, recall and F of one text."""
    references = [references] if isinstance(references, str) else references
    return rouge_scores([text], [references], [measure], **options)[measure][0].tolist()


# ------------------------------------------------------------------------------------------ the values of other tools


@pytest.mark.parametrize("run", RUNS)
def test_every_figure_equals_that_of_rouge_1_5_5(metrics, run):
    data = json.loads((metrics / "rouge-1.5.5.json").read_text())
    assert sorted(data["runs"]) == sorted(RUNS)
    stem, several, gap = re.fullmatch(r"(\w+)_(\w+)_gap(\w+)", run).groups()
    options = {"skip": None if gap == "inf" else int(gap), "stem": stem == "stem"}
    options["several"] = {"A": "average", "best": "best"}[several]
    scores = data["runs"][run]["scores"]
    measures = {name: _measure(name) for name in scores[data["cases"][0]["id"]]}
    texts = [case["candidate"] for case in data["cases"]]
    found = rouge_scores(texts, [case["references"] for case in data["cases"]], [*measures.values()], **options)
    for name, measure in measures.items():
        expected = [[scores[case["id"]][name][part] for part in "prf"] for case in data["cases"]]
        np.testing.assert_allclose(found[measure], expected, atol=1e-4, rtol=0, err_msg=name)


def _measure(name):
    """That of ROUGE-1.5.5: its ROUGE-L is by line; the distance follows the S."""
    kind = name.removeprefix("ROUGE-")
    other = {"L": "rougeLsum", "W-1.2": "rougeW"}.get(kind)
    return other or "rouge" + re.sub(r"^(SU?).*", r"\1", kind)


def test_rouge_equals_the_values_of_rouge_score_on_its_own_test_lines(metrics):
    expected = json.loads((metrics / "expected.json").read_text())
    texts, references = ((metrics / f"{n}.txt").read_text().splitlines() for n in ("prediction", "target"))
    for name, values in expected["per_line"].items():
        measure, stem = name.split("_")
        found = rouge_scores(texts, [[one] for one in references], [measure], stem=stem == "stem")[measure]
        np.testing.assert_allclose(found, [[one[part] for part in "prf"] for one in values], atol=1e-5, err_msg=name)
    text, reference = ((metrics / f"{n}_multi.0.txt").read_text() for n in ("prediction", "target"))
    found = rouge(text, reference, "rougeLsum", stem=True)
    assert found == pytest.approx([expected["rougeLsum_stem_multi0"][part] for part in "prf"], abs=1e-5)


# ------------------------------------------------------------------------------------------------------ known examples


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("rouge1", (0.6, 0.5, 0.545)), ("rouge2", (0.25, 0.2, 0.222)), ("rougeL", (0.6, 0.5, 0.545))],
)
def test_the_cat_and_the_dog(measure, expected):
    assert rouge("The cat and the dog.", MAT[0], measure) == pytest.approx(expected, abs=5e-4)


def test_skip_bigrams_find_the_cat_behind_a_word_that_hides_it_from_bigrams():
    assert rouge("The gray cat and the dog.", MAT[0], "rouge2") == [0, 0, 0]
    found, one_apart = rouge("The gray cat and the dog.", MAT[0], "rougeS", skip=1), 1 / 9
    assert found == pytest.approx([one_apart, one_apart, one_apart])


def test_a_repeated_word_counts_no_more_often_than_in_one_of_the_references():
    rows = bleu_rows(["The The The The The"], [MAT], lowercase=True)
    assert rows[0, 2] / rows[0, 6] == 0.4
    assert rouge("The The The The The", MAT, "rouge1")[0] == 0.4


def test_a_perfect_but_short_text_is_penalised_only_by_brevity():
    text, *references = (" ".join(words(one)) for one in ("There is a cat.", *MAT))
    rows = bleu_rows([text], [references])
    assert rows[0, 2:6].tolist() == rows[0, 6:].tolist() == [4, 3, 2, 1]
    assert bleu_value(rows)[0] == pytest.approx(100 * np.exp(1 - 6 / 4)) == 100 * brevity_penalty(rows)[0]


def test_rouge_l_follows_the_order_of_words():
    assert rouge("the gunman kill police", "police killed the gunman", "rougeL")[2] == 0.5
    assert rouge("the gunman kill police", "police killed the gunman", "rouge1")[2] == 0.75


def test_rouge_l_by_line_joins_what_several_lines_reach():
    """The sentences of Lin 2004, section 3.2."""
    text, reference = "w1 w3 w8 w9 w5\nw1 w2 w6 w7 w8", "w1 w2 w3 w4 w5"
    assert rouge(text, reference, "rougeLsum")[1] == 4 / 5
    assert rouge(text, reference, "rougeL")[1] == 3 / 5


def test_rouge_w_prefers_words_that_stand_together_in_the_reference():
    together, apart = (rouge("a b c d", one, "rougeW")[0] for one in ("a b c d h i k", "a h b k c i d"))
    assert together == pytest.approx(1)
    assert apart == pytest.approx((4 / 4**1.2) ** (1 / 1.2))


def test_rouge_su_finds_single_words_where_no_pair_is_in_order():
    text, reference = "gunman the killed police", "police killed the gunman"
    assert rouge(text, reference, "rougeS", skip=None) == [0, 0, 0]
    assert rouge(text, reference, "rougeSU", skip=None)[0] == pytest.approx(2 / 9)


def test_the_best_reference_is_the_one_with_the_highest_recall_and_the_average_sums_them():
    text, references = "a b", ["a b c d", "a"]
    assert rouge(text, references, "rouge1")[:2] == [1 / 2, 1]
    assert rouge(text, references, "rouge1", several="average")[:2] == [3 / 4, 3 / 5]


def test_of_references_with_the_same_recall_the_first_counts_also_where_rounding_could_decide():
    text, references = "a b c d e f g h", ["a", "a b c", "a b c d e f"]
    for measure in ("rouge1", "rougeL", "rougeW"):
        assert rouge(text, references, measure) == rouge(text, "a", measure)


# ---------------------------------------------------------------------------------------------- plain twins, any texts

line = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)
several_lines = st.lists(line, min_size=1, max_size=3).map("\n".join)


def _harmonic(shared, found, wanted):
    return 2 * shared / (found + wanted) if found + wanted else 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(line, line), min_size=1, max_size=4), st.integers(1, 4))
def test_n_grams_are_those_counted_one_by_one(texts, n):
    name = f"rouge{n}"
    found = rouge_scores([text for text, _ in texts], [[other] for _, other in texts], [name])[name][:, 2]
    for (text, other), value in zip(texts, found, strict=True):
        ours, theirs = (Counter(zip(*(t.split()[k:] for k in range(n)), strict=False)) for t in (text, other))
        assert value == pytest.approx(_harmonic((ours & theirs).total(), ours.total(), theirs.total()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(line, line), min_size=1, max_size=4), st.sampled_from([0, 1, 3, None]))
def test_skip_bigrams_are_those_counted_one_by_one_however_many_are_in_memory(texts, skip):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "FOLLOWED", 7)
        found = rouge_scores([text for text, _ in texts], [[other] for _, other in texts], ["rougeS"], skip=skip)
    for (text, other), value in zip(texts, found["rougeS"][:, 2], strict=True):
        ours, theirs = (_plain_skip_bigrams(t.split(), skip) for t in (text, other))
        assert value == pytest.approx(_harmonic((ours & theirs).total(), ours.total(), theirs.total()))


def _plain_skip_bigrams(text, skip):
    places = combinations(range(len(text)), 2)
    return Counter((text[i], text[j]) for i, j in places if skip is None or j - i - 1 <= skip)


@settings(max_examples=80, deadline=None)
@given(several_lines, several_lines)
def test_lines_are_marked_as_the_plain_tables_of_rouge_1_5_5_mark_them(text, reference):
    found, wanted = ([one.split() for one in t.split("\n")] for t in (text, reference))
    size, full = sum(map(len, found)), sum(map(len, wanted))
    marked = Counter(one[place] for one in wanted for place in _plain_marks(one, found, 1.0))
    shared = (marked & Counter(word for one in found for word in one)).total()
    assert rouge(text, reference, "rougeLsum")[2] == pytest.approx(_harmonic(shared, size, full))
    weight = _plain_weight(found, wanted)
    precision = (weight / size**1.2) ** (1 / 1.2) if size else 0
    recall = (weight / sum(len(one) ** 1.2 for one in wanted) ** 1.2) ** (1 / 1.2) if full else 0
    assert rouge(text, reference, "rougeW")[:2] == pytest.approx([precision, recall])


def _plain_marks(line, others, weight):
    """Places of the line in the union of its weighted longest common subsequences with the others."""
    marked = set()
    for other in others:
        best = np.zeros((len(line) + 1, len(other) + 1))
        runs = np.zeros_like(best)
        for i, word in enumerate(line, 1):
            for j, found in enumerate(other, 1):
                if word == found:
                    run = runs[i, j] = runs[i - 1, j - 1] + 1
                    best[i, j] = best[i - 1, j - 1] + run**weight - (run - 1) ** weight
                else:
                    best[i, j] = max(best[i - 1, j], best[i, j - 1])
        i, j = len(line), len(other)
        while i and j:
            if line[i - 1] == other[j - 1]:
                i, j = i - 1, j - 1
                marked.add(i)
            elif best[i - 1, j] >= best[i, j - 1]:
                i -= 1
            else:
                j -= 1
    return marked


def _plain_weight(found, wanted):
    left, total = Counter(word for one in found for word in one), 0.0
    for one in wanted:
        marked, run = _plain_marks(one, found, 1.2), 0
        for place, word in enumerate(one):
            if place in marked and left[word]:
                left[word] -= 1
                run += 1
                if place + 1 not in marked:
                    total, run = total + run**1.2, 0
    return total


def test_texts_counted_in_several_parts_have_the_scores_of_texts_counted_at_once(monkeypatch):
    texts, references = ["a b c", "c d", "", "b a c d e"] * 3, [["a c b"], ["d", "c d e"], ["x"], ["e d c b a"]] * 3
    once = rouge_scores(texts, references, MEASURES)
    monkeypatch.setattr(pairs, "WORDS", 4)
    parts = rouge_scores(texts, references, MEASURES)
    for measure in MEASURES:
        np.testing.assert_array_equal(once[measure], parts[measure])


# -------------------------------------------------------------------------------------------------------- BLEU and chrF

CORPORA = [
    (["the cat sat on the mat today", "a dog barks"], [["the cat sat on the mat"], ["a dog barked at the moon"]]),
    (["one two", "three"], [["one two", "two one zero"], ["four", "three five"]]),
    (["one", "five six seven"], [["one two", "one"], ["six seven eight"]]),
    (["no word of it", ""], [["entirely different"], ["text"]]),
    (["", ""], [["a b"], ["c"]]),
    (["a b c", "x y z"], [["a c b"], ["z y x"]]),
    (["Ёлка стоит.", "日本語 text"], [["Ёлка стояла."], ["日本 text"]]),
]


def streams(references):
    most = max(map(len, references))
    return [[several[n] if n < len(several) else None for several in references] for n in range(most)]


@pytest.mark.parametrize(("texts", "references"), CORPORA)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_of_a_corpus_is_that_of_sacrebleu(texts, references, order):
    expected = BLEU(max_ngram_order=order).corpus_score(texts, streams(references))
    sums = bleu_rows(texts, references).sum(axis=0)
    assert float(bleu_value(sums, order)) == pytest.approx(expected.score, rel=1e-12, abs=1e-12)
    assert float(brevity_penalty(sums)) == pytest.approx(expected.bp, rel=1e-12)


@pytest.mark.parametrize(("texts", "references"), CORPORA)
def test_bleu_of_each_text_is_that_of_sacrebleu(texts, references):
    metric = BLEU(effective_order=True)
    expected = [metric.sentence_score(text, several).score for text, several in zip(texts, references, strict=True)]
    assert bleu_value(bleu_rows(texts, references), effective_order=True) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("texts", "references"), CORPORA)
def test_chrf_is_that_of_sacrebleu_of_a_corpus_and_of_each_text(texts, references):
    rows = chrf_rows(texts, references)
    expected = CHRF().corpus_score(texts, streams(references)).score
    assert float(chrf_value(rows.sum(axis=0))) == pytest.approx(expected, rel=1e-12)
    alone = [CHRF().sentence_score(text, several).score for text, several in zip(texts, references, strict=True)]
    assert chrf_value(rows) == pytest.approx(alone, rel=1e-12)


def test_values_of_many_sums_are_those_of_each():
    texts, references = ([one for corpus in CORPORA for one in corpus[part]] for part in (0, 1))
    draws = np.random.default_rng(0).integers(3, size=(2, 5, len(texts))).astype(float)
    for rows, value in ((bleu_rows(texts, references), bleu_value), (chrf_rows(texts, references), chrf_value)):
        sums = draws @ rows
        assert value(sums).tolist() == [[float(value(one)) for one in some] for some in sums]


def test_signatures_say_how_it_was_counted():
    assert SIGNATURES["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert SIGNATURES["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert SIGNATURES["rougeS"] == "case:lc|tok:letters+marks+digits|stem:no|refs:best|skip:4|mean:texts|as:ROUGE-1.5.5"
    assert bleu_signature(None, lowercase=True).startswith("nrefs:var|case:lc|")


# ---------------------------------------------------------------------------------------------------------- odd texts


@pytest.mark.parametrize(("text", "reference"), [("", "a b"), ("a b", ""), ("", ""), ("!?", "…"), ("one", "two")])
def test_rouge_is_zero_where_nothing_is_shared(text, reference):
    for measure in MEASURES:
        assert rouge(text, reference, measure) == [0, 0, 0]


def test_no_texts_have_no_rows():
    assert all(rows.shape == (0, 2) for rows in rouge_rows([], []).values())
    assert bleu_rows([], []).shape == (0, 10)
    assert chrf_rows([], []).shape == (0, 18)


def test_a_text_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="every text needs a reference"):
        rouge_scores(["a"], [[]])


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


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_the_rule_for_all_scripts(text):
    assert words(text) == words(text + " é")[:-1]

"""What the report shows of an evaluation: verdict, gates, warnings, figures, checks, and samples that nobody picked."""

from __future__ import annotations

import json
import re

import pytest

import proofs
from proofs import LEVELS, sample, scores
from steep.errors import RunError
from steep.report.checks import Reader, details, findings
from steep.report.harness import harness
from steep.report.leaks import without_leaks
from steep.report.samples import SEED, Redactor, choices, ranking_metric, regions_of
from steep.scores import Gate, Scores, Warning
from test_report import Page, Run

PLAIN = Reader("completion", str)
SAMPLES = [sample(i, gain=(i * 7 % 20) / 20 - 0.4) for i in range(20)]


def evaluated(folder, made=None, samples=SAMPLES[:1]):
    """A run of which only the evaluation is left: its report takes a third of the time."""
    run = Run(folder, until="gather")
    run.write("run.json", run.lock(["evaluate"]))
    run.evaluate(made or scores(), samples)
    return run


@pytest.fixture
def show(tmp_path):
    """The visible text of the report of these scores."""

    run = evaluated(tmp_path)

    def shown(made: Scores, samples=SAMPLES[:1]) -> str:
        run.evaluate(made, samples)
        return " ".join(Page(run.report()).text.split())

    return shown


# ---------------------------------------------------------------------------------------------------------- verdict


def test_a_failed_gate_stands_above_the_verdict_and_a_passed_one_does_not(show):
    gates = [Gate(name="forgetting", value=0.3, limit=0.1, passed=False)]
    gates.append(Gate(name="repetition", value=0.05, limit=0.2, passed=True))
    text = show(scores(gates=gates))
    said = text.index(
        "The model did not pass. Failed: the rise of perplexity on general text is 30 %, the recipe allows 10 %."
    )
    assert said < text.index("Better than its base model") < text.index("Passed: repetition is 5 %")


def test_warnings_stand_between_the_verdict_and_the_figures(show):
    kinds = {
        "few_documents": "Few documents: only 9",
        "few_shot": "Prompting: it does the same",
        "contamination": "Leak from training into test: 6 of 60",
        "memorization": "Memorised text: 4 answers",
        "personal_data": "Personal data: one value",
        "canaries": "Canaries: remembered",
        "forgetting": "Forgetting: it rose",
        "familiarity": "Text that the base model knows: it does",
        "skipped": "Not measured: soft_embedding",
    }
    made = scores(warnings=[Warning(kind=kind, message=said.partition(": ")[2]) for kind, said in kinds.items()])
    text = show(made)
    places = [text.index(said) for said in ("Better than its base model", *kinds.values(), "In figures How the")]
    assert places == sorted(places)


def test_without_a_base_there_are_values_and_no_differences(show):
    alone = [sample(0, answers={"tuned": "Mind the whistle."}, finished={"tuned": True}, measures={})]
    text = show(proofs.from_scratch(scores()), alone)
    assert "There is no base model to compare with." in text
    assert "Tuned minus" not in text
    assert "Base model" not in text.partition("Samples side by side")[2].partition("How to reproduce")[0]


def test_of_one_document_the_report_shows_values_and_says_why_there_is_no_verdict(show):
    text = show(scores(documents=1))
    assert "No verdict: there is no difference that could be tested. A test needs 6 held-out documents" in text
    assert "On 1 document Measure Base Few-shot Tuned Perplexity" in text


def test_scores_of_an_earlier_version_are_refused_with_the_way_out(tmp_path):
    run = evaluated(tmp_path)
    run.write("evaluate/scores.json", {"metrics": {"bleu": {"base": 1.0, "tuned": 2.0, "n": 9}}})
    with pytest.raises(RunError, match=r"of another version of steep .* run evaluate again"):
        run.report()


def test_nothing_measured_is_no_verdict(show):
    assert "No verdict: nothing was measured." in show(scores({}), [])


# ----------------------------------------------------------------------------------------------------------- tables


def test_each_difference_has_its_interval_p_effect_size_wins_and_verdict(show):
    made = scores({"perplexity": LEVELS["perplexity"]})
    text = show(made).partition("Tuned minus the base model ")[2]
    assert re.search(
        r"Perplexity better −[\d.]+ \(−74 %\) −[\d.]+ to −[\d.]+ < 0.001 −[\d.]+ \d+ % Tuned minus the base model with",
        text,
    )


def test_the_forest_plot_tells_its_rows_in_words(tmp_path):
    run = evaluated(tmp_path, scores(LEVELS | {"continuation.chrf": (26, 26, 20)}))
    said = re.search(r'<desc id="forest-wide-desc">([^<]+)', run.report())[1]
    assert "Perplexity: against the base model −" in said
    assert re.search(r"chrF: against the base model −[\d.]+, −[\d.]+ to −[\d.]+, worse; against prompting", said)


def test_a_difference_of_zero_has_the_unit_that_its_interval_implies(tmp_path):
    made = scores({"continuation.bleu": (4.0, 4.0, 4.1), "continuation.chrf": (4.0, 4.0, 4.1)})
    unit = 0.2 / 1.96 * 58**0.5
    zero = {"value": 0.0, "low": -0.2, "high": 0.2, "effect_size": 0.0}
    small = {"value": 0.02, "low": -0.18, "high": 0.22, "effect_size": 0.02 / unit}
    metrics = {}
    for (name, one), changed in zip(made.metrics.items(), (zero, small), strict=True):
        gap = one.differences["base"].model_copy(update=changed | {"verdict": "not proven"})
        metrics[name] = one.model_copy(update={"differences": {"base": gap}})
    told = made.model_copy(update={"metrics": metrics, "verdict": {"base": "not proven"}})
    widths = [end - start for start, end in lines(evaluated(tmp_path, told).report(), "muted")[:2]]
    assert widths[0] > 50
    assert widths[0] == pytest.approx(widths[1], rel=0.02)


def lines(page, colour):
    """Where the intervals of a colour begin and end, from left to right."""
    stroke = rf'd="M ([\d.]+) [\d.]+  L ([\d.]+) [\d.]+  "[^>]+stroke: var\(--{colour}\); stroke-width: 2'
    return [(float(start), float(end)) for start, end in re.findall(stroke, page)]


def test_what_is_better_lies_to_the_right_of_zero_also_where_less_is_better(tmp_path):
    page = evaluated(tmp_path, scores({"perplexity": (86, 61, 21), "continuation.chrf": (26, 26, 15)})).report()
    zero = float(re.search(r'd="M ([\d.]+) [^>]+stroke: var\(--ink\)', page.partition('id="forest-wide-desc"')[2])[1])
    assert all(start > zero for start, _ in lines(page, "better")[:2])
    assert all(end < zero for _, end in lines(page, "worse")[:2])


def test_documents_are_told_once_where_all_measures_have_the_same(show):
    made = scores()
    assert "With 95 % intervals, on 60 documents Measure Base Few-shot Tuned Perplexity" in show(made)
    fewer = made.metrics["perplexity"].model_copy(update={"documents": 55})
    text = show(made.model_copy(update={"metrics": made.metrics | {"perplexity": fewer}}))
    assert "Tuned Documents Perplexity" in text


# ----------------------------------------------------------------------------------------------------------- checks


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_a_confusion_matrix_has_the_truth_in_rows_and_the_answers_in_columns():
    matrix = {"labels": ["cs", "math"], "counts": [[8, 1, 2], [0, 9, 0]], "unlabelled": 0, "most_frequent": 0.55}
    (found,) = details({"tuned": {"confusion": matrix}}, PLAIN)
    (table,) = found.tables
    assert table.caption == "Tuned: truth by answer; always answering the most frequent label is right in 55.0%"
    assert list(table.columns) == ["Truth", "cs", "math", "other"]
    assert texts(table) == [["cs", "8", "1", "2"], ["math", "0", "9", "0"]]


def test_of_many_labels_the_most_frequent_mistakes_are_listed():
    labels = [f"l{i}" for i in range(30)]
    counts = [[10 * (i == j) + (3 if (i, j) == (4, 7) else j == 0 and i > 0) for j in range(31)] for i in range(30)]
    matrix = {"labels": labels, "counts": counts, "unlabelled": 0, "most_frequent": 0.04}
    (found,) = details({"base": {"confusion": matrix}}, PLAIN)
    (table,) = found.tables
    assert texts(table)[:2] == [["l4", "l7", "3"], ["l1", "l0", "1"]]
    assert table.more == 30 - len(table.rows)


def test_format_failures_stand_by_reason_with_a_column_for_each_model():
    faults = {"base": {"format_faults": {"empty": 3, "not JSON": 9}}, "tuned": {"format_faults": {"empty": 1}}}
    (found,) = details(faults, PLAIN)
    (table,) = found.tables
    assert list(table.columns) == ["", "Base", "Tuned"]
    assert texts(table) == [["Empty", "3", "1"], ["Not JSON", "9", "–"]]


def test_what_is_known_of_each_model_stands_in_a_column_of_its_own():
    check = {"base": {"memorised": 0, "share": 0.0}, "tuned": {"memorised": 4, "share": 1 / 15}}
    ((step, found),) = findings({"memorization": check}, str)
    assert (step, found.title) == ("memorization", "Memorization")
    assert texts(found.tables[0]) == [["Answers with such a run", "0", "4"], ["Their share", "0", "0.0667"]]


def test_rows_within_a_model_have_a_table_for_each():
    check = {model: {"mean": 1.4, "exposures": [{"document_id": model, "bits": 9.0}]} for model in ("base", "tuned")}
    ((_, found),) = findings({"canaries": check}, str)
    assert [table.caption for table in found.tables] == ["", "Exposure of each: Base", "Exposure of each: Tuned"]


def test_a_check_without_a_form_is_shown_by_its_keys():
    unknown = {"some_figure": 0.25, "nothing": None, "undefined": float("nan"), "rows": [{"a_key": 1, "b": "x"}]}
    ((_, found),) = findings({"new_check": unknown}, str)
    assert found.facts == {"Some figure": "0.25", "Undefined": "–"}
    assert (found.title, found.tables[0].columns, texts(found.tables[0])) == ("New check", ["A key", "B"], [["1", "x"]])


def test_a_long_text_stands_below_its_row_without_personal_data():
    rows = [{"text": "e1", "share": 0.9, "stretch": "write to ada@brand-tea.example " * 3}]
    ((_, found),) = findings({"contamination": {"leaks": rows}}, Redactor(["US"]))
    (table,) = found.tables
    assert list(table.columns) == ["Held-out text", "Share of its word sequences"]
    assert table.texts == ["write to [EMAIL] write to [EMAIL] write to [EMAIL] "]


def test_scores_without_leaked_texts_stand_beside_those_with_them():
    rest = scores({"perplexity": (86, 61, 84)}, documents=20)
    check = {"texts": 60, "leaked": 40, "metrics_without": {k: one.model_dump() for k, one in rest.metrics.items()}}
    made = scores({"perplexity": (86, 61, 21)}, checks={"contamination": check})
    base, _ = without_leaks(made)
    ((label, with_all, word, without, other),) = base.rows
    assert (label.text, word.text, other.text) == ("Perplexity", "better", "not proven")
    assert with_all.text != without.text
    assert with_all.note
    ((_, found),) = findings(made.checks, str)
    assert not found.tables


def test_without_leaks_there_is_no_such_table():
    assert not list(without_leaks(scores(checks={"contamination": {"texts": 60, "leaked": 0, "leaks": []}})))


def test_figures_of_the_harness_are_shown_without_its_questions():
    measure = {
        "task": "arc_easy",
        "metric": "acc",
        "value": 0.31,
        "rows": {"arc_easy:1": [1.0, 1.0]},
    }
    one = {"version": "0.4.9", "tasks": {"arc_easy": {"version": 1, "questions": 9}}, "measures": [measure], "cut": {}}
    found = harness({"base": one, "tuned": one}, Reader("lm_eval", str))
    assert found.title == "lm-evaluation-harness 0.4.9"
    assert [texts(table) for table in found.tables] == [
        [["Arc easy, acc", "0.31", "0.31"]],
        [["Arc easy", "1", "9"]],
    ]


# ---------------------------------------------------------------------------------------------------------- samples


def chosen(rows):
    (choice,) = choices(rows, str)
    return choice, {group.title: [one.document_id for one in group.samples] for group in choice.groups}


def test_best_and_worst_are_those_that_differ_most_and_the_rest_are_drawn_with_a_stated_seed():
    choice, groups = chosen(SAMPLES)
    order = [row["document_id"] for row in sorted(SAMPLES, key=lambda row: -row["measures"]["rougeL"]["tuned"])]
    assert groups["The 3 best"] == order[:3]
    assert groups["The 3 worst"] == order[:-4:-1]
    assert not set(groups["4 drawn at random"]) & {*order[:3], *order[-3:]}
    assert "the 3 largest and the 3 smallest differences in ROUGE-L, tuned minus base" in choice.rule
    assert f"random.Random({SEED})" in choice.rule
    assert chosen(SAMPLES)[1] == groups


def test_the_order_of_a_measure_of_which_less_is_better_is_turned():
    rows = [row | {"measures": {"perplexity": {"base": 5.0, "tuned": float(i)}}} for i, row in enumerate(SAMPLES)]
    assert ranking_metric(rows) is None  # of one text perplexity says little
    graded = [row | {"measures": {"f1": {"base": 0.5, "tuned": i / 20}}} for i, row in enumerate(SAMPLES)]
    assert chosen(graded)[1]["The 3 best"][0] == SAMPLES[-1]["document_id"]


@pytest.mark.parametrize(("count", "extremes", "at_random"), [(1, 0, 1), (2, 1, 0), (5, 2, 1), (7, 3, 1), (20, 3, 4)])
def test_no_answer_is_shown_twice_however_few_there_are(count, extremes, at_random):
    _, groups = chosen(SAMPLES[:count])
    shown = [name for group in groups.values() for name in group]
    assert len(shown) == len(set(shown)) == 2 * extremes + at_random


def test_an_answer_without_a_value_is_not_the_best_or_the_worst():
    undefined = [{"rougeL": {"base": 0.1, "tuned": value}} for value in (None, float("nan"))]
    rows = [*SAMPLES, *(sample(90 + i, measures=measures) for i, measures in enumerate(undefined))]
    _, groups = chosen(rows)
    assert not {f"{90:016x}", f"{91:016x}"} & {*groups["The 3 best"], *groups["The 3 worst"]}


def test_without_a_base_all_are_drawn_at_random():
    choice, groups = chosen([row | {"measures": {"rougeL": {"tuned": 0.3}}} for row in SAMPLES])
    assert list(groups) == ["4 drawn at random"]
    assert choice.rule.startswith("Nobody picked them: they are drawn at random")


def test_each_step_has_samples_of_its_own(show):
    rows = [*SAMPLES, *(row | {"step": "completion"} for row in SAMPLES)]
    text = show(scores(), rows)
    assert "10 of 20 answers to continuation." in text
    assert "Completion: The 3 worst" in text


def test_personal_data_that_a_model_says_is_not_shown_and_the_page_says_so(show):
    said = {"base": "Call +44 20 7946 0018.", "few_shot": "", "tuned": "Write to ada@brand-tea.example."}
    text = show(scores(), [sample(0, answers=said)])
    assert "Write to [EMAIL]." in text
    assert "Call [PHONE]." in text
    assert "Personal data is replaced by its kind wherever this page shows text that a model wrote (2 places)" in text


def test_telephone_numbers_are_known_of_the_countries_that_the_recipe_names():
    step = {"redact": {"kinds": ["email"], "region": ["GB", "DE"]}}
    assert regions_of({"clean": [{"whitespace": {}}, step]}) == ["GB", "DE"]
    assert regions_of({"clean": [{"redact": {"region": "FR"}}]}) == ["FR"]
    assert regions_of({}) == ["US"]


def test_an_answer_that_was_stopped_is_marked(show):
    text = show(scores(), SAMPLES[:1])
    assert "Base model, stopped at the longest answer The first of the two" in text
    assert "Tuned model We hammer." in text


def test_a_damaged_line_of_samples_is_named(tmp_path):
    run = evaluated(tmp_path)
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(SAMPLES[0]) + '\n{"step": ')
    with pytest.raises(RunError, match=r"samples\.jsonl:2: not JSON"):
        run.report()

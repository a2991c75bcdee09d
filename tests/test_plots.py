"""The forest plot and the scatter plot; the other charts are tested with the report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from steep.plots import Chart, Mark, Point, forest, scatter

BETTER = Mark(1.5, 1.0, 2.0, "better")
WORSE = Mark(-0.5, -0.8, -0.2, "worse")
OPEN = Mark(0.1, -0.2, 0.4, "not proven")


def drawn(*series, labels=("Perplexity", "BLEU", "ROUGE-L")):
    return forest(Chart("forest", "Differences", "In words."), labels[: len(series[0])], series, xlabel="units")


def words_of(drawing):
    return re.findall(r"<text[^>]*>([^<]+)", drawing)


def marks_of(drawing, colour):
    return drawing.count(f"fill: var(--{colour})")


def test_each_row_has_its_label_and_the_sides_of_zero_are_named():
    said = words_of(drawn([BETTER, WORSE, OPEN]))
    assert {"Perplexity", "BLEU", "ROUGE-L", "← worse", "better →", "units"} <= set(said)


def test_what_is_proven_is_a_full_mark_in_its_colour_and_what_is_not_is_hollow():
    drawing = drawn([BETTER, WORSE, OPEN])
    assert "fill: var(--better)" in drawing
    assert "fill: var(--worse)" in drawing
    assert "fill: var(--paper); stroke: var(--muted)" in drawing


@pytest.mark.parametrize(("word", "colour"), [("better", "better"), ("worse", "worse"), ("not proven", "paper")])
def test_no_mark_has_the_colour_of_another_word(word, colour):
    drawing = drawn([Mark(0.5, 0.2, 0.8, word)])
    for other in {"better", "worse", "paper"} - {colour}:
        assert f"fill: var(--{other}); stroke" not in drawing


def test_two_series_have_room_and_a_mark_may_be_missing():
    one, two = drawn([BETTER, WORSE, OPEN]), drawn([BETTER, WORSE, OPEN], [OPEN, None, BETTER])
    heights = [int(re.search(r'height="(\d+)"', drawing)[1]) for drawing in (one, two)]
    assert heights[1] - heights[0] == 3 * 22


def test_the_drawing_is_told_in_words_and_takes_its_colours_from_the_page():
    drawing = drawn([BETTER])
    root = ElementTree.fromstring(drawing)
    assert (root.find("title").text, root.find("desc").text) == ("Differences", "In words.")
    assert root.get("aria-labelledby") == "forest-title forest-desc"
    assert not re.search(r"#[0-9a-f]{6}\b|font-family|<style", drawing)


def test_a_row_that_is_better_lies_to_the_right_of_zero():
    root = ElementTree.fromstring(drawn([BETTER, WORSE], labels=("a", "b")))
    uses = [use for use in root.iter("use") if "var(--" in use.get("style", "") and "rule" not in use.get("style")]
    place = {use.get("style").partition("--")[2][:5]: float(use.get("x")) for use in uses}
    assert place["worse"] < place["bette"]


def test_texts_stand_below_a_scatter_plot_in_the_order_in_which_they_come():
    points = [Point("8", 2.0, True), Point("32", 1.0, True), Point("16", 1.5, False), Point("8", 1.8, True)]
    said = words_of(scatter(Chart("ranks", "Ranks", "In words."), points, xlabel="rank", ylabel="loss"))
    assert said[:3] == ["8", "32", "16"]


def test_a_logarithmic_axis_has_plain_numbers_also_within_one_power_of_ten():
    points = [Point(2e-4, 2.0, True), Point(8e-4, 1.0, True)]
    said = words_of(scatter(Chart("rates", "Rates", "In words."), points, xlabel="rate", ylabel="loss", log=True))
    assert "0.0003" in said


def test_what_did_not_end_is_a_hollow_point():
    drawing = scatter(Chart("one", "One", "In words."), [Point(1, 2.0, False)], xlabel="trial", ylabel="loss")
    assert "fill: var(--paper)" in drawing
    assert "fill: var(--accent)" not in drawing


def test_whole_numbers_have_whole_ticks():
    points = [Point(number, 2.0, True) for number in range(4)]
    said = words_of(scatter(Chart("trials", "Trials", "In words."), points, xlabel="trial", ylabel="loss"))
    assert [tick for tick in said[: said.index("trial")] if "." in tick] == []

"""`steep compare`: runs side by side, what is not compared, and when it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluated import SETTINGS, results, write_evaluation, write_losses, write_run
from steep.cli import app
from steep.compare import compare_runs
from steep.compare.page import write_page
from steep.errors import RunError, UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    first = write_run(folder / "lora", 1.0, 11)
    write_run(folder / "faster", 1.8, 12, recipe={"train": {"learning_rate": 3e-4}})
    write_run(folder / "full", 1.0, 13, recipe={"train": {"method": "full"}})
    other = {"base": results(0, 1), "tuned": results(0.9, 15, tokens=1.3)}
    write_evaluation(first / "evaluations" / "other-7b", other, "org/other-7b")
    return folder


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    return result.output


def test_a_run_that_is_better_is_called_so(runs: Path) -> None:
    better, same = compare_runs([runs / "lora", runs / "faster", runs / "full"]).pairs
    assert (better.name, better.verdict) == ("faster", "better")
    assert (same.name, same.verdict) == ("full", "not proven")


def test_the_order_decides_which_run_is_the_measure(runs: Path) -> None:
    (pair,) = compare_runs([runs / "faster", runs / "lora"]).pairs
    (mirrored,) = compare_runs([runs / "lora", runs / "faster"]).pairs
    assert pair.verdict == "worse"
    assert pair.differences["perplexity"].value == pytest.approx(-mirrored.differences["perplexity"].value)


def test_tuned_models_are_compared_not_what_they_gained(runs: Path) -> None:
    (pair,) = compare_runs([runs / "lora", runs / "faster"]).pairs
    values = [results(*of).measured["continuation.rouge1"].rows[:, 0].mean() for of in ((1.8, 12), (1.0, 11))]
    assert pair.differences["continuation.rouge1"].value == pytest.approx(values[0] - values[1])


def test_further_runs_make_proof_harder(runs: Path) -> None:
    """Holm's correction is over all measures of all runs."""
    few = compare_runs([runs / "lora", runs / "full"]).pairs[0].differences
    many = compare_runs([runs / "lora", runs / "full", runs / "faster"]).pairs[0].differences
    assert all(many[name].p == one.p for name, one in few.items())
    assert all(many[name].p_adjusted >= one.p_adjusted for name, one in few.items() if one.verdict)


def test_another_model_on_the_runs_documents_is_compared(runs: Path) -> None:
    (pair,) = compare_runs([runs / "lora", runs / "lora" / "evaluations" / "other-7b"]).pairs
    assert pair.name == "lora/other-7b"
    assert pair.differences["continuation.rougeL"].verdict == "not proven"


def test_perplexity_by_two_tokenizers_is_not_compared_but_bits_per_byte_are(runs: Path) -> None:
    (pair,) = compare_runs([runs / "lora", runs / "lora" / "evaluations" / "other-7b"]).pairs
    assert pair.obstacles == {"perplexity": "their tokenizers cut the texts into other tokens: compare bits per byte"}
    assert pair.differences["bits_per_byte"].verdict is not None


def test_other_settings_are_not_compared(runs: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "continuation": {"split": 0.5, "temperature": 0.7}}
    other = write_run(tmp_path / "warm", 1.0, 14, settings=settings)
    (pair,) = compare_runs([runs / "lora", other]).pairs
    assert pair.obstacles["continuation.rougeL"] == "measured with other settings: temperature 0 and 0.7"
    assert set(pair.differences) == {"perplexity", "bits_per_byte"}


def test_other_references_are_not_compared(runs: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "cut", 1.0, 14, reference="how it ends, cut later")
    (pair,) = compare_runs([runs / "lora", other]).pairs
    assert pair.obstacles["continuation.rougeL"] == "60 of 60 answers were compared with other references"


def test_other_test_sets_are_refused_with_how_they_differ(runs: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "elsewhere", 1.0, 14, documents=50, first=20, test_set="other")
    expected = (
        r"elsewhere/evaluate was not evaluated on the same held-out examples as .*lora/evaluate: 60 and 50 examples, "
        r"with 40 documents in common \(only in lora document-000, document-001, document-002 \.\.\.; only in "
        r"elsewhere document-060, .*steep evaluate RECIPE --model"
    )
    with pytest.raises(UsageError, match=expected):
        compare_runs([runs / "lora", other])


def test_the_same_documents_in_another_template_are_another_test_set(runs: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "chat", 1.0, 14, test_set="other")
    with pytest.raises(UsageError, match="the 60 documents are the same, the prompts or completions made of them are"):
        compare_runs([runs / "lora", other])


def test_one_run_is_no_comparison(runs: Path) -> None:
    with pytest.raises(UsageError, match="two or more runs, and there is one only"):
        compare_runs([runs / "lora"])
    with pytest.raises(UsageError, match=r"two or more runs, and .*lora/evaluate is named twice"):
        compare_runs([runs / "lora", runs / "lora" / "evaluate"])


def test_a_folder_that_is_no_run_is_told_with_the_runs_in_it(runs: Path) -> None:
    with pytest.raises(UsageError, match=r"no run and no evaluation there; .*There are runs in it: .*faster, .*full"):
        compare_runs([runs, runs / "lora"])
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        compare_runs([runs / "lora", runs / "nowhere"])


def test_damaged_samples_are_told(runs: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "damaged", 1.0, 14)
    (other / "evaluate" / "samples.jsonl").write_text('{"step": "continuation", "docu')
    with pytest.raises(RunError, match=r"samples.jsonl is damaged \(.*\): run the evaluate stage again"):
        compare_runs([runs / "lora", other])


def test_only_what_differs_between_the_recipes_is_told(runs: Path) -> None:
    assert compare_runs([runs / "lora", runs / "faster", runs / "full"]).recipes == {
        "train.method": ["lora", "lora", "full"],
        "train.learning_rate": ["0.0002", "0.0003", "0.0002"],
    }


def test_runs_of_one_name_go_by_their_paths(runs: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "lora", 1.0, 14)
    assert list(compare_runs([runs / "lora", other]).runs) == [str(runs / "lora"), str(other)]


def test_the_terminal_shows_values_differences_and_verdict(runs: Path, tmp_path: Path) -> None:
    told = said(runs / "lora", runs / "faster", "--html", tmp_path / "page.html")
    assert re.search(r"ROUGE-L +lora +0\.\d+ +0\.\d+ to 0\.\d+", told)
    assert re.search(r"Perplexity +−\d+\.\d+ +−\d+\.\d+ to −\d+\.\d+ .* better", told)
    assert re.search(r"train.learning_rate +0.0002 +0.0003", told)
    assert "faster is better than lora (better in 3 of 3 measures)." in told
    assert f"Page: {tmp_path / 'page.html'}" in told.replace("\n", "")


def test_json_is_all_that_is_printed_on_demand(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = json.loads(said(runs / "lora", runs / "faster", "--json", "--html", page))
    assert list(found["runs"]) == ["lora", "faster"]
    assert found["differences"]["faster"]["verdict"] == "better"
    assert found["runs"]["faster"]["recipe"] == {"train.learning_rate": "0.0003"}
    assert not page.exists()


# ------------------------------------------------------------------------------------------------------------- page


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = [runs / "lora", runs / "faster", runs / "full", runs / "lora" / "evaluations" / "other-7b"]
    return write_page(compare_runs(folders), tmp_path_factory.mktemp("page") / "comparison.html")


def test_the_page_loads_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link rel=.stylesheet|(src|href)=.https?:", text)


def test_the_page_names_every_reason_not_to_compare(page: Path) -> None:
    assert "Not compared: Perplexity: their tokenizers cut the texts into other tokens" in page.read_text("utf-8")


def test_the_curves_of_all_trained_runs_are_in_one_chart(page: Path) -> None:
    text = page.read_text("utf-8")
    chart = re.search(r"<svg[^>]*loss-wide-title.*?</svg>", text, re.DOTALL)
    assert chart
    assert [f"var(--run-{number})" in chart[0] for number in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_run_of_one_step_has_a_curve(runs: Path, tmp_path: Path) -> None:
    short = write_run(tmp_path / "short", 1.0, 14)
    write_losses(short, [3.5])
    assert "short: from 3.5 to 3.5 over 1,000 tokens" in write_page(
        compare_runs([runs / "lora", short]), tmp_path / "page.html"
    ).read_text("utf-8")


def test_what_a_run_is_called_is_escaped(runs: Path, tmp_path: Path) -> None:
    hostile = write_run(tmp_path / "bold", 1.0, 14, recipe={"prepare": {"fields": {"x": "<script>alert(1)</script>"}}})
    text = write_page(compare_runs([runs / "lora", hostile]), tmp_path / "page.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_window_and_asks_for_nothing(page: Path, browser: Any, width: int) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert complaints == []
    tab.close()

"""`steep compare-methods`: which methods are trained, at which rates, and what the comparison shows.

The runs are made up (see `evaluated`); what the methods do is tested where they are trained.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluated import write_run
from steep import methods
from steep.cli import app
from steep.config import load_recipe, read_recipe
from steep.errors import SteepError, UsageError
from steep.methods.choice import chosen_methods, learning_rate, read_words
from steep.runs import Run

COST = {"trainable_parameters": 4096, "seconds": 63.2, "tokens_per_second": 1900.4, "peak_memory_gib": 1.25}
SKILLS = {"lora": 1.0, "full": 1.8, "qlora-4": 1.0}


def recipe_of(folder: Path, *overrides: str) -> Any:
    path = folder / "recipe.yaml"
    path.write_text("name: small\ngather: [{files: texts.jsonl}]\n")
    return load_recipe(path, overrides)


@pytest.mark.parametrize(
    ("method", "overrides", "rate"),
    [
        ("lora", ["train.learning_rate=5e-4"], 5e-4),
        ("qlora-4", ["train.learning_rate=5e-4"], 5e-4),
        ("full", ["train.learning_rate=5e-4"], 5e-5),
        ("adalora", ["train.learning_rate=5e-4"], 5e-4),
        ("qlora-8", ["train.method=adalora", "train.learning_rate=5e-4"], 5e-4),
        ("full", ["train.method=adalora", "train.learning_rate=5e-4"], 5e-5),
        ("adalora", ["train.method=adaption-prompt", "train.learning_rate=5e-3"], 2e-4),
        ("adaption-prompt", [], 9e-3),
        ("lora", ["train.method=full", "train.learning_rate=1e-5"], 2e-4),
        ("full", ["train.method=adalora"], 2e-5),
    ],
)
def test_each_method_has_a_learning_rate_of_its_own(
    tmp_path: Path, method: str, overrides: list[str], rate: float
) -> None:
    assert learning_rate(recipe_of(tmp_path, *overrides), method, {}) == pytest.approx(rate)


def test_a_learning_rate_can_be_given_for_each_method(tmp_path: Path) -> None:
    overrides, rates = read_words(["train.epochs=1", "full.learning_rate=3e-5"])
    assert overrides == ["train.epochs=1"]
    assert learning_rate(recipe_of(tmp_path), "full", rates) == 3e-5


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("full.epochs=3", "of a single method only learning_rate can be set: full.learning_rate=…"),
        ("full.learning_rate=fast", "a learning rate is a number above 0"),
        ("full.learning_rate=-1", "a learning rate is a number above 0"),
    ],
)
def test_what_else_is_given_for_a_method_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_words([word])


def test_an_unknown_method_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown method 'qlora4': did you mean qlora-4"):
        chosen_methods("lora,qlora4")
    with pytest.raises(UsageError, match="--methods names none: expected some of full, lora"):
        chosen_methods(",")


# -------------------------------------------------------------------------------------------------------- the runs


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that were run."""
    named: list[str] = []

    def run(path: Path, overrides: list[str], *, runs: Path, **options: Any) -> Path:
        recipe = read_recipe(path, overrides)
        name = recipe.recipe.name
        named.append(name)
        if name == "adalora":
            raise SteepError("the stage train failed: out of memory")
        if not (runs / name / "evaluate").exists():
            folder = write_run(runs / name, SKILLS[name], 11, recipe={"train": recipe.stored["train"]})
            summary = {**COST, "tokens": 1000 if name == "full" else 1200}
            (folder / "train" / "summary.json").write_text(json.dumps(summary))
            (folder / "train" / "adapter").mkdir()
            (folder / "train" / "adapter" / "weights").write_bytes(bytes(2_000_000))
        return runs / name

    monkeypatch.setattr(methods, "run_recipe", run)
    monkeypatch.setattr(methods, "prepared", lambda path, overrides, runs, note: Run(runs / "small"))
    monkeypatch.setattr(methods, "share", lambda base, variant: None)
    return named


def compare(recipe: Path, runs: Path, names: str, *words: str) -> Any:
    return CliRunner().invoke(app, ["compare-methods", str(recipe), *words, "--methods", names, "--runs", str(runs)])


@pytest.fixture
def compared(small_recipe: Path, tmp_path: Path, done: list[str]) -> Path:
    result = compare(small_recipe, tmp_path, "full,lora,qlora-4", "train.method=lora")
    assert result.exit_code == 0, result.output
    return tmp_path / "small" / "methods"


def test_the_recipes_own_method_is_what_the_others_are_compared_with(compared: Path, done: list[str]) -> None:
    assert done == ["lora", "full", "qlora-4"]
    found = json.loads((compared / "methods.json").read_text())
    assert found["first"] == "lora"
    assert found["differences"]["full"]["verdict"] == "better"


def test_quality_and_costs_are_written_for_each_method(compared: Path) -> None:
    full = json.loads((compared / "methods.json").read_text())["methods"]["full"]
    assert (full["verdict"], full["trainable_parameters"], full["peak_memory_gib"]) == ("better", 4096, 1.25)
    assert full["bytes_on_disk"] == 2_000_000
    assert full["metrics"]["perplexity"]["differences"]["base"]["verdict"] == "better"


def test_the_page_shows_quality_and_costs_and_loads_nothing(compared: Path) -> None:
    page = (compared / "methods.html").read_text("utf-8")
    assert "What each method costs" in page
    assert '<td class="n">4,096</td><td class="n">1 min 3 s</td>' in page
    assert not re.search(r"<script|<link rel=.stylesheet|(src|href)=.https?:", page)


def test_the_page_leads_to_each_of_its_parts(compared: Path) -> None:
    page = (compared / "methods.html").read_text("utf-8")
    links = re.findall('href="#([^"]+)"', page[page.index("<nav") : page.index("</nav>")])
    assert links == re.findall('<section id="([^"]+)"', page)
    assert {"costs", "quality"} <= set(links)


def test_another_number_of_tokens_is_told(compared: Path) -> None:
    assert "Not the same tokens were read: lora 1,200, full 1,000" in (compared / "methods.html").read_text("utf-8")


def test_each_method_is_the_recipe_with_its_keys(small_recipe: Path, tmp_path: Path, done: list[str]) -> None:
    compare(small_recipe, tmp_path, "lora,qlora-4", "lora.learning_rate=3e-4")
    record = json.loads((tmp_path / "small" / "methods" / "lora" / "run.json").read_text())
    assert (record["recipe"]["train"]["method"], record["recipe"]["train"]["learning_rate"]) == ("lora", 3e-4)


def test_a_method_that_the_recipe_does_not_allow_is_skipped_with_the_reason(
    small_recipe: Path, tmp_path: Path, done: list[str]
) -> None:
    result = compare(small_recipe, tmp_path, "lora,adalora", "train.optim=muon", "train.method=full")
    assert "lora: skipped: train.optim: muon trains whole matrices: it needs `train.method: full`" in result.output
    assert done == []
    assert "No page: fewer than two methods were trained." in result.output


def test_a_method_that_fails_stops_no_other(small_recipe: Path, tmp_path: Path, done: list[str]) -> None:
    result = compare(small_recipe, tmp_path, "adalora,lora,full")
    assert isinstance(result.exception, SteepError)
    assert str(result.exception) == "failed: adalora. The same command tries them again"
    assert "adalora failed: the stage train failed: out of memory." in result.output
    assert (tmp_path / "small" / "methods" / "methods.html").exists()


def test_a_recipe_that_is_wrong_by_itself_is_told_before_any_work(
    small_recipe: Path, tmp_path: Path, done: list[str]
) -> None:
    result = compare(small_recipe, tmp_path, "lora", "train.epoch=1")
    assert "did you mean `epochs`" in str(result.exception)
    assert done == []

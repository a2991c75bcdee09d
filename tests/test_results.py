"""docs/results.md: a table with intervals for each run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import proofs
from steep.scores import Gate, Warning


@pytest.fixture(scope="module")
def results():
    path = Path(__file__).parents[1] / "scripts/results.py"
    spec = importlib.util.spec_from_file_location("results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_measure_has_its_interval_and_each_difference_its_verdict(results):
    text = "\n".join(results.proof(proofs.scores()))
    assert "|  | base | few-shot | tuned | documents |\n|---|--:|--:|--:|--:|\n| Perplexity | " in text
    assert re.search(r"^\| Perplexity \|( [\d.]+ \([\d.]+ to [\d.]+\) \|){3} 60 \|$", text, re.MULTILINE)
    for head in ("tuned minus base", "tuned minus few-shot"):
        assert f"| {head} | difference | p | effect size | wins | verdict |" in text
    gap = r"^\| Perplexity \| −[\d.]+ \(−[\d.]+ to −[\d.]+\) \| [<\d. ]+ \| −[\d.]+ \| \d+\s% \| better \|$"
    assert re.search(gap, text, re.MULTILINE)


def test_every_row_of_a_table_has_as_many_cells_as_its_head(results):
    lines = "\n".join(results.proof(proofs.scores())).splitlines()
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", "\n".join(lines), re.MULTILINE)]
    assert len(tables) == 3
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)


def test_the_verdict_its_method_gates_and_warnings_follow(results):
    doubt = Warning(kind="few_documents", message="only 9")
    gate = Gate(name="forgetting", value=0.3, limit=0.1, passed=False)
    text = "\n".join(results.proof(proofs.scores(warnings=[doubt], gates=[gate])))
    assert "\n**Better than its base model, and better than prompting it with examples.** Against its base" in text
    assert "paired bootstrap" in text
    assert "\n- Failed: the rise of perplexity on general text is 30\u00a0%, the recipe allows 10\u00a0%.\n" in text
    assert text.endswith("\n- Few documents: only 9")


def test_a_model_from_scratch_has_one_column_and_no_differences(results):
    text = "\n".join(results.proof(proofs.from_scratch(proofs.scores())))
    assert "|  | tuned | documents |" in text
    assert "tuned minus" not in text


def test_the_page_says_how_the_intervals_were_made(results):
    assert "95 % intervals from a bootstrap over the held-out documents" in results.HEAD
    assert "Holm's method" in results.HEAD

"""The evaluate stage: its gate, and what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from conftest import steep
from steep.config import read_recipe, recipe_from_stored
from steep.errors import GateError
from steep.evaluate.results import Answer, Results
from steep.pipeline import Options, run_recipe
from steep.runs import STAGES, Run
from steep.scores import read_scores
from steep.stages import Stage, run_stage
from steep.stages.evaluation import Bench


@pytest.fixture
def told(small_recipe, copied_run):
    """`steep run` on a copy of the finished run, with overrides."""
    return lambda *overrides: steep("run", small_recipe, *overrides, "--runs", copied_run, cwd=copied_run)


def unchanged(done):
    words = (line.split() for line in done.stdout.splitlines())
    return [line[1] for line in words if line[:1] == ["="]]


# ----------------------------------------------------------------------------------------------------------- the gate


def test_a_run_that_misses_its_gate_fails_and_keeps_all_of_it_and_passes_under_another_limit(
    told, small_recipe, copied_run
):
    folder, limit = copied_run / "small", "evaluate=[forgetting: {{max_increase: {}}}]"
    first = told(limit.format(0.1))
    assert first.returncode == 1
    assert re.search(r"misses evaluate\.forgetting\. Failed: the rise of perplexity .* allows 10\W", first.stderr)
    assert f"All of it is kept: see {folder / 'report.html'}" in first.stderr
    assert "No verdict" in first.stdout, "the results are printed"
    assert (folder / "report.html").exists()
    again = told(limit.format(0.1))
    assert (again.returncode, again.stderr, unchanged(again)) == (1, first.stderr, list(STAGES))
    run_recipe(small_recipe, [limit.format(1000)], runs=copied_run)
    assert read_scores(folder / "evaluate" / "scores.json").gates[0].passed


def test_a_missed_gate_does_not_stop_what_ends_before_it(small_recipe, copied_run):
    path = copied_run / "small" / "evaluate" / "scores.json"
    gate = {"name": "forgetting", "value": 6.5, "limit": 0.1, "passed": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gates": [gate]}))
    with pytest.raises(GateError, match=r"perplexity on general text is 650\W.*allows 10\W"):
        run_recipe(small_recipe, runs=copied_run)
    run_recipe(small_recipe, runs=copied_run, options=Options(until="prepare"))


# ------------------------------------------------------------------------------------------------------ what it writes


def test_scores_of_a_run_are_of_the_schema_that_is_printed(small_run, tmp_path):
    schema = json.loads(steep("schema", "--scores", cwd=tmp_path).stdout)
    scores = json.loads((small_run.cwd / "runs" / "small" / "evaluate" / "scores.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(scores)) == []
    assert not validator.is_valid(scores | {"metrics": {"bleu": {"documents": 4}}})


def test_power_reads_what_a_run_has_measured(small_run):
    done = steep("power", "runs/small", "--metric", "general_perplexity", cwd=small_run.cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^General perplexity .*\d", done.stdout, re.MULTILINE)


def stage_of(run):
    record = run.read()
    return Stage(run, recipe_from_stored(record["recipe"]), Path(record["folder"]), run.partial("evaluate"))


def test_a_redacted_value_that_a_model_says_is_counted_and_not_written_down(copied_run, small_recipe):
    run = Run(copied_run / "small")
    record = run.read()
    record["recipe"] = read_recipe(
        small_recipe, ["clean=[redact: [email], redact: {kinds: [phone], region: DE}]"]
    ).stored
    run.write(record)
    run.partial("evaluate").mkdir()

    def said(words):
        answer = Answer("continuation", 0, "h0", "Write to", "nobody", words, [], True)
        return Results("hash", ["h0"], answers=[answer])

    told = "jane.doe@harbour.org or call 030 901820"
    Bench(stage_of(run)).finish({"base": said("the fox"), "tuned": said(told)}, "small")
    (sample,) = map(json.loads, (run.partial("evaluate") / "samples.jsonl").read_text().splitlines())
    assert sample["answers"] == {"base": "the fox", "tuned": "[EMAIL] or call [PHONE]"}
    written = (run.partial("evaluate") / "scores.json").read_text()
    assert "jane" not in written
    assert json.loads(written)["checks"]["personal_data"]["tuned"]["invented"] == {"email": 1, "phone": 1}


def test_the_rewards_of_the_recipe_score_the_answers(copied_run, small_recipe, tmp_path, tiny_model):
    (tmp_path / "sevens.py").write_text("def give(completions):\n    return [7 for _ in completions]\n")
    run = Run(copied_run / "small")
    learns = [
        "prepare.template=alpaca",
        "train.objective=grpo",
        "train.batch_size=4",
        "train.rollouts.rewards=[sevens:give]",
    ]
    recipe = read_recipe(
        small_recipe, [*learns, f"model.base={small_recipe.parent / 'base'}", "evaluate=[reward]"]
    ).stored
    run.write(run.read() | {"recipe": recipe, "folder": str(tmp_path)})
    run.partial("evaluate").mkdir()
    bench = Bench(stage_of(run))
    vars(bench)["held_out"] = [{"document_id": "h0", "prompt": "Say:", "completion": " fox"}]
    assert bench.measure("tuned", tiny_model).measured["reward.reward"].rows.tolist() == [[7, 1]]


def test_where_nothing_is_measured_the_table_of_measures_is_empty_and_whole(copied_run):
    from steep.evaluations import open_evaluation

    run = Run(copied_run / "small")
    run.partial("evaluate").mkdir()
    Bench(stage_of(run)).finish({"tuned": Results("hash", ["h0"])}, "small")
    run.finish("evaluate", 1.0)
    assert open_evaluation(run.folder).measures("perplexity", "tuned") is None


SCRATCH = """
name: scratch
gather:
  - files: texts.jsonl
prepare:
  max_length: 64
  canaries: {count: 3}
model:
  from_scratch: {vocab_size: 300, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
    num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 128}
train: {objective: pretrain, method: full, max_steps: 2, batch_size: 2, dtype: float32}
evaluate:
  - perplexity
  - continuation: {max_new_tokens: 4, metrics: [chrf]}
  - few_shot
  - memorization
  - forgetting: {max_increase: 0.1}
"""


@pytest.fixture(scope="module")
def from_scratch(small_recipe, tmp_path_factory):
    """A model trained from scratch, with canaries, evaluated in this process."""
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "texts.jsonl").write_bytes((small_recipe.parent / "texts.jsonl").read_bytes())
    (folder / "scratch.yaml").write_text(SCRATCH)
    recipe = read_recipe(folder / "scratch.yaml")
    run = Run(folder / "scratch")
    run.folder.mkdir()
    run.write({"name": "scratch", "recipe": recipe.stored, "folder": str(folder), "stages": {}, "begun": {}})
    for name in STAGES:
        run.begin(name, name)
        run_stage(run, name)
    return run


def test_a_model_from_scratch_is_measured_alone_and_its_gate_is_not_passed_over_in_silence(from_scratch):
    scores = read_scores(from_scratch.stage("evaluate") / "scores.json")
    assert scores.models == {"tuned": "scratch"}
    assert {"perplexity", "continuation.chrf", "general_perplexity"} <= set(scores.metrics)
    assert (scores.verdict, scores.gates) == ({}, [])
    assert [one.message for one in scores.warnings if one.kind == "skipped" and "max_increase" in one.message]


def test_canaries_that_a_recipe_plants_are_measured_and_told(from_scratch):
    planted = json.loads((from_scratch.stage("prepare") / "canaries.json").read_text())
    check = read_scores(from_scratch.stage("evaluate") / "scores.json").checks["canaries"]["tuned"]
    assert [one["document_id"] for one in check["exposures"]] == [one["document_id"] for one in planted]
    assert len(planted) == 3
    assert check["memorised"] is False, "it has made two steps"

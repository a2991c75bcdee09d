"""Another model on what a run has held out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from conftest import SHAPE, WORDS, steep
from steep.errors import ModelError, SteepError, UsageError
from steep.models import new_model, train_tokenizer
from steep.other_model import evaluate_other_model
from steep.scores import read_scores


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A folder with a model whose tokenizer is its own."""
    folder = tmp_path_factory.mktemp("models") / "other"
    tokenizer = train_tokenizer([WORDS] * 20, vocab_size=300, model_max_length=256)
    new_model(SHAPE, tokenizer, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_another_model_is_measured_beside_the_run(small_recipe, copied_run, other_model):
    own = copied_run / "small" / "evaluate" / "scores.json"
    before = own.read_bytes()
    first = steep("evaluate", small_recipe, "--model", other_model, "--runs", copied_run, cwd=copied_run)
    assert (first.returncode, first.stderr) == (0, "")
    folder = Path(re.search(r"\nIn (\S+); beside the run: steep compare \S+ \1\n", first.stdout)[1])
    assert folder.parent == copied_run / "small" / "evaluations"
    scores = read_scores(folder / "scores.json")
    assert scores.models == {"base": "base", "few_shot": "base, few-shot", "tuned": str(other_model)}
    assert set(scores.metrics["perplexity"].models) == {"base", "few_shot"}
    assert set(scores.metrics["bits_per_byte"].models) == {"base", "few_shot", "tuned"}
    again = steep("evaluate", small_recipe, "--model", other_model, "--runs", copied_run, cwd=copied_run)
    assert again.stdout == first.stdout
    assert read_scores(folder / "scores.json") == scores
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert own.read_bytes() == before
    compared = steep("compare", copied_run / "small", folder, "--json", cwd=copied_run)
    found = json.loads(compared.stdout)["runs"]
    assert (
        found["small/" + folder.name]["metrics"]["bits_per_byte"]
        == scores.metrics["bits_per_byte"].models["tuned"].model_dump()
    )


def test_the_folder_that_is_stood_in_can_be_the_other_model(small_recipe, copied_run, other_model, monkeypatch):
    kept = copied_run / "small" / "evaluations" / "earlier"
    kept.mkdir(parents=True)
    monkeypatch.chdir(other_model)
    _, folder = evaluate_other_model(small_recipe, ["evaluate=[perplexity]"], ".", runs=copied_run)
    assert folder.parent == kept.parent
    assert folder.name.endswith("-other")
    assert kept.exists()


def test_a_model_that_is_none_is_named_before_any_work(small_recipe, copied_run, monkeypatch):
    monkeypatch.setattr("steep.models.load_model", lambda *args, **options: pytest.fail("a model was loaded"))
    with pytest.raises(ModelError, match=r"cannot load the tokenizer '\./nowhere': there is no such folder"):
        evaluate_other_model(small_recipe, [], "./nowhere", runs=copied_run)


@pytest.mark.parametrize(("override", "missing"), [("name=another", "gather"), ("prepare.lowercase=true", "prepare")])
def test_another_model_needs_what_this_recipe_holds_out(small_recipe, copied_run, override, missing):
    with pytest.raises(
        UsageError, match=rf"evaluate --model needs the stage {missing}, .* `steep {missing} small.yaml`"
    ):
        evaluate_other_model(small_recipe, [override], "tiny", runs=copied_run)
    assert not (copied_run / "another").exists()


def test_what_a_full_disk_or_memory_does_to_another_model_is_explained(small_recipe, copied_run, monkeypatch):
    def full(*args):
        raise MemoryError

    monkeypatch.setattr("steep.stages.evaluation.evaluate_other", full)
    with pytest.raises(SteepError, match=r"out of memory: lower prepare\.max_length or the batch_size"):
        evaluate_other_model(small_recipe, [], "tiny", runs=copied_run)


@pytest.mark.parametrize("changed", [False, True])
def test_an_interruption_is_gone_on_from_unless_the_model_has_changed(
    small_recipe, copied_run, other_model, monkeypatch, changed
):
    kept = []

    def interrupted(bench, results, name):
        kept.append({path.name: path.stat().st_mtime_ns for path in bench.stage.work.glob("*.jsonl")})
        raise KeyboardInterrupt

    monkeypatch.setattr("steep.stages.evaluation.Bench.finish", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate_other_model(small_recipe, ["evaluate=[perplexity]"], str(other_model), runs=copied_run)
        if changed:
            os.utime(other_model / "config.json")
    assert set(kept[0]) == {"base.jsonl", "tuned.jsonl"}
    assert (kept[0] != kept[1]) == changed

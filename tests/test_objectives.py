"""Runs whose training is not on texts alone, through the command line to the report: pairs, scores, rounded weights."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import SHAPE, WORDS
from steep.config import recipe_from_stored
from steep.errors import ModelError, UsageError
from steep.evaluate import evaluate_model
from steep.models import fit_vocabulary, load_model, load_tokenizer, new_model
from steep.other_model import evaluate_other_model
from steep.recipe.evaluate import EvaluateStep
from steep.runs import Run
from steep.scores import Scores, read_scores
from steep.speaking import Decoding, answer_prompt
from steep.stages import Stage
from steep.stages.evaluation import evaluate

PAIRS = """
name: NAME
gather:
  - files: pairs.jsonl
clean: [whitespace]
prepare:
  template: pair.jinja
  max_length: 64
  split: {test: 0.25, validation: 0.1}
model: {base: base}
train: {objective: NAME, learning_rate: 1.0e-2, max_steps: 6, batch_size: 2, dtype: float32, eval_steps: 3}
"""
DPO = """
evaluate:
  - perplexity
  - completion: {max_new_tokens: 4, metrics: [f1]}
  - preference
"""
NF4 = """
name: nf4
gather:
  - files: pairs.jsonl
clean: [whitespace]
prepare: {max_length: 64, split: {test: 0.25}}
model: {base: base, quantization: nf4, added_tokens: [teapot]}
train: {learning_rate: 1.0e-2, max_steps: 6, batch_size: 2, dtype: float32}
evaluate:
  - perplexity
  - continuation: {max_new_tokens: 4, metrics: [chrf]}
"""
TEMPLATE = "{% block prompt %}Say what {{ n }} says:{% endblock %}{% block chosen %} {{ good }}{% endblock %}"
TEMPLATE += "{% block rejected %} {{ bad }}{% endblock %}"


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    """Recipes, the base model and pairs of answers that are easily told apart."""
    folder = tmp_path_factory.mktemp("objectives")
    new_model(SHAPE, tokenizer, seed=0).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(draw.choices(WORDS.split(), k=count))

    rows = [
        {"text": words(16), "n": words(3), "good": f"The kettle sings {words(3)}", "bad": f"Nobody minded {words(3)}"}
        for _ in range(48)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pair.jinja").write_text(TEMPLATE)
    (folder / "dpo.yaml").write_text(PAIRS.replace("NAME", "dpo") + DPO)
    (folder / "reward.yaml").write_text(PAIRS.replace("NAME", "reward"))
    (folder / "nf4.yaml").write_text(NF4)
    return folder


def finished(folder: Path, name: str) -> Path:
    """The folder of a run that has come to its end."""
    program = str(Path(sys.executable).with_name("steep"))
    done = subprocess.run(
        [program, "run", f"{name}.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (folder / f"{name}.txt").write_text(done.stdout)
    return folder / "runs" / name


@pytest.fixture(scope="module")
def dpo(folder):
    return finished(folder, "dpo")


@pytest.fixture(scope="module")
def reward(folder):
    return finished(folder, "reward")


@pytest.fixture(scope="module")
def nf4(folder):
    return finished(folder, "nf4")


def scores(run: Path) -> Scores:
    return read_scores(run / "evaluate" / "scores.json")


def test_dpo_makes_the_tuned_model_prefer_what_was_chosen(dpo):
    found = scores(dpo)
    assert found.metrics["preference"].models["tuned"].value == 1
    assert found.metrics["preference"].differences["base"].verdict == "better"
    assert "preference_sum" in found.metrics
    assert found.metrics["preference_sum"].differences["base"].verdict is None, "it would enter twice"


def test_the_chosen_answers_of_pairs_are_what_the_other_steps_measure(dpo):
    assert {"perplexity", "completion.f1"} <= set(scores(dpo).metrics)
    sample = json.loads((dpo / "evaluate" / "samples.jsonl").read_text().splitlines()[0])
    assert sample["reference"].startswith(" The kettle sings")


def test_a_report_shows_the_validation_loss_and_the_preference_while_training(dpo):
    page = (dpo / "report.html").read_text()
    assert "diamonds: validation loss" in page
    assert "Preference: share of the batch’s pairs whose chosen answer is preferred" in page


def test_of_a_reward_model_the_preference_alone_is_measured_and_makes_the_verdict(reward):
    found = scores(reward)
    assert set(found.metrics) == {"preference", "preference_sum"}
    assert set(found.metrics["preference_sum"].models) == {"base"}
    assert found.metrics["preference"].models["tuned"].value == 1
    assert found.verdict == {"base": "better"}


def test_it_is_said_that_a_reward_model_and_its_base_are_judged_differently(folder, reward):
    told = "The tuned model is a reward model and judged by its scores; the base is the language model it started from"
    assert told in " ".join((folder / "reward.txt").read_text().split())
    page = (reward / "report.html").read_text()
    assert told in page
    assert "log-likelihood per token" in page


def test_nobody_is_told_to_let_a_reward_model_write(folder, dpo, reward):
    assert "Try it: steep generate runs/dpo" in (folder / "dpo.txt").read_text()
    assert "Try it" not in (folder / "reward.txt").read_text()


GREEDY = Decoding(max_tokens=4, temperature=0.0, top_p=1.0, seed=0)


def test_a_reward_model_writes_nothing_but_its_base_does(reward):
    with pytest.raises(UsageError, match=r"reward is a reward model: it scores answers and writes none.*\(--base\)"):
        next(answer_prompt(str(reward), "The kettle", GREEDY, base=False))
    assert "".join(answer_prompt(str(reward), "The kettle", GREEDY, base=True))


def test_the_base_model_is_measured_as_rounded_as_the_tuned_one(folder, nf4):
    tokenizer = load_tokenizer(str(folder / "base"), added_tokens=["teapot"])
    rows = read_rows(nf4 / "prepare" / "test.parquet")
    steps = [EvaluateStep.model_validate("perplexity")]
    values = {}
    for quantization in ("nf4", "none"):
        model = load_model(str(folder / "base"), dtype=torch.float32, quantization=quantization)
        fit_vocabulary(model, tokenizer)
        nats, tokens = evaluate_model(model, tokenizer, rows, steps, max_length=64).measured["perplexity"].rows.sum(0)
        values[quantization] = float(torch.tensor(nats / tokens).exp())
    found = scores(nf4).metrics["perplexity"].models["base"].value
    assert found == pytest.approx(values["nf4"], rel=1e-6)
    assert found != pytest.approx(values["none"], rel=1e-4)


def read_rows(path: Path) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def test_a_quantised_run_with_added_tokens_learns_and_answers(nf4):
    found = scores(nf4).metrics["perplexity"].models
    assert found["tuned"].value < found["base"].value
    tuned, base = ("".join(answer_prompt(str(nf4), "The kettle", GREEDY, base=base)) for base in (False, True))
    assert tuned != base


def test_the_report_names_method_objective_and_rounding(nf4):
    page = (nf4 / "report.html").read_text()
    assert "base, in nf4" in page
    assert "LoRA, rank 16, alpha 32" in page


def test_a_reward_model_stands_in_for_another_as_what_it_is(folder, reward):
    own = scores(reward).metrics["preference"].models
    _, other = evaluate_other_model(folder / "reward.yaml", [], str(reward / "train" / "adapter"), runs=folder / "runs")
    assert read_scores(other / "scores.json").metrics["preference"].models == own


@pytest.fixture
def other_ids(nf4, tmp_path) -> Run:
    """A copy of the run whose proof of the template says that a token was another one in training."""
    run = Run(tmp_path / "nf4")
    shutil.copytree(nf4, run.folder)
    proof = run.folder / "prepare" / "template.json"
    changed = json.loads(proof.read_text())
    changed["proof"][0]["sequences"][0]["input_ids"][3] += 1
    proof.write_text(json.dumps(changed))
    return run


DIFFERS = "template differs between training and serving: .* token 3"


def test_a_run_is_not_evaluated_with_other_token_ids_than_it_was_trained_on(folder, other_ids):
    stage = Stage(other_ids, recipe_from_stored(other_ids.read()["recipe"]), folder, other_ids.partial("evaluate"))
    with pytest.raises(ModelError, match=f"^evaluate: {DIFFERS}"):
        evaluate(stage)


@pytest.mark.parametrize("base", [True, False])
def test_nor_does_it_answer_with_other_token_ids(other_ids, base):
    with pytest.raises(ModelError, match=f"^generate: {DIFFERS}"):
        next(answer_prompt(str(other_ids.folder), "The kettle", GREEDY, base=base))

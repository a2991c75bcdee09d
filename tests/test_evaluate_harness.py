from __future__ import annotations

import importlib.metadata
import json
import math
import shutil
import subprocess
import sys

import pytest
import torch

from conftest import SHAPE
from steep.config import read_recipe
from steep.errors import SteepError, UsageError
from steep.evaluate.ledger import Ledger
from steep.evaluate.values import value_of
from steep.metrics import metric
from steep.models import new_model
from steep.preflight import examine
from steep.recipe.evaluate import LmEval
from steep.terminal import QUIET

pytest.importorskip("lm_eval")

from steep.evaluate.harness import run_tasks
from steep.evaluate.harness_tasks import MISSING, harness_mistakes

QUESTIONS = [
    {"question": "The kettle sings when the water is", "choices": ["ready", "a quick brown fox"], "gold": 0},
    {"question": "A quick brown fox jumps over the", "choices": ["lazy dog", "numbers"], "gold": 0},
    {"question": "Rain fell on the", "choices": ["harbour", "roof all morning"], "gold": 1},
    {"question": "And nobody", "choices": ["minded", "punctuation"], "gold": 1},
    {"question": "By the harbour", "choices": ["wall", "all here"], "gold": 1},
]
TEXTS = ["Rain fell on the roof.", "The kettle sings when the water is ready.", "numbers 1 2 3"]
TASK = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
output_type: {kind}
metadata: {{version: 2.5}}
"""
CHOICE = """
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: f1, aggregation: f1, higher_is_better: true}
"""
WRITING = """
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
filter_list:
  - {name: whole, filter: [{function: take_first}]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
READING = """
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""
GROUP = """
group: {name}
task: [choice, short]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {by_size}}}
metadata: {{version: 1}}
"""


def write_task(folder, name, kind, rest, rows):
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    head = TASK.format(task=name, kind=kind, data=data, cache=folder / "cache")
    (folder / f"{name}.yaml").write_text(head + rest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, tokenizer):
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder, "choice", "multiple_choice", CHOICE, QUESTIONS)
    write_task(folder, "short", "multiple_choice", CHOICE, QUESTIONS[2:4])
    rows = [{**one, "answer": "nothing like it"} for one in QUESTIONS]
    for number in (1, 2, 4):
        rows[number]["answer"] = greedy(model, tokenizer, rows[number]["question"], 6)
    write_task(folder, "writing", "generate_until", WRITING, rows)
    write_task(folder, "reading", "loglikelihood_rolling", READING, [{"text": text} for text in TEXTS])
    (folder / "pooled.yaml").write_text(GROUP.format(name="pooled", by_size="true"))
    (folder / "alike.yaml").write_text(GROUP.format(name="alike", by_size="false"))
    return folder


@pytest.fixture(scope="module")
def model(tokenizer):
    return new_model(SHAPE, tokenizer, seed=0)


@pytest.fixture(scope="module", autouse=True)
def no_inventory_of_the_machine():
    """lm-evaluation-harness makes one for each call, with programs that take a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")
        yield


@pytest.fixture(scope="module")
def run(model, tokenizer, folder):
    def run(*tasks, batch_size=4, ledger=None, **options):
        wanted = LmEval(tasks=list(tasks), include_path=folder.name, **options)
        return run_tasks(model, tokenizer, wanted, folder=folder.parent, batch_size=batch_size, ledger=ledger)

    return run


@pytest.fixture(scope="module")
def harness(run):
    return run("choice", "reading", "writing", "pooled", "alike")


@pytest.fixture(scope="module")
def found(harness):
    return {one.name: one for one in harness.measures}


@pytest.fixture(scope="module")
def rights(model, tokenizer):
    return [right(model, tokenizer, question) for question in QUESTIONS]


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def log_likelihood(model, tokenizer, context, text):
    """By the definition, one text at a time."""
    given, whole = ids(tokenizer, context), ids(tokenizer, context + text)
    given = given or [tokenizer.bos_token_id]
    if not context:
        whole = given + whole
    with torch.no_grad():
        found = torch.log_softmax(model(torch.tensor([whole])).logits[0], -1)
    return float(sum(found[place - 1, whole[place]] for place in range(len(given), len(whole))))


def right(model, tokenizer, question):
    found = [log_likelihood(model, tokenizer, question["question"], f" {one}") for one in question["choices"]]
    return float(found.index(max(found)) == question["gold"])


def greedy(model, tokenizer, prompt, length):
    tokens = ids(tokenizer, prompt)
    start = len(tokens)
    for _ in range(length):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(tokens[start:], skip_special_tokens=True).split("\n")[0]


def test_multiple_choice_is_right_where_the_model_finds_the_right_choice_likeliest(found, rights):
    assert 0 < sum(rights) < 5, "the questions must tell right from wrong"
    accuracy = found["lm_eval.choice.acc"]
    assert accuracy.value == pytest.approx(sum(rights) / 5)
    assert accuracy.better == "higher"
    assert accuracy.rows == {f"choice:{number}": [value, 1.0] for number, value in enumerate(rights)}


def test_an_answer_is_written_with_greedy_decoding_and_compared(found):
    equal = found["lm_eval.writing.exact_match,whole"]
    assert equal.value == pytest.approx(0.6)
    assert [value for value, _ in equal.rows.values()] == [0, 1, 1, 0, 1]


def test_perplexity_is_exp_of_nats_over_words_and_bits_per_byte_are_over_bytes(found, model, tokenizer):
    nats = [-log_likelihood(model, tokenizer, "", text) for text in TEXTS]
    words, bits = found["lm_eval.reading.word_perplexity"], found["lm_eval.reading.bits_per_byte"]
    assert (words.better, bits.better) == ("lower", "lower")
    assert words.rows == {
        f"reading:{number}": [pytest.approx(nats[number], rel=1e-5), len(text.split())]
        for number, text in enumerate(TEXTS)
    }
    assert words.value == pytest.approx(math.exp(sum(nats) / sum(len(text.split()) for text in TEXTS)), rel=1e-5)
    assert bits.value == pytest.approx(sum(nats) / math.log(2) / len("".join(TEXTS).encode()), rel=1e-5)


def test_the_rows_of_every_metric_give_the_harness_own_value(harness, found):
    measured = harness.measured()
    assert len(measured) == 7
    for name, one in measured.items():
        assert float(value_of(name)(one.rows.sum(axis=0))) == pytest.approx(found[name].value, rel=1e-6)


def test_a_figure_that_is_no_mean_over_questions_stands_alone(harness, found):
    assert found["lm_eval.choice.f1"].value is not None
    assert "lm_eval.choice.f1" not in harness.measured()


def test_a_group_counts_questions_alike_or_tasks_as_it_says(found, rights):
    long, short = sum(rights) / 5, sum(rights[2:4]) / 2
    assert long != short
    assert found["lm_eval.pooled.acc"].value == pytest.approx((5 * long + 2 * short) / 7)
    assert found["lm_eval.alike.acc"].value == pytest.approx((long + short) / 2)


def test_version_examples_in_the_prompt_and_number_of_questions_are_told(run):
    harness = run("choice", limit=3, num_fewshot=1)
    assert harness.tasks == {"choice": {"version": "2.5", "shots": 1, "questions": 3}}
    assert harness.version == importlib.metadata.version("lm_eval")


def test_what_the_ledger_knows_is_not_run_again(run, tmp_path, monkeypatch):
    run("choice", ledger=Ledger(tmp_path / "ledger.jsonl"))
    monkeypatch.delattr("steep.evaluate.harness_model.HarnessModel.loglikelihood")
    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.loglikelihood", None)
    again = run("choice", "writing", ledger=Ledger(tmp_path / "ledger.jsonl"))
    assert list(again.tasks) == ["choice", "writing"]


def test_a_question_too_long_for_the_model_is_counted(run, folder):
    long = [{**QUESTIONS[0], "question": "Rain fell on the roof. " * 60}, QUESTIONS[1]]
    write_task(folder, "long", "multiple_choice", CHOICE, long)
    write_task(folder, "tale", "generate_until", WRITING, [{**one, "answer": "-"} for one in long])
    assert run("long", "tale", "choice").cut == {"long": 2, "tale": 1}


def test_the_tokenizer_is_left_as_it_was(run, tokenizer):
    pad, tokenizer.pad_token = tokenizer.pad_token, None
    try:
        run("choice")
        assert tokenizer.pad_token is None
    finally:
        tokenizer.pad_token = pad


def test_an_unknown_task_is_told_with_its_line_and_the_nearest_name_before_any_work(small_recipe, folder, tmp_path):
    text = small_recipe.read_text().replace("base: base", f"base: {small_recipe.parent / 'base'}")
    step = f"  - lm_eval:\n      include_path: {folder}\n      tasks:\n        - choice\n        - hellaswg\n"
    (tmp_path / "recipe.yaml").write_text(text + step)
    shutil.copy(small_recipe.parent / "texts.jsonl", tmp_path)
    with pytest.raises(UsageError) as caught:
        examine(read_recipe(tmp_path / "recipe.yaml"))
    line, last = len((text + step).splitlines()), len(read_recipe(small_recipe).recipe.evaluate)
    assert str(caught.value) == (
        f"{tmp_path / 'recipe.yaml'}:{line}: evaluate.{last}.lm_eval.tasks.1: lm-evaluation-harness has no task "
        f"'hellaswg', nor has {folder}: did you mean 'hellaswag'?"
    )


def test_a_folder_of_tasks_that_is_not_there_is_told(folder):
    ((place, said),) = harness_mistakes(LmEval(tasks=["x"], include_path="nowhere"), folder)
    assert (place, said) == (("include_path",), f"there is no folder {folder / 'nowhere'}")


def test_the_missing_package_is_told_with_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert harness_mistakes(LmEval(tasks=["choice"]), folder) == [((), MISSING)]
    assert "pip install 'steep[lm-eval]'" in MISSING


def test_a_task_whose_data_cannot_be_fetched_is_named(run, folder):
    (folder / "far.yaml").write_text("task: far\ndataset_path: nobody/nothing\ntest_split: test\n" + CHOICE)
    with pytest.raises(SteepError, match=r"the task far cannot be loaded: its data set is not in the cache and cannot"):
        run("far")


def test_a_task_whose_definition_is_wrong_is_named_with_its_error(run, folder):
    write_task(folder, "broken", "multiple_choice", CHOICE, [{"question": "x", "choices": ["a", "b"]}])
    with pytest.raises(SteepError, match=r"the task broken cannot be loaded \(UndefinedError: 'gold' is undefined\)"):
        run("broken")


def test_a_task_that_fails_at_work_is_named_with_its_error(run, folder):
    endless = WRITING.replace("max_gen_toks: 6", "max_gen_toks: 256")
    write_task(folder, "endless", "generate_until", endless, [{"question": "x", "answer": "y"}])
    with pytest.raises(
        SteepError, match=r"the task endless failed \(AssertionError.*\(256\) must be less than model's"
    ):
        run("endless")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("unsafe_code: true", "runs programs that the model writes"),
        ("doc_to_image: [question]", "shows pictures or plays sounds"),
    ],
)
def test_a_task_that_is_not_for_steep_is_refused(run, folder, more, reason):
    write_task(folder, "odd", "multiple_choice", CHOICE + more, QUESTIONS)
    with pytest.raises(UsageError, match=f"the task odd {reason}.*leave it out"):
        run("odd")


def test_a_metric_that_is_a_program_of_the_hub_is_refused(run, folder):
    measured = WRITING.replace("metric: exact_match,", "metric: exact_match, hf_evaluate: true,")
    write_task(folder, "remote", "generate_until", measured, [{"question": "x", "answer": "y"}])
    with pytest.raises(UsageError, match=r"the task remote is measured by a program of the hub.*leave it out"):
        run("remote")


def test_metrics_have_a_label_and_are_no_part_of_the_verdict():
    found = metric("lm_eval.gsm8k.exact_match,strict-match")
    assert (found.label, found.told) == ("gsm8k.exact_match,strict-match", False)


PROGRAM = """
import sys
from pathlib import Path
from steep.evaluate.harness import run_tasks
from steep.models import load_model, load_tokenizer
from steep.recipe.evaluate import LmEval
base, folder = sys.argv[1:]
import torch
options = LmEval(tasks=["choice", "reading"], include_path=folder)
run_tasks(load_model(base, dtype=torch.float32), load_tokenizer(base), options, folder=Path(), batch_size=4)
"""


def test_nothing_is_said_on_the_terminal(model, tokenizer, folder, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(folder)],
        env={**QUIET, "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)

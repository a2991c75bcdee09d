"""`steep generate`: which model answers."""

from __future__ import annotations

import json
import time

import pytest

from steep.errors import RunError, UsageError
from steep.runs import Run
from steep.speaking import Decoding, answer_file, answer_prompt, load

GREEDY = Decoding(max_tokens=8, temperature=0.0, top_p=1.0, seed=0)
PROMPT = "The kettle sings when"


@pytest.fixture
def run(small_run):
    return small_run.cwd / "runs" / "small"


def test_the_answer_comes_piece_by_piece(run):
    pieces = list(answer_prompt(str(run), PROMPT, GREEDY, base=False))
    assert len(pieces) > 2


def test_the_tuned_model_answers_otherwise_than_its_base(run):
    tuned, base = ("".join(answer_prompt(str(run), PROMPT, GREEDY, base=base)) for base in (False, True))
    assert tuned != base


def test_a_run_answers_as_the_model_that_it_saved(run):
    saved = answer_prompt(str(run / "train" / "model"), PROMPT, GREEDY, base=False)
    assert list(answer_prompt(str(run), PROMPT, GREEDY, base=False)) == list(saved)


def test_base_answers_as_the_model_that_training_started_from(run, small_recipe):
    folder = str(small_recipe.parent / "base")
    base = list(answer_prompt(str(run), PROMPT, GREEDY, base=True))
    assert base == list(answer_prompt(folder, PROMPT, GREEDY, base=False))


def test_the_seed_decides_what_is_sampled(run):
    one, same, other = (
        "".join(answer_prompt(str(run), PROMPT, Decoding(8, 1.0, 1.0, seed), base=False)) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_file_of_prompts_goes_on_where_it_stopped(run, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text('"The kettle"\n{"prompt": "Rain fell", "id": 7}\n')
    assert answer_file(str(run), prompts, output, GREEDY, base=False) == 2
    whole = output.read_text()
    assert [json.loads(line)["prompt"] for line in whole.splitlines()] == ["The kettle", "Rain fell"]
    output.write_text(whole[: whole.index("\n") + 9])  # as a kill in the middle of the second line leaves it
    assert answer_file(str(run), prompts, output, GREEDY, base=False) == 1
    assert output.read_text() == whole


def test_answers_of_base_and_tuned_model_do_not_mix(run, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text('"The kettle"\n')
    answer_file(str(run), prompts, output, GREEDY, base=False)
    with pytest.raises(
        UsageError, match=r"made with model .*small \(training .*\) instead of .*small \(base, training"
    ):
        answer_file(str(run), prompts, output, GREEDY, base=True)


def test_answers_from_before_and_after_another_training_do_not_mix(copied_run, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text('"The kettle"\n')
    run = Run(copied_run / "small")
    answer_file(str(run.folder), prompts, output, GREEDY, base=False)
    run.update("stages", "train", run.read()["stages"]["train"] | {"fingerprint": "another"})
    with pytest.raises(UsageError, match=r"made with model .* instead of .*small \(training another\)"):
        answer_file(str(run.folder), prompts, output, GREEDY, base=False)


def test_a_prompt_that_is_no_text_is_refused_before_a_model_is_loaded():
    with pytest.raises(UsageError, match="the prompt is not valid text"):
        next(answer_prompt("no/such/model", "caf\udce9", GREEDY, base=False))


def test_a_prompt_file_with_a_bad_line_is_refused_before_a_model_is_loaded(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('"good"\n{"promt": "x"}\n')
    with pytest.raises(
        UsageError, match=r'prompts\.jsonl:2: neither a JSON string nor an object with a string "prompt"'
    ):
        answer_file("no/such/model", tmp_path / "prompts.jsonl", tmp_path / "out.jsonl", GREEDY, base=False)


def test_an_unknown_run_is_named_with_those_that_are_there_at_once(small_run):
    begin = time.monotonic()
    runs = small_run.cwd / "runs"
    with pytest.raises(UsageError, match=rf"there is no {runs}/smal; runs in {runs}: {runs}/small$"):
        load(str(runs / "smal"), base=False)
    assert time.monotonic() - begin < 1  # the network is not asked


def test_base_needs_a_run(small_recipe):
    with pytest.raises(UsageError, match=r"--base needs a run's folder, and .*base holds no run\.json"):
        load(str(small_recipe.parent / "base"), base=True)


def test_a_run_that_has_not_trained_says_so(copied_run):
    Run(copied_run / "small").discard(("train", "evaluate"))
    with pytest.raises(RunError, match="the stage train is not finished"):
        load(str(copied_run / "small"), base=False)


def test_a_run_speaks_where_the_place_of_its_data_is_not_known(copied_run):
    run = Run(copied_run / "small")
    record = run.read()
    record["recipe"]["gather"][0]["files"] = "${STEEP_TEST_NOWHERE}/texts.jsonl"
    run.write(record)
    assert load(str(run.folder), base=False)

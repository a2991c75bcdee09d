from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.evaluate.memorization import Run, longest_runs, memorization, memorization_warning

TRAINING = [list(range(100, 160)), list(range(200, 300)), [7, 8, 9] * 30]
ELSEWHERE = list(range(1000, 1040))


def run_of(answer: Sequence[int], training: Sequence[Sequence[int]] = TRAINING, prompt: Sequence[int] = ()) -> Run:
    (run,) = longest_runs([answer], iter(training), prompts=[prompt])
    return run


def test_the_longest_run_is_told_with_its_place_and_its_training_text() -> None:
    answer = [1, 2, *range(110, 115), 3, *range(240, 260), 4]
    assert run_of(answer) == Run(length=20, start=8, row=1, copied=0, prompt_known=False)


def test_a_run_never_crosses_from_one_training_text_into_the_next() -> None:
    run = run_of([*range(150, 160), *range(200, 230)])
    assert (run.length, run.start, run.row) == (30, 10, 1)


def test_an_answer_that_shares_no_token_has_no_run() -> None:
    assert run_of(ELSEWHERE) == Run(0, 0, None, 0, False)


def test_tokens_in_another_order_are_no_run() -> None:
    assert run_of(list(range(240, 200, -1))).length == 1


def test_the_first_of_several_training_texts_is_told() -> None:
    assert run_of([5, 6], [[1], [5, 6], [5, 6]]).row == 1


def test_what_stands_in_the_prompt_may_be_copied_and_is_not_memorised() -> None:
    run = run_of(list(range(200, 240)), prompt=[1, *range(200, 240), 2])
    assert run.memorised == 0


def test_a_run_counts_from_where_the_prompts_text_ends() -> None:
    run = run_of([*range(200, 240)], prompt=range(190, 215))
    assert (run.memorised, run.start) == (25, 15)


def test_a_memorised_run_is_told_even_where_a_longer_one_is_copied() -> None:
    run = run_of([*range(200, 240), 1, *range(100, 120)], prompt=range(200, 240))
    assert (run.memorised, run.start, run.row) == (20, 41, 0)


@pytest.mark.parametrize(("prompt", "known"), [(range(110, 130), True), ([1, *range(110, 130)], False), ([], False)])
def test_a_prompt_is_known_where_all_of_it_stands_in_a_training_text(prompt: Sequence[int], known: bool) -> None:
    assert run_of(ELSEWHERE, prompt=prompt).prompt_known is known


def test_a_prompt_across_two_training_texts_is_not_known() -> None:
    assert not run_of(ELSEWHERE, prompt=[159, 200]).prompt_known


def test_training_text_in_many_portions_gives_the_same_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, prompts = [[1, *range(120, 140)], list(range(250, 299)), [8, 9, 7, 8]], [[115, 116], [], [9, 7]]
    whole = longest_runs(answers, TRAINING, prompts=prompts)
    monkeypatch.setattr("steep.evaluate.memorization.AT_ONCE", 1)
    assert longest_runs(answers, TRAINING, prompts=prompts) == whole
    assert [run.row for run in whole] == [0, 1, 2]


@pytest.mark.parametrize("training", [[], [[]], [[], [5], []]])
def test_empty_training_texts_and_answers_do_no_harm(training: list[list[int]]) -> None:
    assert [run.length for run in longest_runs([[], [6]], training, prompts=[[], []])] == [0, 0]
    assert longest_runs([], training, prompts=[]) == []


tokens = st.lists(st.integers(0, 3), max_size=12)


def plain(answer: list[int], training: list[list[int]], prompt: list[int]) -> int:
    """By the definition alone: the most that a run has beyond what stands in the prompt from its first token on."""

    def stands(part: list[int], text: list[int]) -> bool:
        return any(text[at : at + len(part)] == part for at in range(len(text) - len(part) + 1))

    best = 0
    for start in range(len(answer)):
        ends = range(start, len(answer) + 1)
        found = max(end for end in ends if any(stands(answer[start:end], text) for text in training) or end == start)
        copied = max(end for end in ends if stands(answer[start:end], prompt) or end == start)
        best = max(best, found - copied)
    return best


@settings(max_examples=150, deadline=None)
@given(answers=st.lists(tokens, max_size=4), training=st.lists(tokens, max_size=4), prompt=tokens)
def test_runs_are_those_of_the_definition(
    answers: list[list[int]], training: list[list[int]], prompt: list[int]
) -> None:
    runs = longest_runs(answers, training, prompts=[prompt] * len(answers))
    assert [run.memorised for run in runs] == [plain(answer, training, prompt) for answer in answers]
    for run, answer in zip(runs, answers, strict=True):
        part = answer[run.start : run.start + run.length]
        text = training[run.row] if run.row is not None else []
        assert any(text[at : at + run.length] == part for at in range(len(text) + 1))


# ---------------------------------------------------------------------------------------------------------- the figures


def test_the_share_of_answers_with_a_run_that_is_long_enough() -> None:
    answers = [list(range(200, 250)), [*range(200, 249), 1], ELSEWHERE, [200]]
    found = memorization(longest_runs(answers, TRAINING, prompts=[[]] * 4), answers, 50)
    assert (found.answers, found.long_enough, found.memorised, found.share) == (4, 2, 1, 0.25)
    assert (found.longest, found.median) == (50, 25.0)


def test_what_is_new_in_an_answer_is_told_apart_by_whether_its_prompt_stands_in_the_training_text() -> None:
    answers = [[*range(210, 220), *ELSEWHERE[:30]], ELSEWHERE]
    found = memorization(longest_runs(answers, TRAINING, prompts=[range(200, 210), [1]]), answers, 5)
    assert (found.known_prompts, found.new_after_known, found.new_after_other) == (1, 0.75, 1.0)


def test_nothing_answered_is_nothing_memorised() -> None:
    found = memorization([], [], 50)
    assert (found.share, found.longest, found.new_after_known, found.new_after_other) == (0.0, 0, None, None)


def figures(memorised: int, length: int = 60) -> tuple[list[Run], list[list[int]]]:
    runs = [Run(length if number < memorised else 4, 0, 0, 0, False) for number in range(10)]
    return runs, [[1] * length] * 10


def test_the_warning_says_how_many_and_how_many_of_the_base_model() -> None:
    message = memorization_warning(memorization(*figures(3), 50), memorization(*figures(1), 50))
    assert message == (
        "the tuned model repeats its training text: 3 of 10 answers hold 50 tokens or more of it word for word, of the "
        "base model's 1 of 10; the longest run has 60 tokens"
    )


@pytest.mark.parametrize(("tuned", "base"), [(0, 0), (2, 2), (1, 3)])
def test_there_is_no_warning_where_the_base_model_repeats_as_much(tuned: int, base: int) -> None:
    assert memorization_warning(memorization(*figures(tuned), 50), memorization(*figures(base), 50)) is None


def test_answers_too_short_to_hold_a_run_are_said_to_be() -> None:
    message = memorization_warning(memorization(*figures(3, length=32), 50))
    assert message is not None
    assert message.startswith("memorisation was not measured: no answer has 50 tokens; raise max_new_tokens")

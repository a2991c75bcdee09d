from __future__ import annotations

import pytest

from steep.config import load_recipe
from steep.errors import RecipeError, SteepError
from steep.evaluate.completion import as_answers, tasks

PROMPT = "What sings when the water is ready? "
ANSWER = "The kettle sings."


def made(tokenizer, *examples, window=256, max_new_tokens=128):
    rows = [{"document_id": str(number)} | example for number, example in enumerate(examples)]
    return tasks(rows, tokenizer, max_new_tokens, window)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def whole(tokenizer):
    """Tokens of prompt, completion, BOS and EOS."""
    return len(ids(tokenizer, PROMPT)) + len(ids(tokenizer, ANSWER)) + 2


def test_the_whole_prompt_is_given_and_the_completion_is_the_reference(tokenizer):
    (task,) = made(tokenizer, {"prompt": PROMPT, "completion": ANSWER}, max_new_tokens=40)
    assert task.prompt_ids == [tokenizer.bos_token_id, *ids(tokenizer, PROMPT)]
    assert (task.prompt, task.reference, task.limit) == (PROMPT, ANSWER, 40)


def test_the_reference_is_whole_where_an_answer_may_not_be_as_long(tokenizer):
    (task,) = made(tokenizer, {"prompt": PROMPT, "completion": ANSWER}, max_new_tokens=2)
    assert (task.reference, task.limit) == (ANSWER, 2)


def test_an_answer_may_be_as_long_as_the_window_leaves_room(tokenizer):
    window = whole(tokenizer) + 3
    (task,) = made(tokenizer, {"prompt": PROMPT, "completion": ANSWER}, window=window)
    assert len(task.prompt_ids) + task.limit == window


def test_an_example_that_just_fits_is_asked_and_one_token_more_leaves_it_out(tokenizer):
    short, long = {"prompt": "A ", "completion": "b"}, {"prompt": PROMPT, "completion": ANSWER}
    assert [task.example for task in made(tokenizer, long, short, window=whole(tokenizer))] == [0, 1]
    assert [task.example for task in made(tokenizer, long, short, window=whole(tokenizer) - 1)] == [1]


def test_special_tokens_of_a_template_are_no_part_of_the_reference(tokenizer):
    (task,) = made(tokenizer, {"prompt": PROMPT, "completion": f"{ANSWER}</s>"})
    assert task.reference == ANSWER
    assert as_answers([f"{ANSWER}</s>", "茶道"], tokenizer) == [ANSWER, "茶道"]


def test_without_prompts_the_message_says_which_templates_have_them(tokenizer):
    with pytest.raises(SteepError, match=r"have no prompt\. Choose a prepare\.template .* such as alpaca"):
        made(tokenizer, {"text": ANSWER})


def test_where_no_prompt_fits_the_message_says_what_to_raise(tokenizer):
    with pytest.raises(SteepError, match=r"none of the 1 held-out prompts fits into 8 tokens .* prepare\.max_length"):
        made(tokenizer, {"prompt": PROMPT, "completion": ANSWER}, window=8)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("completion", "completion needs a template with prompt and completion, such as alpaca; plain has neither"),
        (
            "completion: {format: {json_schema: {type: text}}}",
            "json_schema is no JSON Schema, at $.type: 'text' is not",
        ),
        ("completion: {format: {}}", "give either `pattern` or `json_schema`"),
    ],
)
def test_a_recipe_that_cannot_be_measured_so_is_refused_before_any_work(tmp_path, step, message):
    recipe = tmp_path / "a.yaml"
    recipe.write_text(f"name: a\ngather: [files: a.txt]\nprepare: {{template: plain}}\nevaluate:\n  - {step}\n")
    with pytest.raises(RecipeError) as refused:
        load_recipe(recipe)
    assert message in str(refused.value)

"""What each template makes of a document, and what it says when it cannot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from steep.errors import UsageError
from steep.prepare.builtin import SOURCES
from steep.prepare.expressions import Skipped
from steep.prepare.templates import document_variables, is_empty, load_template
from steep.recipe import TEMPLATES, Prepare
from steep.records import Document


def render(document: Document, folder: Path = Path(), **options) -> dict[str, str]:
    template = load_template(Prepare(**options), folder)
    variables = document_variables(document.row())
    template.check(set(variables), document.id)
    return template.render({name: value for name, value in variables.items() if not is_empty(value)}, document.id)


def jinja_file(folder: Path, source: str) -> dict:
    (folder / "own.jinja").write_text(source, encoding="utf-8")
    return {"folder": folder, "template": "own.jinja"}


TEA = Document(text="Green tea is Steeped cool.", title="On Green Tea", meta={"topic": "Tea", "tags": ["a", "b"]})


def test_every_template_that_a_recipe_may_name_exists():
    assert tuple(SOURCES) == TEMPLATES


def test_plain_is_the_text_alone():
    assert render(TEA) == {"text": "Green tea is Steeped cool."}


def test_title_description_asks_with_the_title_and_answers_with_the_text():
    assert render(TEA, template="title-description") == {
        "prompt": "### title: On Green Tea ### description:",
        "completion": " Green tea is Steeped cool.",
    }


def test_title_description_prefers_the_description_of_the_document():
    described = Document(text="Long story.", title="T", meta={"description": "Short story."})
    assert render(described, template="title-description")["completion"] == " Short story."


def test_a_field_of_the_recipe_wins_over_the_document():
    described = Document(text="Long story.", title="T", meta={"description": "Short story."})
    made = render(described, template="title-description", fields={"description": "{{ text }}"})
    assert made["completion"] == " Long story."


def test_lowercase_spares_the_template_itself():
    made = render(TEA, template="llama-2", lowercase=True, fields={"prompt": "Write about {{ title }}"})
    assert made == {"prompt": "[INST] write about on green tea [/INST]", "completion": " green tea is steeped cool."}


def test_alpaca_without_input():
    made = render(TEA, template="alpaca", fields={"instruction": "Describe {{ topic }}."})
    assert made["prompt"] == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nDescribe Tea.\n\n### Response:\n"
    )
    assert made["completion"] == "Green tea is Steeped cool."


def test_alpaca_with_input():
    made = render(
        TEA, template="alpaca", fields={"instruction": "Name it.", "input": "{{ text }}", "output": "{{ topic }}"}
    )
    assert made["prompt"] == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName it.\n\n### Input:\nGreen tea is Steeped cool.\n\n### Response:\n"
    )
    assert made["completion"] == "Tea"


def test_alpaca_leaves_the_input_out_where_what_fills_it_is_empty():
    bare = Document(text="x", title="T", meta={"topic": ""})
    assert "### Input" not in render(bare, template="alpaca", fields={"input": "On {{ topic }}"})["prompt"]


@pytest.mark.parametrize("template", ["alpaca", "llama-2", "llama-3"])
def test_without_fields_a_chat_template_asks_for_a_text_with_the_title(template):
    assert 'Write a text with the title "On Green Tea".' in render(TEA, template=template)["prompt"]


def test_llama_2_with_a_system_prompt():
    made = render(TEA, template="llama-2", fields={"system": "Be brief.", "prompt": "Tea?", "response": "Yes."})
    assert made == {"prompt": "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nTea? [/INST]", "completion": " Yes."}


def test_llama_3_with_a_system_prompt():
    made = render(TEA, template="llama-3", fields={"system": "Be brief.", "prompt": "Tea?", "response": "Yes."})
    assert made["prompt"] == (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nTea?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert made["completion"] == "Yes."


def test_columns_win_over_meta_and_dates_can_be_formatted(tmp_path):
    dated = Document(text="x", published=datetime(2024, 5, 1, tzinfo=UTC), meta={"text": "other"})
    assert render(dated, **jinja_file(tmp_path, "{{ published.year }} {{ text }}\n")) == {"text": "2024 x"}


def test_a_jinja_file_with_blocks_gives_prompt_and_completion(tmp_path):
    own = (
        "{# tea #}\n{% block prompt %}\nTags: {{ tags | join(', ') }}.{% endblock %}\n\n"
        "{% block completion %}\n {{ text }}{% endblock %}\n"
    )
    assert render(TEA, **jinja_file(tmp_path, own)) == {
        "prompt": "Tags: a, b.",
        "completion": " Green tea is Steeped cool.",
    }


def test_a_jinja_file_may_ask_about_a_variable_that_no_document_has(tmp_path):
    own = "{% if note is defined %}{{ note }}{% endif %}{{ author | default('Anon') }}: {{ subtitle or title }}"
    assert render(TEA, **jinja_file(tmp_path, own)) == {"text": "Anon: On Green Tea"}


@pytest.mark.parametrize("empty", [None, "", "  \n"])
def test_a_document_whose_needed_variable_is_empty_is_skipped_with_the_name_of_the_variable(empty):
    with pytest.raises(Skipped, match=r"^title is empty$"):
        render(Document(text="x", title=empty), template="title-description")


def test_a_field_without_its_variable_is_not_filled_with_the_rest_of_its_words():
    with pytest.raises(Skipped, match=r"^title is empty$"):
        render(Document(text="x"), template="alpaca", fields={"instruction": "Write about {{ title }}."})


def test_an_empty_field_does_not_fall_back_to_the_variable_that_it_replaces():
    described = Document(text="x", title="T", meta={"description": "Short story.", "subtitle": ""})
    with pytest.raises(Skipped, match=r"^subtitle is empty$"):
        render(described, template="title-description", fields={"description": "{{ subtitle }}"})


def test_zero_is_not_empty(tmp_path):
    assert render(Document(text="x", meta={"likes": 0}), **jinja_file(tmp_path, "{{ likes }}")) == {"text": "0"}


def test_a_text_that_renders_to_nothing_is_skipped(tmp_path):
    with pytest.raises(Skipped, match=r"^text is empty$"):
        render(TEA, **jinja_file(tmp_path, "{{ text | truncate(0, true, '', 0) }}"))


# ---------------------------------------------------------------------------------------------------------- errors


def refused(document: Document = TEA, folder: Path = Path(), **options) -> str:
    with pytest.raises(UsageError) as error:
        render(document, folder, **options)
    return str(error.value)


def test_a_missing_variable_is_named_with_template_document_and_what_there_is(tmp_path):
    message = refused(**jinja_file(tmp_path, "{{ headline }}"))
    assert message == (
        f"template own.jinja: document {TEA.id} has no variable 'headline'; documents have "
        "fetched, id, licence, owner, published, robots, source, tags, text, title, topic, url. "
        "Fill it with prepare.fields.headline"
    )


def test_a_missing_variable_of_a_field_names_the_field():
    message = refused(template="alpaca", fields={"instruction": "{{ titel }}"})
    assert message.startswith(f"prepare.fields.instruction: document {TEA.id} has no variable 'titel'")
    assert message.endswith("Did you mean 'title'?")


def test_a_field_that_the_template_does_not_use_is_refused():
    message = refused(template="alpaca", fields={"instrution": "x"})
    assert message == (
        "prepare.fields.instrution: template alpaca has no such variable; it uses input, instruction, output. "
        "Did you mean 'instruction'?"
    )


def test_a_missing_attribute_names_template_and_document(tmp_path):
    message = refused(**jinja_file(tmp_path, "{{ text.author }}"))
    assert message == f"template own.jinja: document {TEA.id}: 'str object' has no attribute 'author'"


def test_broken_jinja_is_named_by_line(tmp_path):
    assert f"{tmp_path / 'own.jinja'}:2: not valid Jinja" in refused(**jinja_file(tmp_path, "{{ text }}\n{% if %}"))


def test_broken_jinja_in_a_field_is_named_by_field():
    assert refused(fields={"text": "{{ text"}).startswith("prepare.fields.text:1: not valid Jinja")


def test_a_missing_file_is_named(tmp_path):
    assert f"prepare.template: cannot read {tmp_path / 'none.jinja'}" in refused(folder=tmp_path, template="none.jinja")


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "own.jinja").write_bytes(b"caf\xe9 {{ text }}")
    assert f"prepare.template: cannot read {tmp_path / 'own.jinja'}" in refused(folder=tmp_path, template="own.jinja")


def test_a_prompt_without_a_completion_is_refused(tmp_path):
    message = refused(**jinja_file(tmp_path, "{% block prompt %}x{% endblock %}"))
    assert message.endswith(
        "has blocks prompt; a template has the blocks prompt and completion, or prompt, chosen and rejected, or none"
    )


def test_text_outside_of_the_blocks_would_be_lost_and_is_refused(tmp_path):
    own = "{% block prompt %}x{% endblock %}\nlost\n{% block completion %}y{% endblock %}"
    assert "stands outside of the blocks prompt and completion" in refused(**jinja_file(tmp_path, own))


def test_a_template_cannot_reach_into_the_process(tmp_path):
    message = refused(**jinja_file(tmp_path, "{{ text.__class__.__mro__ }}"))
    assert "'__class__'" in message
    assert "unsafe" in message

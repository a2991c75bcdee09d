"""Conversations: what the assistant says is trained, by the chat template's own account of its turns."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import pytest

from steep.chat import BadConversation, conversation, segments, spoken
from steep.errors import ModelError
from steep.records import IGNORE
from steep.tokens import encode, text_ids

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who sings? ### assistant:"},
    {"role": "assistant", "content": "The kettle."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "When the water is ready."},
]
TURNS = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token if m.role == 'assistant' }}"
TURNS += "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


@pytest.fixture
def having(tokenizer):
    """The tokenizer with another chat template."""

    def make(template: str | None):
        other = copy.deepcopy(tokenizer)
        other.chat_template = template
        return other

    return make


@pytest.fixture
def llama(having):
    """The tokenizer with the special tokens of Llama 3, and a template that TRL ships."""

    def make(name: str):
        folder = Path(find_spec("trl").origin).parent / "chat_templates"
        other = having((folder / f"{name}.jinja").read_text("utf-8"))
        other.add_special_tokens({"additional_special_tokens": list(HEADERS)})
        other.bos_token, other.eos_token = "<|begin_of_text|>", "<|eot_id|>"
        return other

    return make


def trained(encoded, tokenizer) -> str:
    return tokenizer.decode([label for label in encoded.labels if label != IGNORE])


def talk(tokenizer, messages=TALK):
    return encode([{"messages": messages}], tokenizer, None)[0]


# -------------------------------------------------------------------------------------------- what is a conversation


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Tea?", "messages is no list"),
        ({"role": "user", "content": "Tea?"}, "messages is no list"),
        (["Tea?"], "messages holds what is no {role, content}"),
        ([{"from": "human", "value": "Tea?"}], "messages holds what is no {role, content}"),
        ([{"role": "human", "content": "Tea?"}], "messages has the unknown role 'human'"),
        ([{"role": "user", "content": " "}], "messages has a turn of the user without content"),
        ([{"role": "assistant", "content": None}], "messages has a turn of the assistant without content"),
        (TALK[:2], "messages has no turn of the assistant"),
        ([], "messages has no turn of the assistant"),
    ],
)
def test_what_is_no_conversation_is_told_why(value, reason):
    with pytest.raises(BadConversation) as bad:
        conversation(value)
    assert str(bad.value) == reason


def test_a_conversation_ends_with_the_assistants_last_turn():
    assert conversation([*TALK, {"role": "user", "content": "Thanks."}]) == TALK


def test_of_a_turn_only_role_and_content_are_kept():
    assert conversation([{**TALK[2], "weight": 1}]) == [TALK[2]]


def test_what_is_said_is_the_text_of_a_conversation():
    assert spoken(TALK[2:]) == "The kettle.\n\nWhen?\n\nWhen the water is ready."
    assert spoken(["The kettle."]) is spoken("The kettle.") is spoken([]) is None


# ------------------------------------------------------------------------------------------------- what is trained


def test_only_the_assistants_turns_and_the_eos_after_each_are_trained(tokenizer):
    assert trained(talk(tokenizer), tokenizer) == "The kettle.\n</s>When the water is ready.\n</s>"


def test_a_user_who_writes_the_assistants_marker_is_not_trained(tokenizer):
    assert "When?" not in trained(talk(tokenizer), tokenizer)


def test_segments_join_to_the_rendered_conversation(tokenizer):
    joined = "".join(segment.text for segment in segments(TALK, tokenizer))
    assert joined == tokenizer.apply_chat_template(TALK, tokenize=False)


@pytest.mark.parametrize("turn", [2, 4])
def test_before_each_answer_stand_the_ids_of_the_prompt_that_asks_for_it(tokenizer, turn):
    asked = tokenizer.apply_chat_template(TALK[:turn], tokenize=False, add_generation_prompt=True)
    (ids,) = text_ids([asked], tokenizer)
    encoded = talk(tokenizer)
    assert encoded.input_ids[: len(ids)] == ids
    assert encoded.labels[len(ids) - 1] == IGNORE
    assert encoded.labels[len(ids)] != IGNORE


def test_bos_stands_once_where_the_template_brings_it(tokenizer):
    ids = talk(tokenizer).input_ids
    assert (ids[0], ids.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)


def test_a_template_without_bos_is_taken_as_it_is(having):
    other = having(TURNS.replace("{{ bos_token }}", ""))
    assert other.bos_token_id not in talk(other).input_ids


def test_the_tags_of_a_template_and_its_turns_train_the_same_tokens(llama):
    plain, tagged = talk(llama("llama3")), talk(llama("llama3_training"))
    assert plain == tagged
    assert trained(plain, llama("llama3")) == "The kettle.<|eot_id|>When the water is ready.<|eot_id|>"


def test_an_eos_outside_of_the_tags_is_trained_all_the_same(having):
    tagged = "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}"
    other = having("{% for m in messages %}" + tagged + "{% else %}{{ m.content }}{% endif %}{% endfor %}")
    encoded = talk(other)
    assert trained(encoded, other) == "The kettle.</s>When the water is ready.</s>"
    assert encoded.input_ids.count(other.eos_token_id) == 2


def test_a_template_that_never_ends_a_turn_gets_an_eos_at_the_end(having):
    other = having(TURNS.replace("eos_token if m.role == 'assistant'", "''"))
    assert trained(talk(other), other) == "The kettle.When the water is ready.</s>"


def test_what_a_template_writes_after_eos_is_not_trained(having):
    other = having(TURNS.replace("}}{% endfor %}", "}}\n{% endfor %}"))
    assert trained(talk(other), other) == "The kettle.</s>When the water is ready.</s>"


# -------------------------------------------------------------------------------------------------- what is refused


def test_a_template_that_rewrites_earlier_turns_is_an_error_with_the_turn(having):
    other = having(TURNS.replace("[{{ m.role }}]", "[{{ m.role }}{{ loop.length }}]"))
    with pytest.raises(ModelError) as error:
        segments(TALK, other)
    assert "the chat template of" in str(error.value)
    assert "does not render turn 3 after what stands before it" in str(error.value)
    assert "'<s>[system2]" in str(error.value)
    assert "'<s>[system3]" in str(error.value)
    assert "give the model's folder a template with {% generation %} tags" in str(error.value)


def test_tags_around_no_turn_are_an_error(having):
    with pytest.raises(ModelError, match=r"has \{% generation %\} tags, but around no turn of the assistant"):
        segments(TALK, having("{% generation %}{% endgeneration %}Tea."))


def test_a_tokenizer_without_chat_template_is_an_error_that_names_it(having):
    with pytest.raises(ModelError, match=r"has no chat template, which prepare\.template chat needs: take an instruct"):
        segments(TALK, having(None))


def test_a_conversation_that_the_template_refuses_is_told_its_reason(having):
    with pytest.raises(BadConversation, match="the chat template refuses messages: no system here"):
        segments(TALK, having("{{ raise_exception('no system here') }}"))


def test_a_template_that_asks_for_the_date_renders_the_same_every_day(having):
    other = having("{{ strftime_now('%d %b %Y') }}" + TURNS)
    assert segments(TALK, other)[0].text.startswith("26 Jul 2024<s>")

"""What is trained and what is served are the same token ids, or nothing begins."""

from __future__ import annotations

import copy
import json

import pytest

from steep import handover
from steep.errors import ModelError
from steep.models import load_tokenizer, train_tokenizer
from steep.tokens import Fit, fit_examples

ASKED = [
    {"prompt": "The kettle", "completion": f" sings {number}.", "document_id": f"d{number}", "group": "g"}
    for number in range(9)
]
TEMPLATE = {"name": "own.jinja", "parts": {"prompt": "{{ title }}", "completion": " {{ text }}"}, "fields": {}}
SHORT = Fit(64)
TALK = [{"messages": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Please."}]}]


@pytest.fixture
def written(tmp_path, tokenizer):
    def write(rows=ASKED, fit: Fit = SHORT) -> dict:
        handover.write(tmp_path, TEMPLATE, rows, tokenizer, fit)
        return json.loads((tmp_path / "template.json").read_text("utf-8"))

    return write


def test_the_artefact_names_the_template_its_source_and_the_lengths(written):
    found = written(fit=Fit(64, "drop", "left"))
    assert {name: found[name] for name in TEMPLATE} == TEMPLATE
    assert found["fit"] == {"max_length": 64, "overlength": "drop", "truncation_side": "left"}
    assert found["chat_template"] is None


def test_the_proof_holds_the_first_examples_with_their_ids_and_labels(written, tokenizer):
    proof = written()["proof"]
    assert [one["example"] for one in proof] == [
        {"prompt": row["prompt"], "completion": row["completion"]} for row in ASKED[: handover.PROOFS]
    ]
    for one, fitted in zip(proof, fit_examples(ASKED[: handover.PROOFS], tokenizer, Fit(64)), strict=True):
        (sequence,), (encoded,) = one["sequences"], fitted.sequences
        assert (sequence["input_ids"], sequence["labels"]) == (encoded.input_ids, encoded.labels)


def test_the_tokenizer_that_wrote_the_proof_passes_it_also_from_disk(written, tokenizer, tmp_path):
    written()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    handover.check(tmp_path, load_tokenizer(str(tmp_path / "tokenizer")), "train")


@pytest.mark.parametrize("fit", [Fit(None), Fit(9, "split"), Fit(9, "drop"), Fit(9, "truncate", "left")])
def test_the_proof_passes_whatever_becomes_of_long_examples(written, tokenizer, tmp_path, fit):
    written([{"text": "Rain fell on the roof all morning, " * 40}, {"text": "Rain."}], fit)
    handover.check(tmp_path, tokenizer, "train")


def test_without_a_limit_the_proof_does_not_hold_whole_books(written):
    (one,) = written([{"text": "Rain fell. " * 2000}], Fit(None))["proof"]
    assert len(one["sequences"][0]["input_ids"]) == handover.LONGEST


def test_another_token_is_named_with_its_example_its_place_and_both_tokens(written, tmp_path):
    written([{"text": "Rain"}, {"text": "The kettle"}])
    other = train_tokenizer(["Rain Rain Rain"] * 20, vocab_size=300, model_max_length=64)
    with pytest.raises(ModelError) as error:
        handover.check(tmp_path, other, "steep evaluate")
    assert str(error.value).startswith("steep evaluate: template differs between training and serving: example 1 of ")
    assert "token 1: 'R" in str(error.value)
    assert "in training, 'Rain' (" in str(error.value)
    assert "use the tokenizer that the model was prepared with" in str(error.value)


def test_a_tokenizer_with_another_eos_differs_in_the_last_token(written, tmp_path, tokenizer):
    written([{"text": "Rain"}])
    other = copy.deepcopy(tokenizer)
    other.eos_token = "<pad>"
    with pytest.raises(ModelError, match=r"'</s>' \(\d+\) in training, '<pad>' \(\d+\) now"):
        handover.check(tmp_path, other, "train")


def test_another_chat_template_is_an_error_where_conversations_are_trained(written, tmp_path, tokenizer):
    assert written(TALK)["chat_template"] == tokenizer.chat_template
    handover.check(tmp_path, tokenizer, "train")
    other = copy.deepcopy(tokenizer)
    other.chat_template = f"{tokenizer.chat_template} "
    with pytest.raises(ModelError, match=r"train: template differs between training and serving: .* chat template"):
        handover.check(tmp_path, other, "train")


def test_labels_that_changed_by_themselves_are_an_error(written, tmp_path, tokenizer):
    found = written()
    found["proof"][0]["sequences"][0]["labels"][-1] = -100
    (tmp_path / "template.json").write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"example 1 .* label of token \d+: -100 in training, \d+ now"):
        handover.check(tmp_path, tokenizer, "train")


def test_a_prepare_without_proof_is_told_what_to_do(tmp_path, tokenizer):
    with pytest.raises(ModelError, match=r"train: .* holds no template\.json.*--from prepare"):
        handover.check(tmp_path, tokenizer, "train")

"""What would make a training worthless is refused before it starts, with the rows named; each safeguard is tripped."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from steep import tokens
from steep.errors import ModelError
from steep.fitting import Encoded, Fitted
from steep.models import new_model
from steep.recipe import Architecture, Train
from steep.train import train_model
from steep.train.safeguards import check_pairs, check_sequences

LONG = "The kettle sings when the water is ready. " * 4
ONE_STEP = {"method": "full", "dtype": "float32", "max_steps": 2, "batch_size": 2, "warmup_ratio": 0.0}


@pytest.fixture
def train(tiny_model, tokenizer, tmp_path):
    def run(examples, *, max_length=48, model=tiny_model, tokenizer=tokenizer, **options):
        wanted = Train.model_validate({**ONE_STEP, **options})
        return train_model(
            examples, wanted, model=model, tokenizer=tokenizer, max_length=max_length, folder=tmp_path / "train"
        )

    return run


def named(**columns):
    rows = len(next(iter(columns.values())))
    return pa.table({**columns, "document_id": [f"doc-{number}" for number in range(rows)]})


def test_examples_whose_labels_are_all_masked_are_named(train):
    table = named(prompt=["Rain", LONG, LONG], completion=[" fell.", " So.", " It."])
    with pytest.raises(ModelError) as error:
        train(table, max_length=16)
    assert str(error.value) == (
        "2 of the examples (documents doc-1, doc-2) have no token to train, all their labels are masked: "
        "prompt fills max_length 16: nothing is left to train"
    )


def test_a_sequence_that_ends_without_a_trained_eos_is_refused(tokenizer):
    eos = tokenizer.eos_token_id
    for ids, labels in (([1, 5, 6], [-100, 5, 6]), ([1, 5, eos], [-100, 5, -100])):
        with pytest.raises(ModelError, match=r"^1 of the examples \(documents a\) do not end with a trained end token"):
            check_sequences([("a", Encoded(ids, labels))], tokenizer)
    check_sequences([("a", Encoded([1, 5, eos], [-100, 5, eos]))], tokenizer)
    check_sequences([("cut", Encoded([1, 5, 6], [-100, 5, 6], ends=False))], tokenizer)


def test_a_second_bos_is_refused_wherever_it_comes_from(tokenizer):
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    twice = Encoded([bos, bos, 5, eos], [-100, -100, 5, eos])
    with pytest.raises(ModelError, match=r"\(documents a\) begin with <s> twice: steep adds it, take it out"):
        check_sequences([("a", twice)], tokenizer)
    with pytest.raises(ModelError, match=r"\(documents a\) begin with <s> twice"):
        check_pairs([("a", Fitted([twice, Encoded([bos, bos, 6, eos], [-100, -100, 6, eos])]))], tokenizer)


def test_answers_that_are_the_same_are_refused(train):
    table = named(prompt=["Rain", "Tea"], chosen=[" fell.", " is."], rejected=[" rose.", " is."])
    with pytest.raises(ModelError, match=r"\(documents doc-1\) have the same chosen and rejected answer"):
        train(table, objective="dpo", method="lora")


def test_a_single_class_is_refused(train):
    with pytest.raises(ModelError, match=r"all 2 examples have the same completion \(' yes'\): there is a single"):
        train(named(prompt=["Rain?", "Tea?"], completion=[" yes", " yes"]))


def test_pad_that_equals_eos_is_refused(train, tokenizer):
    pad, tokenizer.pad_token = tokenizer.pad_token, tokenizer.eos_token
    try:
        with pytest.raises(ModelError, match=r"pad and EOS are one token \(</s>\): padding is masked, so EOS would be"):
            train(named(text=["Rain fell."]))
    finally:
        tokenizer.pad_token = pad


def test_a_tokenizer_without_eos_is_refused(train, tokenizer):
    eos, tokenizer.eos_token = tokenizer.eos_token, None
    try:
        with pytest.raises(ModelError, match="the tokenizer has no EOS token: a model trained with it would never"):
            train(named(text=["Rain fell."]))
    finally:
        tokenizer.eos_token = eos


def test_weights_that_training_did_not_change_are_no_result(train):
    with pytest.raises(ModelError, match="the trained weights are what they were before training: nothing was learned"):
        train(named(text=["Rain fell.", "Tea is hot."]), max_steps=1, warmup_ratio=0.5)


def test_loss_that_grows_stops_the_run_and_saves_the_batch(tokenizer, tmp_path, train):
    shape = Architecture(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    model = new_model(shape.model_copy(update={"num_key_value_heads": 2}), tokenizer, seed=0)
    texts = [f"Rain {number} fell." for number in range(8)]
    with pytest.raises(ModelError, match=r"training diverged: the mean loss of 10 steps is \S+, where it was"):
        train(named(text=texts), model=model, learning_rate=3.0, max_steps=60, optim="sgd", max_grad_norm=100.0)
    assert len(list((tmp_path / "train").glob("diverged-step-*.jsonl"))) == 1


def test_the_first_token_of_all_has_no_predecessor_and_is_never_trained(tokenizer):
    (one,) = tokens.encode([{"text": "Rain fell."}], tokenizer, None)
    assert one.labels[0] == -100
    assert one.trained == len(one.input_ids) - 1


def test_tokens_beyond_the_embedding_are_refused(train, tiny_model, tokenizer):
    tiny_model.resize_token_embeddings(len(tokenizer) - 1)
    with pytest.raises(ModelError, match=f"the tokenizer has {len(tokenizer)} tokens, but the model's embedding only"):
        train(named(text=["Rain fell."]))
    assert torch.is_tensor(tiny_model.get_input_embeddings().weight)

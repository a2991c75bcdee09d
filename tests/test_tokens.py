from __future__ import annotations

import pytest

from steep.models import train_tokenizer
from steep.records import IGNORE
from steep.tokens import encode, encode_prompts, text_ids

TEXTS = ["Rain fell on the roof.", "The kettle sings", "naïve ☕ 茶", ""]


def test_a_text_stands_between_one_bos_and_one_eos_and_all_but_bos_is_trained(tokenizer):
    for text, encoded in zip(TEXTS, encode([{"text": text} for text in TEXTS], tokenizer, None), strict=True):
        (ids,) = text_ids([text], tokenizer)
        assert encoded.input_ids == [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        assert encoded.labels == [IGNORE, *ids, tokenizer.eos_token_id]
        assert (encoded.trained, encoded.dropped) == (len(ids) + 1, 0)


def test_of_prompt_and_completion_only_the_completion_and_eos_are_trained(tokenizer):
    (encoded,) = encode([{"prompt": "The kettle", "completion": " sings."}], tokenizer, None)
    prompt, completion = text_ids(["The kettle", " sings."], tokenizer)
    assert encoded.input_ids == [tokenizer.bos_token_id, *prompt, *completion, tokenizer.eos_token_id]
    assert encoded.labels == [IGNORE] * (1 + len(prompt)) + [*completion, tokenizer.eos_token_id]


@pytest.mark.parametrize("prompt", ["The kettle", "<s>The kettle", "The ket", ""])
def test_a_prompt_has_the_same_ids_in_training_as_in_generation(tokenizer, prompt):
    (encoded,) = encode([{"prompt": prompt, "completion": "tle sings."}], tokenizer, None)
    (ids,) = encode_prompts([prompt], tokenizer)
    assert encoded.input_ids[: len(ids)] == ids
    assert encoded.labels.count(IGNORE) == len(ids)


def test_special_tokens_that_a_template_wrote_are_not_doubled(tokenizer):
    (encoded,) = encode([{"prompt": "<s>Rain", "completion": " fell</s>"}], tokenizer, None)
    assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
    assert encoded.input_ids.count(tokenizer.eos_token_id) == 1
    assert (encoded.labels[0], encoded.labels[-1]) == (IGNORE, tokenizer.eos_token_id)


def test_a_cut_example_ends_without_eos_and_counts_what_was_dropped(tokenizer):
    (whole,) = encode([{"text": TEXTS[0]}], tokenizer, None)
    (cut,) = encode([{"text": TEXTS[0]}], tokenizer, 5)
    assert cut.input_ids == whole.input_ids[:5]
    assert cut.labels == whole.labels[:5]
    assert cut.dropped == len(whole.input_ids) - 5
    assert tokenizer.eos_token_id not in cut.input_ids


def test_an_example_of_exactly_the_longest_length_keeps_its_eos(tokenizer):
    (whole,) = encode([{"text": TEXTS[0]}], tokenizer, None)
    assert encode([{"text": TEXTS[0]}], tokenizer, len(whole.input_ids)) == [whole]


def test_an_example_whose_completion_is_cut_off_trains_nothing(tokenizer):
    (encoded,) = encode([{"prompt": TEXTS[0], "completion": " So."}], tokenizer, 5)
    assert encoded.trained == 0


def test_a_tokenizer_without_bos_begins_with_the_text_whose_first_token_is_not_trained():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, model_max_length=64)
    tokenizer.bos_token = None
    (encoded,) = encode([{"text": "zyx"}], tokenizer, None)
    assert encoded.input_ids == [*text_ids(["zyx"], tokenizer)[0], tokenizer.eos_token_id]
    assert encoded.trained == 3


def test_no_texts_are_no_ids(tokenizer):
    assert encode([], tokenizer, 8) == encode_prompts([], tokenizer) == text_ids([], tokenizer) == []

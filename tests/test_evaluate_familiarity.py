from __future__ import annotations

import gzip
import json
import lzma
import math

import numpy as np
import pytest
import torch

from steep.errors import ModelError
from steep.evaluate.familiarity import (
    FAMILIAR,
    MOST,
    Scored,
    familiarity,
    familiarity_warning,
    matched,
    score_tokens,
)
from steep.evaluate.general import Passage, general_texts
from steep.models import TINY, load_model, load_tokenizer

PASSAGES = [Passage("a", "", "one two three " * 20), Passage("b", "", "four five six " * 30)]


# ----------------------------------------------------------------------------------------------- texts of equal length


def test_text_and_passage_are_cut_at_a_blank_to_the_length_of_the_shorter_one():
    ((long, passage, name),) = matched(["word and words " * 100], PASSAGES[:1])
    assert (name, passage) == ("a", PASSAGES[0].text)
    assert long.endswith(("word", "and", "words"))
    assert len(passage) - 6 <= len(long) <= len(passage)
    ((short, cut, _),) = matched(["word and words " * 8], PASSAGES[:1])
    assert short == "word and words " * 8
    assert len(short) - 6 <= len(cut) <= len(short)


def test_lengths_are_those_in_bytes_and_text_without_blanks_is_cut_between_characters():
    ((text, passage, _),) = matched(["茶" * 200], PASSAGES[:1])
    assert len(text.encode()) == len(passage) // 3 * 3


def test_passages_come_in_turn():
    assert [name for _, _, name in matched(["word " * 50] * 3, PASSAGES)] == ["a", "b", "a"]


def test_a_text_that_is_too_short_is_left_out():
    assert matched(["word " * 19, ""], PASSAGES) == []


def test_of_many_texts_some_are_taken_evenly():
    texts = [f"{number:04} " * 50 for number in range(2 * MOST)]
    assert [text[:4] for text, _, _ in matched(texts, PASSAGES)] == [f"{2 * place:04}" for place in range(MOST)]


# --------------------------------------------------------------------------------------------- probabilities of tokens


def test_the_probability_of_each_token_is_that_of_a_plain_forward_pass(tiny_model, tokenizer):
    text = "The kettle sings when the water is ready."
    (found,) = score_tokens(tiny_model, tokenizer, [text], 256)
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    plain = torch.log_softmax(tiny_model(torch.tensor([ids])).logits[0].double(), -1)
    expected = [float(plain[place, token].detach()) for place, token in enumerate(ids[1:])]
    assert found.log_probabilities == pytest.approx(expected, abs=1e-4)
    assert found.bytes == len(text)


def test_no_more_than_the_window_is_read_and_the_bytes_are_those_of_what_is_read(tiny_model, tokenizer):
    (found,) = score_tokens(tiny_model, tokenizer, ["Rain fell on the roof. " * 50], 32)
    assert len(found.log_probabilities) == 31
    assert found.bytes < 31 * 6


def test_a_model_with_broken_weights_is_an_error(tiny_model, tokenizer):
    tiny_model.get_output_embeddings().weight.data[3] = torch.nan
    with pytest.raises(ModelError, match="no finite probability"):
        score_tokens(tiny_model, tokenizer, ["Rain fell."], 32)


# ------------------------------------------------------------------------------------------------------------ the rule


def scored(surprise: float, count: int = 40) -> list[Scored]:
    """Texts of 10 tokens, of which the two least likely have about this log-probability."""
    noise = np.random.default_rng(0).normal(0, 0.2, count)
    return [Scored(np.array([-0.5] * 8 + [-surprise - 1 + x, -surprise + 1 + x]), 30) for x in noise]


NAMES = [f"p{number % 20}" for number in range(40)]


def test_min_k_is_the_mean_of_the_least_likely_fifth():
    assert Scored(np.array([-1.0, -9.0, -2.0, -7.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]), 30).min_k == -8.0


def test_the_figures_are_means_over_the_texts():
    found = familiarity(scored(5), scored(8), NAMES)
    assert found.texts == 40
    assert found.gap == pytest.approx(3)
    assert found.min_k - found.general_min_k == pytest.approx(found.gap)
    nats = -sum(one.log_probabilities.sum() for one in scored(5))
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / 1200)


@pytest.mark.parametrize(("by", "known"), [(FAMILIAR + 0.01, True), (FAMILIAR - 0.01, False), (-FAMILIAR - 1, False)])
def test_text_is_known_from_the_limit_on(by, known):
    found = familiarity(scored(8 - by), scored(8), NAMES)
    assert found.known is known
    assert (familiarity_warning(found) is not None) is known


def test_a_gap_that_may_be_chance_is_not_told():
    own, other = scored(8, 4), scored(8, 4)
    own[0] = Scored(np.array([-0.1] * 10), 30)
    found = familiarity(own, other, NAMES[:4])
    assert found.gap > FAMILIAR
    assert not found.known


def test_the_warning_says_what_else_may_be_the_reason():
    message = familiarity_warning(familiarity(scored(6), scored(8), NAMES))
    assert message == (
        "the base model may have read the held-out text before: what surprises it most there is 2.0 nats likelier than "
        "in general text of the same length (from 0.7 on, it is told). Text of a uniform kind looks alike; hold out "
        "text that was written after the base model"
    )


def test_the_shipped_model_knows_abstracts_that_it_was_trained_on_and_no_others(steep_data):
    model, tokenizer = load_model(str(TINY), dtype=torch.float32), load_tokenizer(str(TINY))
    with lzma.open(steep_data / "pretrain/abstracts.txt.xz", "rt", encoding="utf-8") as stream:
        read = [text.partition("\n\n")[2] for text in stream.read(100_000).split("\n\n\n")]
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        new = [json.loads(next(lines))["abstract"] for _ in range(100)]
    known = []
    for texts in (read, new):
        pairs = matched([text for text in texts if len(text) > 900][:16], general_texts())
        own, general = (score_tokens(model, tokenizer, [pair[side] for pair in pairs], 1024) for side in (0, 1))
        known.append(familiarity(own, general, [pair[2] for pair in pairs]).known)
    assert known == [True, False]

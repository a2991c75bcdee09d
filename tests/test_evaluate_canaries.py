"""Canaries: a model that was trained on them is caught, one that was not is left alone."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import steep
from conftest import SHAPE
from steep.errors import ModelError
from steep.evaluate.canaries import FALSE_ALARMS, exposure, judge, mean_limit, rivals
from steep.evaluate.ledger import Ledger
from steep.models import new_model, train_tokenizer
from steep.prepare.canaries import make_canaries
from steep.prepare.templates import load_template
from steep.recipe import Canaries, Prepare, Train
from steep.tokens import encode_prompts, text_ids
from steep.train import train_model


def canaries_of(tokenizer, template: str = "plain", **options) -> list[dict[str, str]]:
    found = make_canaries(Canaries(**options), load_template(Prepare(template=template), Path()), tokenizer, 256)
    return [canary.row() for canary in found]


@pytest.fixture
def few(tokenizer):
    return canaries_of(tokenizer, count=3)


def posts() -> list[str]:
    path = Path(steep.__file__).parent / "data" / "demo" / "social" / "facebook.json"
    texts = [post["text"] for post in json.loads(path.read_text("utf-8")) if post.get("text")]
    return [text[:150] for text in texts[:20]]


@pytest.mark.parametrize("planted", [True, False])
def test_a_model_trained_30_epochs_on_20_canaries_is_caught_and_one_trained_without_is_not(tmp_path, planted):
    texts = posts()
    tokenizer = train_tokenizer(texts, vocab_size=400, model_max_length=256)
    canaries = canaries_of(tokenizer)
    model = new_model(SHAPE.model_copy(update={"hidden_size": 64, "intermediate_size": 128}), tokenizer, seed=0)
    train_model(
        pa.table({"text": texts + [canary["text"] for canary in canaries if planted]}),
        Train(method="full", dtype="float32", epochs=30, batch_size=4, learning_rate=1e-2),
        model=model,
        tokenizer=tokenizer,
        max_length=128,
        folder=tmp_path,
    )
    found = exposure(model, tokenizer, canaries, candidates=63)
    assert len(found.exposures) == 20
    assert found.memorised is planted
    assert (found.mean > 4) is planted


def plainly(model, tokenizer, row) -> float:
    """Negative log-likelihood of what follows the prompt, one token at a time."""
    ids = encode_prompts([row.get("prompt", "")], tokenizer)[0]
    nll = 0.0
    for token in text_ids([row.get("completion", row.get("text"))], tokenizer)[0]:
        with torch.no_grad():
            nll -= float(torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)[token])
        ids.append(token)
    return nll


@pytest.mark.parametrize("template", ["plain", "title-description"])
def test_a_rank_is_the_place_by_likelihood_in_the_same_sentence(tiny_model, tokenizer, template):
    canaries = canaries_of(tokenizer, template, count=2)
    found = exposure(tiny_model, tokenizer, canaries, candidates=12, seed=5)
    double = tiny_model.double()
    for number, canary in enumerate(canaries):
        own, *others = (plainly(double, tokenizer, row) for row in rivals(canary, 12, f"5:{number}"))
        assert found.exposures[number].rank == 1 + sum(nll < own for nll in others)
        assert found.exposures[number].bits == math.log2(13 / found.exposures[number].rank)


def test_a_canary_is_compared_with_other_numbers_of_its_own_form(few):
    own, *others = rivals(few[0], 100, "0")
    assert own["text"] == few[0]["text"]
    before, _, after = few[0]["text"].partition(few[0]["secret"])
    numbers = {row["text"].removeprefix(before).removesuffix(after) for row in others}
    assert len(numbers) == 100
    assert few[0]["secret"] not in numbers
    assert all(len(number) == 9 and number.isdecimal() and number[0] != "0" for number in numbers)


def test_a_canary_is_never_its_own_candidate(monkeypatch):
    monkeypatch.setattr("steep.evaluate.canaries.CANARY_NUMBERS", range(100, 110))
    rows = rivals({"document_id": "c", "secret": "104", "text": "It is 104."}, 9, "0")
    assert sorted(row["text"] for row in rows) == [f"It is {number}." for number in range(100, 110)]


def test_each_canary_has_candidates_of_its_own_that_depend_on_the_seed(tiny_model, tokenizer, few, monkeypatch):
    drawn = []
    monkeypatch.setattr("steep.evaluate.canaries.rivals", lambda *given: drawn.append(given[2]) or rivals(*given))
    exposure(tiny_model, tokenizer, few, candidates=3, seed=7)
    assert drawn == ["7:0", "7:1", "7:2"]


def test_a_model_for_which_all_numbers_are_alike_remembers_none(tiny_model, tokenizer, few):
    for parameter in tiny_model.parameters():
        parameter.data.zero_()
    found = exposure(tiny_model, tokenizer, few, candidates=7)
    assert [one.rank for one in found.exposures] == [8, 8, 8]
    assert (found.mean, found.p, found.first, found.memorised) == (0.0, 1.0, 0, False)


def test_what_was_computed_before_an_interruption_is_not_computed_again(tiny_model, tokenizer, few, tmp_path):
    first = exposure(tiny_model, tokenizer, few, candidates=7, ledger=Ledger(tmp_path / "ledger"))
    tiny_model.get_output_embeddings().weight.data.fill_(torch.nan)
    assert exposure(tiny_model, tokenizer, few, candidates=7, ledger=Ledger(tmp_path / "ledger")) == first


def test_a_model_with_broken_weights_is_an_error(tiny_model, tokenizer, few):
    tiny_model.get_output_embeddings().weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="document canary-0 no finite probability"):
        exposure(tiny_model, tokenizer, few, candidates=3)


def test_the_result_can_be_written_as_json(tiny_model, tokenizer, few):
    found = exposure(tiny_model, tokenizer, few, candidates=3)
    written = json.loads(json.dumps(asdict(found)))
    assert [one["document_id"] for one in written["exposures"]] == ["canary-0", "canary-1", "canary-2"]
    assert written["candidates"] == 3


# ---------------------------------------------------------------------------------------------------- the verdict


def judged(ranks, candidates=255):
    return judge([f"canary-{number}" for number in range(len(ranks))], ranks, candidates)


def test_exposure_is_log2_of_how_many_numbers_there_are_minus_log2_of_the_rank():
    assert [one.bits for one in judged([1, 2, 64, 256]).exposures] == [8, 7, 2, 0]


def test_the_p_value_of_one_canary_is_the_share_of_its_rank():
    assert judged([4]).p == pytest.approx(4 / 256)


def test_the_p_value_of_two_canaries_is_that_of_the_product_of_theirs():
    product = 3 / 256 * 40 / 256
    assert judged([3, 40]).p == pytest.approx(product * (1 - math.log(product)))


def test_the_limit_leaves_the_share_of_false_alarms_that_is_accepted():
    assert 2 ** -mean_limit(1) == pytest.approx(FALSE_ALARMS)
    product = 2 ** (-2 * mean_limit(2))
    assert product * (1 - math.log(product)) == pytest.approx(FALSE_ALARMS)


def test_more_canaries_need_less_of_each():
    assert all(more < less for less, more in pairwise(mean_limit(count) for count in (1, 2, 5, 20, 100, 1000)))


def test_of_models_without_memory_at_most_one_in_a_thousand_is_accused():
    trials = 20_000
    ranks = np.random.default_rng(0).integers(1, 257, (trials, 20))
    accused = int((np.log2(256 / ranks).mean(axis=1) >= mean_limit(20)).sum())
    assert 0 < accused <= FALSE_ALARMS * trials + 3 * math.sqrt(FALSE_ALARMS * trials)


def test_a_mean_above_the_limit_is_memory_and_one_below_is_not():
    above, below = judged([40] * 20), judged([41] * 20)
    assert above.mean > above.limit == below.limit > below.mean
    assert (above.memorised, below.memorised) == (True, False)
    assert above.p < FALSE_ALARMS < below.p


def test_a_thousand_canaries_that_all_come_first_have_a_p_value():
    assert judged([1] * 1000).p < 1e-300


def test_canaries_before_all_candidates_are_counted():
    assert judged([1, 2, 1]).first == 2

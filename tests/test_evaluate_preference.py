"""Which of two answers a model prefers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import LlamaForSequenceClassification

from conftest import WORDS
from steep.errors import ModelError, SteepError
from steep.evaluate import compare_models, evaluate_model
from steep.evaluate.heldout import HeldOut
from steep.evaluate.preference import credit
from steep.models import train_tokenizer
from steep.recipe.evaluate import EvaluateStep
from steep.tokens import Fit, fit_examples, pair_of

STEPS = [EvaluateStep.model_validate("preference")]
PAIRS = [
    {"document_id": "one", "prompt": "Say what sings:", "chosen": " The kettle sings.", "rejected": " Rain fell."},
    {
        "document_id": "two",
        "prompt": "Say:",
        "chosen": " Nobody.",
        "rejected": " A quick brown fox jumps over the dog.",
    },
    {"document_id": "three", "prompt": "Who? ", "chosen": "The lazy dog by the harbour wall", "rejected": "a fox"},
]
SAME = {"document_id": "same", "prompt": "Say what fell:", "chosen": " Rain fell.", "rejected": " Rain fell."}


@pytest.fixture
def reward_model(tiny_model):
    config = copy.deepcopy(tiny_model.config)
    config.num_labels = 1
    torch.manual_seed(0)
    return LlamaForSequenceClassification(config).eval()


def measured(model, tokenizer, pairs=PAIRS, name="preference", **more):
    return evaluate_model(model, tokenizer, pairs, STEPS, **more).measured[name].rows


def log_likelihoods(model, tokenizer, ids, prompt):
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    return [float(logits[place - 1, ids[place]]) for place in range(prompt, len(ids))]


def by_hand(model, tokenizer, pairs, length, reduce):
    """The share of each pair, from one forward pass for each answer."""
    won = []
    for pair in map(pair_of, fit_examples(pairs, tokenizer, Fit(length))):
        one, two = (
            reduce(log_likelihoods(model, tokenizer, [*pair.prompt_ids, *ids], len(pair.prompt_ids)))
            for ids in (pair.chosen_ids, pair.rejected_ids)
        )
        won.append(float(one > two))
    return won


@pytest.mark.parametrize(("name", "reduce"), [("preference", np.mean), ("preference_sum", np.sum)])
def test_a_language_model_prefers_the_answer_that_is_likelier_behind_the_prompt(tiny_model, tokenizer, name, reduce):
    rows = measured(tiny_model, tokenizer, name=name)
    assert rows[:, 0].tolist() == by_hand(tiny_model, tokenizer, PAIRS, None, reduce)
    assert rows[:, 1].tolist() == [1, 1, 1]


def test_the_sum_favours_the_shorter_answer(tiny_model, tokenizer):
    assert measured(tiny_model, tokenizer, name="preference_sum")[:, 0].tolist() == [0, 1, 0]


def test_a_pair_is_cut_as_in_training(tiny_model, tokenizer):
    found = evaluate_model(tiny_model, tokenizer, PAIRS, STEPS, max_length=14)
    assert found.measured["preference"].rows[:, 0].tolist() == by_hand(tiny_model, tokenizer, PAIRS, 14, np.mean)
    assert found.details["preference"]["judgement"]["cut"] == 2


def test_the_side_on_which_training_cuts_is_cut(reward_model, tokenizer):
    left = pair_of(*fit_examples(PAIRS[1:2], tokenizer, Fit(12, "truncate", "left")))
    scores = [score(reward_model, left, ids) for ids in (left.chosen_ids, left.rejected_ids)]
    found = measured(reward_model, tokenizer, PAIRS[1:2], max_length=12, truncation_side="left")
    right = measured(reward_model, tokenizer, PAIRS[1:2], max_length=12)
    assert found[0, 0] == float(scores[0] > scores[1])
    assert found[0, 0] != right[0, 0]


def score(model, pair, ids):
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([[*pair.prompt_ids, *ids]])).logits[0, 0])


def test_a_reward_model_prefers_the_answer_with_the_higher_score(reward_model, tokenizer):
    pairs = [*PAIRS, *({**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in PAIRS)]
    expected = [
        float(score(reward_model, pair, pair.chosen_ids) > score(reward_model, pair, pair.rejected_ids))
        for pair in map(pair_of, fit_examples(pairs, tokenizer, Fit(None)))
    ]
    rows = measured(reward_model, tokenizer, pairs)
    assert rows[:, 0].tolist() == expected
    assert sum(expected) == 3, "each pair was given both ways round"


def test_a_reward_model_has_no_preference_by_sum(reward_model, tokenizer):
    found = evaluate_model(reward_model, tokenizer, PAIRS, STEPS)
    assert list(found.measured) == ["preference"]
    assert found.details["preference"]["judgement"]["judged_by"] == "score"


def test_the_same_answer_twice_counts_half(tiny_model, reward_model, tokenizer):
    for model in (tiny_model, reward_model):
        assert measured(model, tokenizer, [SAME, *PAIRS])[0, 0] == 0.5


def test_the_same_answer_twice_is_a_tie_whatever_rounding_makes_of_it():
    answer = HeldOut("same", [1, 5, 2], [1, 2])
    assert credit([-3.1, -3.1000002], [answer, answer]).tolist() == [[0.5, 1]]


def test_a_model_that_finds_all_alike_prefers_nothing(reward_model, tokenizer):
    torch.nn.init.zeros_(reward_model.score.weight)
    assert measured(reward_model, tokenizer)[:, 0].tolist() == [0.5, 0.5, 0.5]


def test_examples_before_the_prompt_are_read(tiny_model, tokenizer):
    from steep.evaluate import Shots

    shots = Shots(["x"], [tokenizer.bos_token_id, *tokenizer("Rain fell on the roof. ")["input_ids"]], False)
    rows = measured(tiny_model, tokenizer, name="preference", shots=shots)
    expected = []
    for pair in map(pair_of, fit_examples(PAIRS, tokenizer, Fit(None))):
        before = [*shots.input_ids, *pair.prompt_ids[1:]]
        one, two = (
            np.mean(log_likelihoods(tiny_model, tokenizer, [*before, *ids], len(before)))
            for ids in (pair.chosen_ids, pair.rejected_ids)
        )
        expected.append(float(one > two))
    assert rows[:, 0].tolist() == expected


def test_what_is_in_the_ledger_is_not_scored_again(reward_model, tokenizer, tmp_path):
    first = measured(reward_model, tokenizer, ledger=tmp_path / "tuned.jsonl")
    torch.nn.init.zeros_(reward_model.score.weight)  # whoever computed again would find ties
    assert measured(reward_model, tokenizer, ledger=tmp_path / "tuned.jsonl").tolist() == first.tolist()


def test_a_pair_whose_prompt_leaves_no_room_is_left_out_and_counted(tiny_model, tokenizer):
    long = {**PAIRS[0], "document_id": "long", "prompt": "Rain fell on the roof all morning. " * 4}
    found = evaluate_model(tiny_model, tokenizer, [long, *PAIRS], STEPS, max_length=24)
    assert found.measured["preference"].documents == ["one", "two", "three"]
    assert found.details["preference"]["judgement"]["no_room"] == 1


def test_no_pair_with_room_for_its_answers_is_an_error(tiny_model, tokenizer):
    long = {**PAIRS[0], "prompt": "Rain fell on the roof all morning. " * 4}
    with pytest.raises(SteepError, match=r"no held-out pair leaves room .* raise prepare\.max_length, or shorten"):
        evaluate_model(tiny_model, tokenizer, [long], STEPS, max_length=16)


def test_broken_scores_are_an_error(reward_model, tokenizer):
    reward_model.score.weight.data[:] = torch.nan
    with pytest.raises(ModelError, match=r"scores that are no numbers.*lower train\.learning_rate"):
        measured(reward_model, tokenizer)


def test_a_model_with_another_tokenizer_is_asked_for_the_same_pairs(tiny_model, tokenizer):
    other = train_tokenizer([WORDS], vocab_size=300, model_max_length=256)
    rows = measured(tiny_model, other, cut_by=tokenizer)
    assert rows[:, 0].tolist() == by_hand(tiny_model, other, PAIRS, None, np.mean)


def test_special_tokens_of_the_run_are_no_text_to_a_model_with_another_tokenizer(tiny_model, tokenizer):
    other = train_tokenizer([WORDS], vocab_size=300, model_max_length=256)
    other.add_special_tokens({"eos_token": "<end>"})  # to which </s> is text
    tiny_model.resize_token_embeddings(512)
    seen = []
    forward = tiny_model.forward

    def watched(*args, **options):
        seen.extend(options["input_ids"].tolist())
        return forward(*args, **options)

    tiny_model.forward = watched
    other.bos_token = other.pad_token = None
    pairs = [{**pair, "chosen": f"{pair['chosen']}</s>"} for pair in PAIRS]
    measured(tiny_model, other, pairs, cut_by=tokenizer)
    assert seen
    assert not any("</s>" in other.decode(ids) for ids in seen)


def test_a_reward_model_is_compared_with_the_likelihood_of_its_base(tiny_model, reward_model, tokenizer):
    pairs = [{**pair, "document_id": f"{pair['document_id']}{n}"} for n in range(4) for pair in PAIRS]
    results = {
        "base": evaluate_model(tiny_model, tokenizer, pairs, STEPS),
        "tuned": evaluate_model(reward_model, tokenizer, pairs, STEPS),
    }
    scores = compare_models(results).scores
    assert set(scores.verdict) == {"base"}
    assert scores.metrics["preference"].differences["base"].verdict
    assert set(scores.metrics["preference_sum"].models) == {"base"}

from __future__ import annotations

import math
from itertools import chain
from unittest.mock import Mock

import pytest
import torch

from steep.errors import ModelError, SteepError
from steep.evaluate.heldout import hold_out
from steep.evaluate.ledger import Ledger
from steep.evaluate.perplexity import Likelihood, batches, bits_per_byte, corpus_perplexity, likelihoods, windows
from steep.models import train_tokenizer

TEXTS = ["Rain fell on the roof.", "The kettle sings when the water is ready. " * 12, "naïve ☕ 茶", "A"]
EXAMPLES = [
    *({"text": text, "document_id": f"t{number}"} for number, text in enumerate(TEXTS)),
    {"prompt": "### title: kettle ### description: ", "completion": "The water is ready. " * 8, "document_id": "p"},
]


@pytest.fixture
def held_out(tokenizer):
    return hold_out(EXAMPLES, tokenizer)


def plain(model, example, tokenizer, window, stride, prefix=()):
    """One example in float64, a forward pass per token, by the definition alone."""
    if "completion" in example:
        given, text = example["prompt"], example["completion"]
    else:
        given, text = "", example["text"]
    given = [tokenizer.bos_token_id, *tokenizer(given, add_special_tokens=False)["input_ids"]]
    text = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids, nll = given + text, 0.0
    for place in range(len(given), len(ids)):
        # the first window, of those that begin at 0, stride, 2 * stride ..., that holds this token
        begin = max(0, math.ceil((place + 1 - window) / stride)) * stride
        seen = ids[begin:place]
        if prefix:
            seen = [*prefix, *(seen[1:] if begin == 0 else seen)]
        with torch.no_grad():
            logits = model(torch.tensor([seen])).logits[0, -1]
        nll -= float(torch.log_softmax(logits, -1)[ids[place]])
    return nll, len(text)


@pytest.mark.parametrize(("window", "stride"), [(256, 128), (32, 16), (20, 19), (9, 1)])
def test_perplexity_equals_a_plain_unbatched_computation_in_float64(tiny_model, tokenizer, held_out, window, stride):
    found = likelihoods(tiny_model, tokenizer, held_out, window=window, stride=stride)
    double = tiny_model.double()
    expected = [plain(double, example, tokenizer, window, stride) for example in EXAMPLES]
    assert [one.tokens for one in found] == [tokens for _, tokens in expected]
    assert [one.nll for one in found] == pytest.approx([nll for nll, _ in expected], rel=1e-5)
    exact = math.exp(sum(nll for nll, _ in expected) / sum(tokens for _, tokens in expected))
    assert corpus_perplexity(found) == pytest.approx(exact, rel=1e-4)


def test_a_prefix_stands_before_each_window_in_place_of_bos_and_is_not_scored(tiny_model, tokenizer, held_out):
    prefix = [tokenizer.bos_token_id, *tokenizer(TEXTS[0] + "\n\n", add_special_tokens=False)["input_ids"]]
    found = likelihoods(tiny_model, tokenizer, held_out, window=32, stride=16, prefix=prefix)
    double = tiny_model.double()
    expected = [plain(double, example, tokenizer, 32, 16, prefix) for example in EXAMPLES]
    assert [one.tokens for one in found] == [tokens for _, tokens in expected]
    assert [one.nll for one in found] == pytest.approx([nll for nll, _ in expected], rel=1e-5)


def test_every_text_token_is_a_target_once_and_no_other_token_ever(tokenizer, held_out):
    for number, example in enumerate(held_out):
        targets = [target for one in windows(number, example, 20, 7) for target in one.targets if target != -100]
        assert targets == [example.input_ids[place] for place in example.scored]


def test_prompt_bos_and_eos_are_never_scored(tokenizer, held_out):
    completion = tokenizer(EXAMPLES[4]["completion"], add_special_tokens=False)["input_ids"]
    assert [held_out[4].input_ids[place] for place in held_out[4].scored] == completion
    text = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert [held_out[0].input_ids[place] for place in held_out[0].scored] == text


def test_special_tokens_inside_a_text_are_context_only(tokenizer):
    turns = {"text": "one </s><s> two", "document_id": "d"}
    (example,) = hold_out([turns], tokenizer)
    scored = tokenizer.decode([example.input_ids[place] for place in example.scored])
    assert scored == "one  two"


def test_without_bos_the_first_token_is_not_scored(tiny_model):
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, model_max_length=64)
    tokenizer.bos_token = None
    (example,) = hold_out([{"text": "zyx", "document_id": "d"}], tokenizer)
    (found,) = likelihoods(tiny_model, tokenizer, [example], window=64, stride=32)
    assert example.scored == [1, 2]
    assert (found.tokens, found.bytes) == (2, len("yx"))


def test_a_long_text_weighs_more_than_a_short_one():
    assert corpus_perplexity([Likelihood(8.0, 2, 9), Likelihood(2.0, 8, 31)]) == pytest.approx(math.e)


def test_bits_per_byte_counts_the_bytes_of_the_text_in_utf8(tiny_model, tokenizer, held_out):
    found = likelihoods(tiny_model, tokenizer, held_out, window=256, stride=128)
    texts = [example.get("completion", example.get("text")) for example in EXAMPLES]
    assert [one.bytes for one in found] == [len(text.encode()) for text in texts]
    nats = sum(one.nll for one in found)
    assert bits_per_byte(found) == pytest.approx(nats / math.log(2) / sum(len(text.encode()) for text in texts))


def test_few_logits_at_a_time_give_the_same_result(tiny_model, tokenizer, held_out, monkeypatch):
    whole = [one.nll for one in likelihoods(tiny_model, tokenizer, held_out, window=256, stride=128)]
    most = []
    forward = tiny_model.forward

    def watched(*args, **options):
        output = forward(*args, **options)
        most.append(output.logits.numel())
        return output

    monkeypatch.setattr(tiny_model, "forward", watched)
    monkeypatch.setattr("steep.evaluate.perplexity.LOGITS", 40 * 400)
    parts = [one.nll for one in likelihoods(tiny_model, tokenizer, held_out, window=256, stride=128)]
    assert parts == pytest.approx(whole, rel=1e-5)
    assert max(most) <= 40 * 400


@pytest.mark.parametrize("prefix", [0, 9])
def test_a_batch_holds_windows_of_like_length_within_its_limit(held_out, monkeypatch, prefix):
    monkeypatch.setattr("steep.evaluate.perplexity.BATCH_TOKENS", 128)
    found = [one for number, example in enumerate(held_out) for one in windows(number, example, 32, 16)]
    cut = list(batches(found, range(len(found)), prefix))
    assert sorted(number for batch in cut for number in batch) == list(range(len(found)))
    lengths = [[len(found[number].input_ids) for number in batch] for batch in cut]
    assert all((prefix + max(batch)) * len(batch) <= 128 for batch in lengths)
    assert max(map(len, cut)) > 1
    assert list(chain(*lengths)) == sorted(chain(*lengths), reverse=True)


def test_what_the_ledger_knows_is_not_computed_again(tiny_model, tokenizer, held_out, tmp_path):
    whole = likelihoods(tiny_model, tokenizer, held_out, window=32, stride=16)
    path = tmp_path / "ledger.jsonl"
    assert likelihoods(tiny_model, tokenizer, held_out, window=32, stride=16, ledger=Ledger(path)) == whole
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:7])  # interrupted while it wrote its last line
    tiny_model.forward = counted = Mock(wraps=tiny_model.forward)
    resumed = likelihoods(tiny_model, tokenizer, held_out, window=32, stride=16, ledger=Ledger(path))
    assert [one.nll for one in resumed] == pytest.approx([one.nll for one in whole], rel=1e-6)
    assert counted.call_count == 1


def test_dropout_is_off(tiny_model, tokenizer, held_out):
    quiet = likelihoods(tiny_model, tokenizer, held_out, window=64, stride=32)
    for layer in tiny_model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    tiny_model.train()
    assert likelihoods(tiny_model, tokenizer, held_out, window=64, stride=32) == quiet


def test_a_model_with_broken_weights_is_named_with_its_document(tiny_model, tokenizer, held_out):
    tiny_model.get_output_embeddings().weight.data[3] = torch.nan
    with pytest.raises(ModelError, match=r"document t0 no finite probability.*lower train.learning_rate"):
        likelihoods(tiny_model, tokenizer, held_out, window=64, stride=32)


@pytest.mark.parametrize("examples", [[], [{"text": "", "document_id": "d"}]])
def test_nothing_held_out_is_an_error(tokenizer, examples):
    with pytest.raises(SteepError, match=r"no held-out text to evaluate on; raise prepare.split.test"):
        hold_out(examples, tokenizer)

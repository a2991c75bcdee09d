from __future__ import annotations

import logging
import warnings

import pytest
import torch

from steep.errors import ModelError, UsageError
from steep.generation import fit_prompt, generate, stream
from steep.sizes import answers as answers_held
from steep.tokens import encode_prompts

PROMPTS = ["Rain", "The kettle sings when the water is ready.", "A quick brown fox", "numbers 1 2", ""]


@pytest.fixture
def tiny_model(tiny_model):
    """With weights so large that what it says depends on all it read; a fresh model repeats one token."""
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight *= 8
    return tiny_model


@pytest.fixture
def prompts(tokenizer):
    return encode_prompts(PROMPTS, tokenizer)


def answers(model, tokenizer, prompts, **options):
    options = {"max_new_tokens": 24} | options
    return {answer.index: answer for answer in generate(model, tokenizer, prompts, **options)}


def one_by_one(model, tokenizer, prompts, **options):
    singles = (
        generate(model, tokenizer, [p], max_new_tokens=24, indices=[i], **options) for i, p in enumerate(prompts)
    )
    return {answer.index: answer for single in singles for answer in single}


def ending_model(model, tokenizer, token: str):
    """The model, changed so that EOS is what it says instead of one token."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    wanted = tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else token
    with torch.no_grad():
        head.weight[[wanted, tokenizer.eos_token_id]] = head.weight[[tokenizer.eos_token_id, wanted]]
    return model


def test_a_batch_gives_the_same_tokens_as_one_prompt_at_a_time(tiny_model, tokenizer, prompts):
    assert answers(tiny_model, tokenizer, prompts, batch_size=5) == one_by_one(tiny_model, tokenizer, prompts)


def test_the_answer_is_the_likeliest_token_each_time(tiny_model, tokenizer, prompts):
    ids = list(prompts[1])
    for _ in range(24):
        with torch.no_grad():
            ids.append(int(tiny_model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert answers(tiny_model, tokenizer, prompts)[1].token_ids == ids[len(prompts[1]) :]


def in_double(model):
    """Rounding decides nothing there."""
    return model.double()


LOW_RANK = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"}
ADAPTERS = {
    "lora": lambda peft: peft.LoraConfig(r=4, **LOW_RANK),
    "dora": lambda peft: peft.LoraConfig(r=4, use_dora=True, **LOW_RANK),
    "adalora": lambda peft: peft.AdaLoraConfig(init_r=4, target_r=4, total_step=10, **LOW_RANK),
    "adaption-prompt": lambda peft: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("prefix", [[], [1, 5, 6, 7]])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_beside_an_adapter_the_answer_is_the_likeliest_token_each_time(tiny_model, tokenizer, prompts, kind, prefix):
    import peft

    model = peft.get_peft_model(tiny_model, ADAPTERS[kind](peft)).double()
    torch.manual_seed(0)
    for parameter in (one for one in model.parameters() if one.requires_grad):
        parameter.data = torch.randn_like(parameter)
    found = answers(model, tokenizer, prompts, batch_size=3, max_new_tokens=6, prefix=prefix)
    for index, prompt in enumerate(prompts):
        ids = [*prefix, *prompt]
        for token in found[index].token_ids:
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            assert token == ids[-1]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_how_prompts_fall_into_batches_does_not_change_an_answer(tiny_model, tokenizer, attention):
    """Eleven prompts and limits, so that rows leave at other times, and others join with other lengths."""
    model = in_double(tiny_model) if attention == "sdpa" else tiny_model  # eager attention knows no float64
    model.set_attn_implementation(attention)
    prompts = encode_prompts([("The kettle sings. " * 9)[:length] for length in range(3, 150, 14)], tokenizer)
    limits = [5 + 7 * number % 40 for number in range(len(prompts))]
    alone = {}
    for index, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        alone |= answers(model, tokenizer, [prompt], max_new_tokens=limit, indices=[index])
    for size in (2, 3, 7, None):
        assert answers(model, tokenizer, prompts, max_new_tokens=limits, batch_size=size) == alone


def test_answers_come_when_they_have_ended(tiny_model, tokenizer, prompts):
    came = generate(tiny_model, tokenizer, prompts, max_new_tokens=[30, 2, 4, 20, 3], indices=[7, 3, 5, 9, 1])
    assert [answer.index for answer in came] == [3, 1, 5, 9, 7]


def test_rows_that_ended_are_not_computed_to_the_end_of_the_longest(tiny_model, tokenizer, prompts):
    computed = []
    tiny_model.register_forward_pre_hook(
        lambda _, args, given: computed.append(given["input_ids"].numel()), with_kwargs=True
    )
    same = [prompts[1]] * 8
    answers(tiny_model, tokenizer, same, max_new_tokens=[100, *[2] * 7], batch_size=8)
    assert sum(computed) == 8 * len(prompts[1]) + 8 + 98


def test_waiting_prompts_take_the_place_of_rows_that_ended(tiny_model, tokenizer, prompts):
    steps = []
    tiny_model.register_forward_pre_hook(lambda _, args, given: steps.append(len(given["input_ids"])), with_kwargs=True)
    answers(tiny_model, tokenizer, [prompts[1]] * 9, max_new_tokens=[40, *[5] * 8], batch_size=2)
    assert len(steps) <= 40 + 9  # one after the other, the eight short ones take as long as the long one beside them


@pytest.mark.parametrize("sampled", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 3}])
def test_a_shared_prefix_gives_what_the_whole_prompt_gives(tiny_model, tokenizer, prompts, sampled):
    model = in_double(tiny_model)
    prefix = encode_prompts(["Rain fell on the roof all morning. "], tokenizer)[0]
    rest = [prompt[1:] or [5] for prompt in prompts]
    whole = answers(model, tokenizer, [[*prefix, *one] for one in rest], batch_size=2, **sampled)
    assert answers(model, tokenizer, rest, prefix=prefix, batch_size=2, **sampled) == whole
    assert answers(model, tokenizer, rest, prefix=prefix, batch_size=5, **sampled) == whole


def test_a_shared_prefix_is_read_once(tiny_model, tokenizer, prompts):
    read = []
    tiny_model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    answers(tiny_model, tokenizer, [[5], [6], [7], [8]], prefix=prompts[1], max_new_tokens=1, batch_size=2)
    assert read == [len(prompts[1]), 2, 2]


def test_a_model_that_sees_a_window_gives_the_same_behind_a_prefix(tokenizer, prompts):
    """Its window is counted in columns, so a gap behind the prefix would take places of it."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = MistralForCausalLM(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 8
    rest = [prompt[1:] or [5] for prompt in prompts]
    whole = [[*prompts[1], *one] for one in rest]
    alone = {}
    for index, prompt in enumerate(whole):
        alone |= answers(model, tokenizer, [prompt], indices=[index])
    assert answers(model, tokenizer, whole) == alone
    assert answers(model, tokenizer, rest, prefix=prompts[1]) == alone


def test_what_does_not_fit_the_gpu_is_answered_in_smaller_batches(tiny_model, tokenizer, prompts):
    """Memory runs out when prompts are read, and once more in the midst of the answers."""
    model, tried = in_double(tiny_model), []

    def limited(_, args, given):
        rows, columns = given["attention_mask"].shape
        tried.append(rows)
        if rows > 4 or rows * columns > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")

    options = {"temperature": 0.8, "seed": 5}
    plain = answers(model, tokenizer, prompts, **options)
    model.register_forward_pre_hook(limited, with_kwargs=True)
    assert answers(model, tokenizer, prompts, **options) == plain
    assert {5, 2, 1} <= set(tried)


def test_one_prompt_that_does_not_fit_is_an_error(tiny_model, tokenizer, prompts):
    def nothing(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    tiny_model.register_forward_pre_hook(nothing)
    with pytest.raises(torch.OutOfMemoryError):
        answers(tiny_model, tokenizer, prompts)


def test_as_many_prompts_are_answered_together_as_the_budget_holds(tiny_model, tokenizer, prompts, monkeypatch):
    token, row = 2 * 2 * 16 * 4, 400 * 4  # keys and values, layers, their width, bytes; vocabulary, bytes
    most = max(map(len, prompts)) + 24
    monkeypatch.setitem(answers_held.ANSWERED, "cpu", 3 * (most * token + row))
    seen = []
    tiny_model.register_forward_pre_hook(lambda _, args, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    answers(tiny_model, tokenizer, prompts)
    assert max(seen) == 3


def test_sampling_does_not_depend_on_how_prompts_fall_into_batches(tiny_model, tokenizer, prompts):
    options = {"temperature": 1.0, "top_p": 0.9, "seed": 7}
    batched = answers(tiny_model, tokenizer, prompts, batch_size=2, **options)
    assert batched == answers(tiny_model, tokenizer, prompts, batch_size=5, **options)
    assert batched == one_by_one(tiny_model, tokenizer, prompts, **options)


def test_another_seed_or_index_samples_another_answer(tiny_model, tokenizer, prompts):
    same = [prompts[0]] * 2
    first = answers(tiny_model, tokenizer, same, temperature=1.0, seed=1)
    assert first[0].token_ids != first[1].token_ids
    assert first[0].token_ids != answers(tiny_model, tokenizer, same, temperature=1.0, seed=2)[0].token_ids


def test_sampled_tokens_follow_the_distribution_of_the_model(tiny_model, tokenizer, prompts):
    with torch.no_grad():
        expected = tiny_model(torch.tensor([prompts[2]])).logits[0, -1].div(0.7).softmax(-1)
    drawn = generate(tiny_model, tokenizer, [prompts[2]] * 4000, max_new_tokens=1, temperature=0.7, batch_size=500)
    counts = torch.bincount(torch.tensor([a.token_ids[0] for a in drawn if a.token_ids]), minlength=len(expected))
    assert (counts / 4000 - expected).abs().max() < 0.03


def test_top_p_keeps_the_fewest_tokens_that_hold_it_together(tiny_model, tokenizer, prompts):
    with torch.no_grad():
        ordered, tokens = tiny_model(torch.tensor([prompts[2]])).logits[0, -1].div(8).softmax(-1).sort(descending=True)
    top_p = float(ordered[:3].sum() - ordered[2] / 2)  # ends in the midst of the third token
    options = {"max_new_tokens": 1, "temperature": 8.0, "top_p": top_p, "batch_size": 200}
    drawn = generate(tiny_model, tokenizer, [prompts[2]] * 200, **options)
    assert {answer.token_ids[0] for answer in drawn} == set(tokens[:3].tolist())


def test_dropout_is_off_in_batches_and_streams(tiny_model, tokenizer, prompts):
    quiet = answers(tiny_model, tokenizer, prompts)
    for layer in tiny_model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    tiny_model.train()
    assert answers(tiny_model, tokenizer, prompts) == quiet
    tiny_model.train()
    assert "".join(stream(tiny_model, tokenizer, prompts[1], max_new_tokens=24)) == quiet[1].text


def test_every_prompt_may_have_a_limit_of_its_own(tiny_model, tokenizer, prompts):
    found = answers(tiny_model, tokenizer, prompts, max_new_tokens=[3, 9, 4, 1, 24])
    assert [len(found[index].token_ids) for index in range(5)] == [3, 9, 4, 1, 24]


def test_an_answer_ends_before_eos_and_the_others_go_on(tiny_model, tokenizer, prompts):
    plain = answers(tiny_model, tokenizer, prompts)
    ending = ending_model(tiny_model, tokenizer, plain[1].token_ids[4])
    found = answers(ending, tokenizer, prompts)
    assert any(answer.finished for answer in found.values())
    said = {token for answer in found.values() for token in answer.token_ids}
    assert said.isdisjoint({tokenizer.eos_token_id, tokenizer.pad_token_id})
    assert "</s>" not in found[1].text
    assert found == one_by_one(ending, tokenizer, prompts)


def test_every_eos_that_the_model_knows_ends_an_answer(tiny_model, tokenizer, prompts):
    plain = answers(tiny_model, tokenizer, prompts)[2]
    turn_end = plain.token_ids[2]
    tiny_model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn_end]
    found = answers(tiny_model, tokenizer, prompts)[2]
    assert found.finished
    assert found.token_ids == plain.token_ids[: plain.token_ids.index(turn_end)]


def test_decoding_rules_of_the_model_are_set_aside_and_kept(tiny_model, tokenizer, prompts):
    plain = answers(tiny_model, tokenizer, prompts)
    config = tiny_model.generation_config
    config.repetition_penalty, config.do_sample, config.temperature, config.max_length = 5.0, True, 0.3, 4
    assert answers(tiny_model, tokenizer, prompts) == plain
    assert tiny_model.generation_config.repetition_penalty == 5.0


def test_an_adapter_generates_like_the_merged_model_and_leaves_its_config_alone(tiny_model, tokenizer, prompts):
    from peft import LoraConfig, get_peft_model

    config = tiny_model.generation_config
    tuned = get_peft_model(tiny_model, LoraConfig(target_modules="all-linear", r=4, init_lora_weights=False))
    found = answers(tuned, tokenizer, prompts)
    assert "".join(stream(tuned, tokenizer, prompts[1], max_new_tokens=24)) == found[1].text
    assert tuned.get_base_model().generation_config is config
    assert answers(tuned.merge_and_unload(), tokenizer, prompts) == found


def test_generation_warns_about_nothing(tiny_model, tokenizer, prompts, caplog, monkeypatch):
    tiny_model.generation_config.max_length = 4096
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "transformers"):
        warnings.simplefilter("error")
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        answers(tiny_model, tokenizer, prompts, temperature=0.5, top_p=0.5)
    assert not caplog.records


def test_a_prompt_too_long_for_the_model_loses_its_left_but_not_bos(tiny_model, tokenizer):
    (long,) = encode_prompts(["The kettle sings. " * 100], tokenizer)
    found = answers(tiny_model, tokenizer, [long])[0]
    room = 256 - 24
    short = [tokenizer.bos_token_id, *long[-(room - 1) :]]
    assert found.dropped == len(long) - room
    assert found.token_ids == answers(tiny_model, tokenizer, [short])[0].token_ids


def test_a_prompt_without_bos_is_cut_to_its_last_tokens():
    assert fit_prompt([5, 6, 7, 8], 2, bos=1) == [7, 8]
    assert fit_prompt([1, 6, 7, 8], 2, bos=1) == [1, 8]
    assert fit_prompt([1, 6], 2, bos=1) == [1, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 256}, "leaves no room for a prompt: the model has 256 positions; ask for at most 255"),
        ({"prefix": range(1, 240)}, "24 behind 239 tokens of examples leaves no room for a prompt: .* at most 16"),
        ({"max_new_tokens": 0}, "ask for at least 1"),
        ({"temperature": -1}, "temperature -1 is below 0"),
        ({"top_p": 0}, "top_p 0 is not above 0"),
    ],
)
def test_impossible_decoding_is_refused_before_the_model_runs(tiny_model, tokenizer, prompts, options, message):
    with pytest.raises(UsageError, match=message):
        answers(tiny_model, tokenizer, prompts, **options)


def test_a_prompt_without_tokens_is_refused(tiny_model, tokenizer):
    with pytest.raises(ModelError, match="prompt 0 has no tokens"):
        answers(tiny_model, tokenizer, [[]])


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3, "seed": 4}])
def test_a_stream_joins_to_what_generate_gives(tiny_model, tokenizer, prompts, options):
    """A random byte-level model says many broken characters, so this holds for incomplete bytes too."""
    pieces = list(stream(tiny_model, tokenizer, prompts[0], max_new_tokens=60, **options))
    assert len(pieces) > 3
    assert "".join(pieces) == answers(tiny_model, tokenizer, [prompts[0]], max_new_tokens=60, **options)[0].text


def test_a_stream_never_shows_half_a_character(tiny_model, tokenizer, monkeypatch):
    said = tokenizer("naïve ☕ 茶", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr("steep.generation._tokens", lambda *_: iter(said))
    pieces = list(stream(tiny_model, tokenizer, [1], max_new_tokens=60))
    assert "".join(pieces) == "naïve ☕ 茶"
    assert len(pieces) > 3
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_stream_ends_at_eos(tiny_model, tokenizer, prompts):
    plain = answers(tiny_model, tokenizer, prompts)
    ending = ending_model(tiny_model, tokenizer, plain[0].token_ids[0])
    assert "".join(stream(ending, tokenizer, prompts[0], max_new_tokens=24)) == ""

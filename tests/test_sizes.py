"""Parameters, memory and steps are computed as they come out: of PEFT, of bitsandbytes, of a training."""

from __future__ import annotations

from typing import Any

import pytest

from steep.recipe import Recipe, Train
from steep.sizes import (
    Shape,
    answer_bytes,
    evaluation_memory,
    merge_memory,
    trainable_parameters,
    training_memory,
    training_work,
)
from steep.sizes.memory import LIBRARIES, Memory
from steep.sizes.optimizers import optimizer_bytes
from steep.sizes.parameters import base_bytes
from steep.sizes.training import moments

GIB = 2**30
SMALL = {
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}


def recipe(model: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    values = {"name": "any", "gather": [{"files": "x.txt"}], "prepare": {"max_length": 128}, "model": model or {}}
    return Recipe.model_validate(values | sections)


def trained(quantization: str = "none", **train: Any) -> Recipe:
    return recipe({"quantization": quantization}, train=train)


def evaluated(*steps: Any, **sections: Any) -> Recipe:
    return recipe(evaluate=list(steps), **sections)


# ------------------------------------------------------------------------------------------------------- parameters


def model_of(config: dict[str, Any]):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**config))


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "mlp.down_proj"], ["lm_head", "v_proj"]], ids=str)
@pytest.mark.parametrize("dora", [False, True])
def test_lora_trains_as_many_parameters_as_peft_makes(targets, dora):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=5, target_modules=targets, use_dora=dora, task_type="CAUSAL_LM")
    train = Train.model_validate({"lora": {"rank": 5, "target_modules": targets, "use_dora": dora}})
    expected = get_peft_model(model_of(SMALL), config).get_nb_trainable_parameters()[0]
    assert trainable_parameters(Shape.of(SMALL), train) == expected


def test_adalora_trains_as_many_parameters_as_peft_makes():
    from peft import AdaLoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    config = AdaLoraConfig(init_r=7, target_r=3, total_step=9, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(LlamaForCausalLM(model_of(SMALL).config), config)
    train = Train.model_validate({"method": "adalora", "adalora": {"init_r": 7, "target_r": 3}})
    assert trainable_parameters(Shape.of(SMALL), train) == model.get_nb_trainable_parameters()[0]


def test_adaption_prompts_are_as_many_parameters_as_peft_makes():
    from peft import AdaptionPromptConfig, get_peft_model

    config = AdaptionPromptConfig(adapter_len=6, adapter_layers=2, task_type="CAUSAL_LM")
    train = Train.model_validate({"method": "adaption-prompt", "adaption_prompt": {"adapter_len": 6}})
    model = get_peft_model(model_of(SMALL), config)
    assert trainable_parameters(Shape.of(SMALL), train) == sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )


def test_new_tokens_are_rows_of_both_embeddings():
    untied, tied = Shape.of(SMALL), Shape.of(SMALL | {"tie_word_embeddings": True})
    for shape, matrices in ((untied, 2), (tied, 1)):
        for train in (Train(), Train(method="full")):
            more = trainable_parameters(shape, train, 3) - trainable_parameters(shape, train)
            assert more == 3 * 64 * matrices


# ---------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(("quantization", "double"), [("nf4", True), ("nf4", False), ("int8", True)])
def test_quantised_weights_take_what_bitsandbytes_holds(quantization, double):
    import torch

    bnb = pytest.importorskip("bitsandbytes")
    shape, held = Shape.of(SMALL), 0
    for one in shape.linears:
        values = torch.randn(one.outputs, one.inputs)
        if quantization == "int8":
            rounded, scales, _ = bnb.functional.int8_vectorwise_quant(values.half())
            held += rounded.nbytes + scales.nbytes
        else:
            packed, state = bnb.functional.quantize_4bit(values, quant_type="nf4", compress_statistics=double)
            held += packed.nbytes + state.absmax.nbytes + (state.state2.absmax.nbytes if double else 0)
    model = recipe({"quantization": quantization, "double_quantization": double}).model
    rest = 2 * (shape.parameters - shape.layer_matrices)
    assert base_bytes(shape, model, 2) - rest == 4 * held


def test_fp8_weights_take_two_copies_and_their_scales():
    import torch

    from steep.speed.fp8 import Fp8Linear

    shape = Shape.of(SMALL)
    layers = [Fp8Linear(torch.nn.Linear(one.inputs, one.outputs, bias=False)) for one in shape.linears]
    held = sum(tensor.nbytes for layer in layers for tensor in (layer.weight, layer.scale, layer.turned))
    rest = 2 * (shape.parameters - shape.layer_matrices)
    assert base_bytes(shape, recipe({"quantization": "fp8"}).model, 2) - rest == 4 * held


# --------------------------------------------------------------------------------------------------------- training


def states(memory: Memory) -> float:
    return memory.weights + memory.gradients + memory.optimizer


def test_full_training_holds_16_bytes_for_each_parameter():
    *_, step = moments(Shape.of(LLAMA_2_7B), trained(method="full"), cuda=True)
    assert states(step) == 16 * Shape.of(LLAMA_2_7B).parameters


def test_lora_holds_frozen_weights_once_and_16_bytes_for_each_trained_parameter():
    shape, options = Shape.of(LLAMA_2_7B), trained()
    *_, step = moments(shape, options, cuda=True)
    assert states(step) == 2 * shape.parameters + 16 * trainable_parameters(shape, options.train)


def test_of_nf4_weights_those_that_share_an_input_are_made_whole_together():
    shape = Shape.of(LLAMA_2_7B)
    shared, alone = (
        list(moments(shape, trained("nf4", lora={"use_dora": dora}, batch_size=1), cuda=True))[2].activations
        - list(moments(shape, trained(lora={"use_dora": dora}, batch_size=1), cuda=True))[2].activations
        for dora in (False, True)
    )
    assert shared == 2 * 2 * 4096 * 11008  # gate and up in bfloat16
    assert alone < shared


def test_adapters_of_quantised_weights_are_held_in_float32_as_others_are():
    shape, options = Shape.of(LLAMA_2_7B), trained("nf4")
    *_, step = moments(shape, options, cuda=True)
    base = base_bytes(shape, options.model, 2)
    assert states(step) == base + 16 * trainable_parameters(shape, options.train)


def test_the_largest_moment_counts_and_not_the_sum_of_all():
    shape, options = Shape.of(LLAMA_2_7B), trained(method="full", batch_size=1)
    found = list(moments(shape, options, cuda=True))
    assert training_memory(shape, options, cuda=True).total == max(memory.total for memory in found)
    assert found[0].gradients < found[-1].gradients


def test_logits_of_a_large_vocabulary_are_limited():
    shape = Shape.of(LLAMA_2_7B | {"vocab_size": 128_256})
    found = (next(iter(moments(shape, trained(batch_size=size), cuda=True))).logits for size in (64, 128))
    few, many = (logits - size * 128 * 4096 * 8 for logits, size in zip(found, (64, 128), strict=True))
    assert few == many == 8 * 2**27


def test_gradients_are_there_in_the_forward_pass_only_where_they_are_added_up():
    shape = Shape.of(LLAMA_2_7B)
    once, added = (
        next(iter(moments(shape, trained(method="full", gradient_accumulation_steps=steps), cuda=True)))
        for steps in (1, 2)
    )
    assert added.gradients - once.gradients == 4 * shape.parameters


def test_checkpointing_keeps_layer_inputs_only():
    shape = Shape.of(LLAMA_2_7B)
    kept = next(iter(moments(shape, trained(gradient_checkpointing=True), cuda=True))).activations
    assert kept == pytest.approx(1.03 * 8 * 128 * (32 * 4096 * 2 + 2 * 128 * 2))


@pytest.mark.parametrize(("optim", "size"), [("adamw_torch_fused", 8), ("sgd", 0), ("paged_adamw_32bit", 8)])
def test_an_optimizer_keeps_so_many_bytes_per_parameter(optim, size):
    shape = Shape.of(SMALL)
    assert optimizer_bytes(shape, Train(method="full", optim=optim)) == size * shape.parameters


@pytest.mark.parametrize(("optim", "moments_"), [("adamw_8bit", 2), ("lion_8bit", 1)])
def test_optimizers_of_8_bits_keep_embeddings_and_small_tensors_in_32(optim, moments_):
    shape = Shape.of(LLAMA_2_7B)
    embedding = 32000 * 4096
    rest = shape.parameters - embedding
    expected = moments_ * (4 * embedding + rest * (1 + 4 / 256))
    assert optimizer_bytes(shape, Train(method="full", optim=optim)) == expected


def test_adafactor_keeps_rows_and_columns_as_transformers_does():
    import torch
    from transformers.optimization import Adafactor

    matrix = torch.nn.Parameter(torch.randn(40, 30))
    optimizer = Adafactor([matrix], lr=1e-3, scale_parameter=False, relative_step=False)
    matrix.sum().backward()
    optimizer.step()
    state = [value for value in optimizer.state[matrix].values() if isinstance(value, torch.Tensor) and value.ndim]
    assert sum(value.numel() for value in state) == 40 + 30


def test_muon_keeps_one_moment_of_the_matrices():
    shape = Shape.of(SMALL)
    found = optimizer_bytes(shape, Train(method="full", optim="muon"))
    assert found == 8 * shape.parameters - 4 * shape.layer_matrices


def test_pairs_of_answers_are_twice_as_many_rows():
    shape, template = Shape.of(LLAMA_2_7B), {"template": "alpaca", "max_length": 128}
    single, pair = (
        next(iter(moments(shape, recipe(prepare=template, train={"objective": name}), cuda=True))).activations
        for name in ("sft", "dpo")
    )
    assert pair == 2 * single


def test_a_reference_model_is_a_copy_only_where_there_is_no_adapter_to_switch_off():
    shape, template = Shape.of(LLAMA_2_7B), {"template": "alpaca", "max_length": 128}
    for method, copies in (("full", 1), ("lora", 0)):
        sft, dpo = (
            list(moments(shape, recipe(prepare=template, train={"objective": name, "method": method}), cuda=True))[-1]
            for name in ("sft", "dpo")
        )
        assert dpo.weights - sft.weights == copies * 4 * shape.parameters


def test_answers_that_the_model_writes_hold_keys_and_values_of_prompt_and_answer():
    shape = Shape.of(LLAMA_2_7B)
    rollouts = {"rewards": ["module:function"], "num_generations": 4, "max_completion_length": 64}
    options = recipe(
        prepare={"template": "alpaca", "max_length": 128}, train={"objective": "grpo", "rollouts": rollouts}
    )
    *_, writing, _ = moments(shape, options, cuda=True)
    assert writing.activations == 8 * (128 + 64) * 2 * 32 * 4096 * 2  # rows, tokens, keys and values, layers, width


def test_fsdp_shares_out_what_ddp_holds_on_every_device():
    shape, common = Shape.of(LLAMA_2_7B), {"method": "full", "batch_size": 1}
    alone, shared, copied = (
        list(moments(shape, trained(**common, **more), cuda=True))[-1]
        for more in ({}, {"devices": 4, "parallel": "fsdp"}, {"devices": 4, "parallel": "ddp"})
    )
    assert shared.optimizer == alone.optimizer / 4
    assert copied.optimizer == alone.optimizer
    assert copied.gradients == 2 * alone.gradients


# ------------------------------------------------------------------------------------------- evaluation and merging


def test_estimates_use_the_limits_of_those_who_compute_logits():
    from steep import sizes
    from steep.evaluate import perplexity
    from steep.speed import loss

    assert loss.LOGITS == sizes.TRAINED_LOGITS
    assert (perplexity.BATCH_TOKENS, perplexity.LOGITS) == (sizes.SCORED_TOKENS, sizes.SCORED_LOGITS)


def test_evaluation_holds_the_keys_and_values_of_every_continued_prompt():
    shape = Shape.of(SMALL)
    few, many = (
        evaluation_memory(shape, evaluated({"continuation": {"batch_size": size}}), cuda=False) for size in (1, 33)
    )
    cache = 32 * 128 * 2 * 32 * 4 * 4  # tokens, keys and values, their width, layers, bytes
    widest = 32 * 128 * (3 * 160 + 4 * 64) * 4
    assert many.activations - few.activations == cache + widest


def test_what_an_answer_is_taken_to_hold_is_what_its_cache_takes(tokenizer, tiny_model):
    from steep.generation import generate

    taken = []
    tiny_model.register_forward_pre_hook(
        lambda _, args, given: taken.append(given["past_key_values"]), with_kwargs=True
    )
    list(generate(tiny_model, tokenizer, [[1, 5, 6, 7]] * 3, max_new_tokens=10))
    layers = [layer for layer in taken[-1].layers if layer.keys is not None]
    shape = Shape.of(tiny_model.config.to_dict())
    token, _ = answer_bytes(shape.num_hidden_layers, shape.linears[1].outputs, shape.vocab_size, 4)
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) == 3 * (4 + 10) * token


@pytest.mark.parametrize("step", ["continuation", "completion"])
def test_answers_without_a_batch_size_take_half_of_what_a_gpu_has_free(step):
    shape, template = Shape.of(LLAMA_2_7B), {"template": "alpaca", "max_length": 512}
    weights = evaluation_memory(shape, evaluated("contamination"), cuda=True).total
    memory = evaluation_memory(shape, evaluated(step, prepare=template), cuda=True, memory=24 * GIB)
    assert memory.total < 24 * GIB
    assert memory.activations + memory.logits > 0.9 * (24 * GIB - weights) / 2


def test_answers_without_a_batch_size_take_no_more_than_a_budget():
    read = 8192 * (3 * 160 + 4 * 64)  # activations of the prompts that are read at a time
    for cuda, size, budget in ((True, 2, 32 * GIB), (False, 4, GIB)):
        memory = evaluation_memory(Shape.of(SMALL), evaluated("continuation"), cuda=cuda)
        assert memory.activations + memory.logits == pytest.approx(budget + read * size, rel=0.001)


def test_sampled_answers_hold_what_is_sorted_as_well():
    shape = Shape.of(SMALL)
    greedy, sampled = (
        evaluation_memory(shape, evaluated({"continuation": {"batch_size": 8, "temperature": heat}}), cuda=True)
        for heat in (0, 1)
    )
    assert sampled.logits - greedy.logits == 8 * 400 * 48


def test_quantised_models_are_evaluated_as_they_are():
    shape = Shape.of(LLAMA_2_7B)
    whole, rounded = (
        evaluation_memory(shape, recipe({"quantization": name}, evaluate=["contamination"]), cuda=True).weights
        for name in ("none", "nf4")
    )
    assert 0.25 < rounded / whole < 0.32


def test_quantised_weights_and_others_are_merged_in_float32():
    shape = Shape.of(LLAMA_2_7B)
    for quantization, size in (("none", 4), ("nf4", 4)):
        memory = merge_memory(shape, trained(quantization))
        assert memory is not None
        assert memory.total - LIBRARIES == pytest.approx(size * shape.parameters, rel=0.04)


@pytest.mark.parametrize("method", ["full", "adaption-prompt"])
def test_what_is_no_adapter_of_weights_is_not_merged(method):
    assert merge_memory(Shape.of(SMALL), trained(method=method)) is None


# ------------------------------------------------------------------------------------------------------------ steps


def test_steps_are_those_of_a_real_training(tokenizer, tiny_model, tmp_path):
    import pyarrow as pa

    from steep.tokens import encode
    from steep.train import train_model

    options = Train(method="full", dtype="float32", batch_size=2, gradient_accumulation_steps=2, epochs=1.5)
    texts = [{"text": f"the kettle sings when the water is ready {n}"} for n in range(60)]
    tokens = sum(len(one.input_ids) for one in encode(texts, tokenizer, 64))
    result = train_model(
        pa.Table.from_pylist(texts), options, model=tiny_model, tokenizer=tokenizer, max_length=64, folder=tmp_path
    )
    assert training_work(60, tokens, options, 64).steps == pytest.approx(result.steps, rel=0.15)
    unpacked = options.model_copy(update={"packing": False})
    assert training_work(60, tokens, unpacked, 64).steps == 23  # 60 / 2 batches, two to a step, 1.5 times: 22.5


def test_max_steps_stand_above_epochs():
    work = training_work(100, 10_000, Train(batch_size=2, max_steps=5, epochs=3), 100)
    assert (work.rows, work.steps, work.epochs, work.tokens) == (100, 5, 0.1, 1_000)


def test_a_step_of_several_devices_takes_rows_for_each():
    train = Train(batch_size=2, gradient_accumulation_steps=2, devices=2, nodes=2, packing=False, epochs=1)
    assert training_work(64, 1_000, train, 100).steps == 4
    chosen = Train(batch_size="auto", global_batch_size=32, devices=2, packing=False, epochs=1)
    assert training_work(64, 1_000, chosen, 100).steps == 2

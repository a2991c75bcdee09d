"""The one place that loads and makes models, adapters and tokenizers.

``tiny`` is the model that ships with steep; any other base is a folder or a hub name. Remote code is never run.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

from steep.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe import Architecture
    from steep.recipe.model import Model

# bitsandbytes tells of each pass in float32, and on some CPUs of a package that it would like to have
for noisy in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(noisy).setLevel(logging.ERROR)

TINY = Path(__file__).parent / "data" / "tiny"
WHOLE = ("lm_head", "score")
"""Layers that are never quantised."""
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}### {{ message['role'] }}:\n{{ message['content'] | trim }}\n"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)


def resolve(base: str, folder: Path | None = None) -> str:
    """``tiny`` to its folder, a path (relative to ``folder``) to an absolute one; anything else is a hub name."""
    if base == "tiny":
        return str(TINY)
    path = ((folder or Path()) / Path(base).expanduser()).resolve()
    return str(path) if path.is_dir() else base


@contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Turn what transformers raises for a missing or broken model into one message with what to do."""
    from safetensors import SafetensorError

    path = Path(name).expanduser()
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = shorten(str(error), 300)
        if not path.exists() and (path.is_absolute() or name.startswith((".", "~"))):
            reason = "there is no such folder"
        raise ModelError(
            f"cannot load the {what} {name!r}: {reason}\n"
            "a model is named by `tiny`, a folder with config.json and weights, or a hub name (with network, and with "
            "HF_TOKEN set for gated models)"
        ) from error


def load_tokenizer(name: str, revision: str | None = None, added_tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """Load a tokenizer and give it new tokens, as text like any other, with the next free ids in the order given.

    Where it has no pad token, one that is not EOS is chosen, so that EOS stays trained. Raises UsageError where it
    knows one of ``added_tokens`` already.
    """
    from transformers import AutoTokenizer

    with _explained(name, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer {name!r} has no EOS token: a model trained with it would never stop")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = _spare_token(tokenizer)
    _add_tokens(tokenizer, added_tokens)
    return tokenizer


def _add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    known = tokenizer.get_vocab()
    if already := [token for token in tokens if token in known or tokens.count(token) > 1]:
        names = ", ".join(map(repr, dict.fromkeys(already)))
        raise UsageError(
            f"model.added_tokens: the tokenizer {tokenizer.name_or_path!r} has {names} already, or would have them "
            "twice: leave them out"
        )
    tokenizer.add_tokens(list(tokens))


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """A token to pad with that is not EOS. Padding is masked everywhere, so any other token serves."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    for token in ("<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|reserved_special_token_0|>", tokenizer.unk_token):
        if token in vocabulary and token != tokenizer.eos_token:
            return str(token)
    return min((token for token in vocabulary if token != tokenizer.eos_token), key=vocabulary.__getitem__)


class Loading(TypedDict, total=False):
    """How weights are held."""

    dtype: Required[torch.dtype]
    revision: str | None
    quantization: str
    """none, int8, nf4 or fp8; of the linear layers, but for the output layer."""
    double_quantization: bool
    reward: bool
    """With a score in place of the output layer."""
    on_host: bool
    """Leave them in the host's memory, to be shared out over devices later."""


def own_dtype() -> torch.dtype:
    """Of weights that are not trained: bfloat16 on a GPU."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def loading_of(model: Model, revision: str | None) -> Loading:
    """How a recipe's model is held when it is not trained; ``revision`` is the commit that was."""
    return Loading(
        dtype=own_dtype(),
        revision=revision,
        quantization=model.quantization,
        double_quantization=model.double_quantization,
    )


def load_model(name: str, **loading: Unpack[Loading]) -> PreTrainedModel:
    """Load a causal language model, or a reward model, onto this process's GPU, or the CPU where there is none."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if loading.get("reward") and (Path(name) / "adapter_config.json").is_file():
        return _load_reward_adapter(name, loading)
    options: dict[str, Any] = {"dtype": loading["dtype"], "revision": loading.get("revision")}
    kind = AutoModelForCausalLM
    if loading.get("reward"):
        kind, options["num_labels"] = AutoModelForSequenceClassification, 1
    quantization, on_host = loading.get("quantization", "none"), loading.get("on_host", False)
    quantized = quantization in ("int8", "nf4")
    if quantized:
        options |= {"quantization_config": _quantized(loading), "device_map": {"": device()}}
    with _explained(name, "model"):
        model = kind.from_pretrained(name, **options)
    if quantized:
        _mend_quantized(model)
    elif not on_host:
        model = model.to(device())
    if quantization == "fp8":
        from steep.speed.fp8 import hold_in_fp8

        hold_in_fp8(model, WHOLE)
    return model


def _load_reward_adapter(name: str, loading: Loading) -> PreTrainedModel:
    """By PEFT: transformers 5.17 leaves the score that belongs to an adapter at random numbers."""
    from peft import PeftConfig, PeftModel

    with _explained(name, "adapter"):
        base = PeftConfig.from_pretrained(name).base_model_name_or_path
    loading = {**loading, "revision": None}
    return PeftModel.from_pretrained(load_model(base, **loading), name).eval()


def _quantized(loading: Loading) -> BitsAndBytesConfig:
    from transformers import BitsAndBytesConfig

    if loading["quantization"] == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(WHOLE))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=loading.get("double_quantization", True),
        bnb_4bit_compute_dtype=loading["dtype"],
        bnb_4bit_quant_storage=loading["dtype"] if loading.get("on_host") else None,  # FSDP shards one dtype only
        llm_int8_skip_modules=list(WHOLE),
    )


def _mend_quantized(model: PreTrainedModel) -> None:
    """Two faults of bitsandbytes 0.50.

    On a CPU with AVX512-BF16, 4-bit weights are repacked at the first pass without gradients; from then on their layers
    pass a wrong gradient (cosine 0.42 with the right one) and merge wrongly. And where PEFT's DoRA has read an 8-bit
    weight on a CPU, the layer takes the weight's scales, which are gone, for its own.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
        elif isinstance(module, Linear8bitLt):
            _keep_scales(module)


def _keep_scales(layer: Any) -> None:
    take = layer.init_8bit_state

    def take_if_there() -> None:
        if layer.weight.SCB is None:
            layer.weight.CB = None
        else:
            take()

    layer.init_8bit_state = take_if_there


def quantization_of(model: PreTrainedModel) -> str:
    """As a recipe names it."""
    names = {"is_loaded_in_4bit": "nf4", "is_loaded_in_8bit": "int8", "is_loaded_in_fp8": "fp8"}
    return next((name for flag, name in names.items() if getattr(model, flag, False)), "none")


def fit_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give tokens that were added a row of the embedding each, drawn around the mean of the others with a fixed seed.

    The same rows come out wherever a model is loaded, so that a base model and a tuned one differ by training alone.
    """
    from transformers import set_seed

    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        set_seed(0)
        model.resize_token_embeddings(len(tokenizer))


def load_tuned(
    train_folder: Path, base: str, tokenizer: PreTrainedTokenizerBase | None = None, **loading: Unpack[Loading]
) -> PreTrainedModel:
    """Load what the train stage left in its folder: ``model/``, or ``adapter/`` on top of ``base``.

    ``tokenizer``: that of the run, where it may have more tokens than the base model.
    """
    if (train_folder / "model").is_dir():
        return load_model(str(train_folder / "model"), dtype=loading["dtype"], reward=loading.get("reward", False))
    from peft import PeftModel

    model = load_model(base, **loading)
    if tokenizer is not None:
        fit_vocabulary(model, tokenizer)
    tuned = PeftModel.from_pretrained(model, train_folder / "adapter").eval()
    for name, parameter in tuned.named_parameters():
        if ".ranknum." in name:  # a number in float32: of AdaLoRA beside int8, a vector of one would make all float32
            parameter.data = parameter.data.squeeze()
    return tuned


def load_merged(
    train_folder: Path, base: str, tokenizer: PreTrainedTokenizerBase | None = None, **loading: Unpack[Loading]
) -> PreTrainedModel:
    """The tuned model as one, in float32: the adapter's product is added to the weights.

    Quantised weights are dequantised first, and the adapter is added to those: added to the original weights it would
    make up for rounding that is not there (71 to 78 % of the likeliest tokens stay the same; this way 99 %). Raises
    ModelError for adapters that are no sum with a weight.
    """
    import torch

    from steep.speed.fp8 import make_whole

    if (train_folder / "model").is_dir():
        return load_tuned(train_folder, base, **loading)
    if not _is_sum(train_folder):
        raise ModelError(f"{train_folder / 'adapter'} cannot be merged: an adaption prompt is no sum with the weights")
    from peft import PeftModel

    loading["dtype"] = torch.float32
    model = load_model(base, **loading)
    if loading.get("quantization", "none") == "fp8":
        make_whole(model)
    elif loading.get("quantization", "none") != "none":
        model = model.dequantize(torch.float32).float()
    if tokenizer is not None:
        fit_vocabulary(model, tokenizer)
    return PeftModel.from_pretrained(model, train_folder / "adapter").merge_and_unload().eval()


def _is_sum(train_folder: Path) -> bool:
    config = json.loads((train_folder / "adapter" / "adapter_config.json").read_text("utf-8"))
    return config["peft_type"] in ("LORA", "ADALORA")


def device() -> torch.device:
    """This process's GPU: each of several processes has its own."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def train_tokenizer(texts: Iterable[str], vocab_size: int, model_max_length: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909) with BOS, EOS and a pad token that is not EOS."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # GPT-4's way of cutting, with single digits: numbers are then no lottery of merges
    pattern = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(architecture: Architecture, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama with random float32 weights whose vocabulary is the tokenizer's."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    shape: dict[str, Any] = architecture.model_dump(exclude={"vocab_size", "rope_theta"})
    config = LlamaConfig(
        **shape,
        vocab_size=len(tokenizer),
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    set_seed(seed)
    return LlamaForCausalLM(config).to(device())

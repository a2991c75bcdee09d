"""The one place that loads and makes models, adapters and tokenizers.

``tiny`` is the model that ships with steep; any other base is a folder or a hub name. Remote code is never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from steep.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe import Architecture

TINY = Path(__file__).parent / "data" / "tiny"
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


def load_model(name: str, *, dtype: torch.dtype, revision: str | None = None) -> PreTrainedModel:
    """Load a causal language model onto the first GPU, or the CPU where there is none."""
    from transformers import AutoModelForCausalLM

    with _explained(name, "model"):
        model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype)
    return model.to(device())


def load_tuned(train_folder: Path, base: str, *, dtype: torch.dtype, revision: str | None = None) -> PreTrainedModel:
    """Load what the train stage left in its folder: ``model/``, or ``adapter/`` on top of ``base``."""
    if (train_folder / "model").is_dir():
        return load_model(str(train_folder / "model"), dtype=dtype)
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_model(base, dtype=dtype, revision=revision), train_folder / "adapter")
    return model.eval()


def device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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

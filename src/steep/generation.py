"""Text from a model: many prompts in batches, or one prompt streamed to a terminal.

Decoding depends on the arguments alone. What a model's own generation config says (a repetition penalty, a
temperature) is set aside, else base and tuned model would be compared under different rules. A sampled token depends
on the seed, the prompt's index and the step, so how prompts fall into batches changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from steep.errors import ModelError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Generated:
    """The answer to the prompt at ``index``, without EOS and padding.

    ``finished``: the model ended it, not the limit. ``dropped``: tokens of the prompt that did not fit the model.
    """

    index: int
    token_ids: list[int]
    text: str
    finished: bool
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest."""

    temperature: float
    top_p: float
    seed: int

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UsageError(
                f"temperature {self.temperature} is below 0; 0 is greedy, 1 is the model's own distribution"
            )
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p} is not above 0 and at most 1")

    def chooser(self, keys: Sequence[int], steps: int) -> LogitsProcessorList:
        """What leaves only the chosen token of each row; nothing where decoding is greedy."""
        return LogitsProcessorList([_Chooser(self, keys, steps)] if self.temperature > 0 else [])


class _Chooser(LogitsProcessor):  # type: ignore[misc]
    """Inverse transform sampling with one uniform number per row and step, drawn from the row's own generator."""

    def __init__(self, sampling: Sampling, keys: Sequence[int], steps: int) -> None:
        self.sampling = sampling
        seeds = [(sampling.seed * 1_000_003 + key) % 2**63 for key in keys]
        draws = [
            torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds
        ]
        self.draws = iter(torch.stack(draws, dim=1))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        probabilities = torch.softmax(scores.double() / self.sampling.temperature, dim=-1)
        ordered, tokens = probabilities.sort(descending=True, stable=True)
        cumulative = ordered.cumsum(dim=-1)
        # the nucleus: the likeliest tokens until together they hold top_p
        kept = (cumulative - ordered < self.sampling.top_p).sum(dim=-1, keepdim=True)
        mass = cumulative.gather(-1, kept - 1)
        draw = next(self.draws).to(scores.device).unsqueeze(-1)
        rank = (cumulative <= draw * mass).sum(dim=-1, keepdim=True).minimum(kept - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens.gather(-1, rank), 0.0)


@dataclass(frozen=True, slots=True)
class _Request:
    index: int
    prompt: list[int]
    limit: int
    dropped: int


def generate(  # noqa: PLR0913
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 32,
    first_index: int = 0,
) -> Iterator[Generated]:
    """Continue every prompt; answers come batch by batch, longest prompts first.

    ``max_new_tokens`` is one number or one per prompt. A prompt that does not fit the model's positions loses tokens
    on the left (BOS stays). ``first_index`` numbers the first prompt, for a job that goes on where it stopped: the same
    index samples the same answer. The model is left in eval mode.
    """
    sampling = Sampling(temperature, top_p, seed)
    limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    numbered = enumerate(zip(prompts, limits, strict=True), first_index)
    requests = [_request(model, tokenizer, index, prompt, limit) for index, (prompt, limit) in numbered]
    requests.sort(key=lambda request: (len(request.prompt), request.limit), reverse=True)
    model.eval()
    for start in range(0, len(requests), batch_size):
        yield from _generate_batch(model, tokenizer, requests[start : start + batch_size], sampling)


def fit_prompt(prompt: Sequence[int], room: int, bos: int | None) -> list[int]:
    """The last ``room`` tokens of a prompt; a BOS at its head stays in place."""
    if len(prompt) <= room:
        return list(prompt)
    if room > 1 and prompt[0] == bos:
        return [prompt[0], *prompt[1 - room :]]
    return list(prompt[-room:])


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens the model can see at once, where its config says so."""
    number: int | None = getattr(model.config, "max_position_embeddings", None)
    return number


def _request(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, index: int, prompt: Sequence[int], limit: int
) -> _Request:
    seen = positions(model)
    if limit < 1:
        raise UsageError(f"max_new_tokens is {limit}; ask for at least 1")
    if not prompt:
        raise ModelError(f"prompt {index} has no tokens, and the tokenizer has no BOS to start from; give some text")
    if seen is None:
        return _Request(index, list(prompt), limit, dropped=0)
    if limit >= seen:
        raise UsageError(
            f"max_new_tokens {limit} leaves no room for a prompt: the model has {seen} positions; "
            f"ask for at most {seen - 1}"
        )
    fitted = fit_prompt(prompt, seen - limit, tokenizer.bos_token_id)
    return _Request(index, fitted, limit, dropped=len(prompt) - len(fitted))


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """EOS as the tokenizer and the model's generation config know it (Llama 3 has several)."""
    known = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])}
    return sorted(number for number in ids if number is not None)


@contextmanager
def _own_rules(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Set the model's generation config aside: transformers merges it into any config that is passed along.

    An adapter's wrapper has one of its own beside that of the model inside.
    """
    holders = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = config
    try:
        yield
    finally:
        for holder, kept in zip(holders, before, strict=True):
            holder.generation_config = kept


def _generate_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: list[_Request], sampling: Sampling
) -> Iterator[Generated]:
    stop = _stop_ids(model, tokenizer)
    pad = stop[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    width, steps = max(len(request.prompt) for request in requests), max(request.limit for request in requests)
    padding = [width - len(request.prompt) for request in requests]
    ids = [[pad] * gap + request.prompt for gap, request in zip(padding, requests, strict=True)]
    mask = [[0] * gap + [1] * (width - gap) for gap in padding]
    with _own_rules(model, GenerationConfig(max_new_tokens=steps, eos_token_id=stop, pad_token_id=pad)):
        output = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            logits_processor=sampling.chooser([request.index for request in requests], steps),
        )
    for request, row in zip(requests, output[:, width:].tolist(), strict=True):
        yield _answer(tokenizer, request, row[: request.limit], stop)


def _answer(tokenizer: PreTrainedTokenizerBase, request: _Request, tokens: list[int], stop: Sequence[int]) -> Generated:
    end = next((place for place, token in enumerate(tokens) if token in stop), None)
    kept = tokens[:end]
    return Generated(request.index, kept, decode(tokenizer, kept), end is not None, request.dropped)


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of token ids, special tokens left out, blanks as they are."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """Continue one prompt piece by piece; joined, the pieces are the text that `generate` gives."""
    sampling = Sampling(temperature, top_p, seed)
    request = _request(model, tokenizer, 0, prompt, max_new_tokens)
    model.eval()
    tokens: list[int] = []
    shown = start = 0
    for token in _tokens(model, request, sampling, _stop_ids(model, tokenizer)):
        tokens.append(token)
        # decoded behind the tokens already shown: a leading blank depends on what stands before it
        before, now = decode(tokenizer, tokens[start:shown]), decode(tokenizer, tokens[start:])
        if len(now) > len(before) and not now.endswith("\ufffd"):  # else a character is still incomplete
            yield now[len(before) :]
            start, shown = shown, len(tokens)
    if rest := decode(tokenizer, tokens[start:])[len(decode(tokenizer, tokens[start:shown])) :]:
        yield rest


def _tokens(model: PreTrainedModel, request: _Request, sampling: Sampling, stop: Sequence[int]) -> Iterator[int]:
    """Prefill, then one token at a time on the cache."""
    choose = sampling.chooser([request.index], request.limit)
    ids = torch.tensor([request.prompt], device=model.device)
    cache = None
    for _ in range(request.limit):
        with torch.no_grad():
            output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        ids = choose(ids, output.logits[:, -1].float()).argmax(dim=-1, keepdim=True)
        if int(ids) in stop:
            return
        yield int(ids)

"""Text from a model: many prompts at a time, or one prompt streamed to a terminal.

Decoding depends on the arguments alone. What a model's own generation config says (a repetition penalty, a
temperature) is not asked, else base and tuned model would be compared under different rules. A sampled token depends
on the seed, the prompt's index and the step, so how prompts fall into batches changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from steep.errors import ModelError, UsageError
from steep.generation.batches import Batches, Generated, Row, stop_ids
from steep.generation.cache import Prefix
from steep.generation.decoding import decode
from steep.generation.memory import Room
from steep.generation.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Generated", "Prefix", "Sampling", "decode", "fit_prompt", "generate", "positions", "stream"]


def generate(  # noqa: PLR0913
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    prefix: Sequence[int] = (),
    indices: Sequence[int] | None = None,
) -> Iterator[Generated]:
    """Continue every prompt; an answer comes as soon as it has ended, those of the longest prompts first.

    ``max_new_tokens`` is one number or one per prompt. ``batch_size`` None: as many prompts at a time as the memory
    holds (`steep.sizes.answer_budget`). ``prefix``: tokens that stand before every prompt; what the model makes of them
    is computed once. A prompt that does not fit the model's positions loses tokens on the left (BOS stays). ``indices``
    numbers the prompts, from 0 where it is not given: the same index samples the same answer. The model is left in
    eval mode.
    """
    sampling = Sampling(temperature, top_p, seed)
    limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    numbers = range(len(prompts)) if indices is None else indices
    rows = [
        _row(model, tokenizer, index, prompt, limit, prefix)
        for index, prompt, limit in zip(numbers, prompts, limits, strict=True)
    ]
    if prefix and _sees_a_window(model):  # which is counted in columns, and behind the prefix some of them are empty
        rows = [row.behind(prefix) for row in rows]
        prefix = ()
    model.eval()
    return Batches(model, tokenizer, sampling, Room.of(model, batch_size), prefix).answers(rows)


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


def _sees_a_window(model: PreTrainedModel) -> bool:
    return getattr(model.config, "sliding_window", None) is not None


def _row(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    index: int,
    prompt: Sequence[int],
    limit: int,
    prefix: Sequence[int],
) -> Row:
    seen = positions(model)
    if limit < 1:
        raise UsageError(f"max_new_tokens is {limit}; ask for at least 1")
    if not prompt:
        raise ModelError(f"prompt {index} has no tokens, and the tokenizer has no BOS to start from; give some text")
    if seen is None:
        return Row(index, list(prompt), limit)
    room = seen - len(prefix) - limit
    if room < 1:
        before = f" behind {len(prefix)} tokens of examples" if prefix else ""
        raise UsageError(
            f"max_new_tokens {limit}{before} leaves no room for a prompt: the model has {seen} positions; "
            f"ask for at most {seen - len(prefix) - 1}"
        )
    fitted = fit_prompt(prompt, room, tokenizer.bos_token_id)
    return Row(index, fitted, limit, dropped=len(prompt) - len(fitted))


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
    row = _row(model, tokenizer, 0, prompt, max_new_tokens, ())
    model.eval()
    tokens: list[int] = []
    shown = start = 0
    for token in _tokens(model, row, sampling, stop_ids(model, tokenizer)):
        tokens.append(token)
        # decoded behind the tokens already shown: a leading blank depends on what stands before it
        before, now = decode(tokenizer, tokens[start:shown]), decode(tokenizer, tokens[start:])
        if len(now) > len(before) and not now.endswith("\ufffd"):  # else a character is still incomplete
            yield now[len(before) :]
            start, shown = shown, len(tokens)
    if rest := decode(tokenizer, tokens[start:])[len(decode(tokenizer, tokens[start:shown])) :]:
        yield rest


def _tokens(model: PreTrainedModel, row: Row, sampling: Sampling, stop: Sequence[int]) -> Iterator[int]:
    """Prefill, then one token at a time on the cache."""
    draws = sampling.draws(row.index, row.limit)
    ids = torch.tensor([row.prompt], device=model.device)
    cache = None
    for step in range(row.limit):
        with torch.no_grad():
            output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        ids = sampling.choose(output.logits[:, -1], draws[step : step + 1]).unsqueeze(-1)
        if int(ids) in stop:
            return
        yield int(ids)

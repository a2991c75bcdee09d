"""What the model writes while it is trained: a few prompts, answered every so many steps, for the eye and on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from steep.chat import segments
from steep.generation import generate
from steep.terminal import console, harmless
from steep.tokens import encode_prompts, text_ids
from steep.train.parallel import is_main
from steep.train.rows import batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steep.train.objectives import Setting
    from steep.train.rows import Examples

PROMPTS = 3
LONGEST = 64
EXCERPT = 120
Prompt = tuple[str, list[int]]
BEGINNING = 8
"""Words of a text that has no prompt of its own."""


def sample_prompts(examples: Examples, tokenizer: PreTrainedTokenizerBase) -> list[Prompt]:
    """The prompts of the first examples, what stands before the first answer of a conversation, or how texts begin."""
    first = next(iter(batches(examples)), None)
    rows = [] if first is None else first.slice(0, PROMPTS).to_pylist()
    return [_prompt(row, tokenizer) for row in rows]


def _prompt(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Prompt:
    if "messages" in row:  # as its template renders it, which brings BOS where there is one
        text = segments(row["messages"], tokenizer)[0].text
        return text, text_ids([text], tokenizer)[0]
    text = row.get("prompt") or " ".join(row["text"].split()[:BEGINNING])
    return text, encode_prompts([text], tokenizer)[0]


class Writer(TrainerCallback):  # type: ignore[misc]
    """Answers greedily, so that the same weights write the same."""

    def __init__(self, every: int, prompts: Sequence[Prompt], setting: Setting) -> None:
        self.every, self.prompts, self.setting = every, prompts, setting

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0 and is_main():
            plain = getattr(model, "module", model)
            with _at_rest(plain):
                ids = [ids for _, ids in self.prompts]
                answers = sorted(
                    generate(plain, self.setting.tokenizer, ids, max_new_tokens=LONGEST), key=lambda one: one.index
                )
            self._tell(state.global_step, [answer.text for answer in answers])

    def _tell(self, step: int, answers: Sequence[str]) -> None:
        out = console(error=True)
        with (self.setting.folder / "samples.jsonl").open("a", encoding="utf-8") as file:
            for (prompt, _), answer in zip(self.prompts, answers, strict=True):
                row = {"step": step, "prompt": prompt, "completion": answer}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                said = harmless(" ".join(f"{prompt[-EXCERPT:]} → {answer[:EXCERPT]}".split()))
                out.print(f"step {step}: {said}", markup=False)


@contextmanager
def _at_rest(model: Any) -> Iterator[None]:
    """As for generation: with plain attention and a cache, and no random number used up."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    attention, cache, training = base.config._attn_implementation, base.config.use_cache, model.training
    devices = [base.device] if base.device.type == "cuda" else []
    base.set_attn_implementation("sdpa")
    base.config.use_cache = True
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        yield
    base.set_attn_implementation(attention)
    base.config.use_cache = cache
    model.train(training)

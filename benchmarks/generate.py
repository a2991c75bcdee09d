"""Answers to many prompts: steep beside `model.generate` with batches of 16 in the order of the prompts, on the same
work, in turn in one process; and how many answers change with the batches, and why.

python benchmarks/generate.py [--json benchmarks/results/generate.json] [--sorted] [--continuous]
python benchmarks/generate.py --quick      # on a CPU, in about a minute

The model has the shape of Llama 3.2 1B and random weights in bfloat16, so nothing is downloaded. Lengths of prompts
and answers are drawn from log-normal distributions fitted to 1,201 dialogues and their summaries (abachaa/MTS-Dialog;
words x 1.3). Random weights never stop by themselves: each prompt has a limit of its own, the same for all engines, and
counts as answered with that many tokens. A batch of the peer runs to its longest limit, as it would to its longest
answer. The peer's batches do not depend on each other, so in each round it answers another part of the prompts.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LlamaConfig, LlamaForCausalLM

from steep.generation import generate
from steep.models import TINY, device, load_model, load_tokenizer

PROMPT, LONGEST_PROMPT = (4.46, 0.96), 1024
ANSWER, LONGEST_ANSWER = (2.93, 1.54), 128
"""Mean and deviation of the logarithm, and where it is cut: 128 is `max_new_tokens` of a recipe that says nothing."""
CONFIG = LlamaConfig(
    vocab_size=128256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=131072,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=None,
)
PATIENCE = 90
"""Seconds for continuous batching, which without flash attention looks at the keys of all prompts for each of them."""
GENERAL = TINY.parent / "general.jsonl"


@dataclass(frozen=True)
class Work:
    """Prompts with their limits; ``answers`` are tokens by the prompt's place."""

    prompts: list[list[int]]
    limits: list[int]

    def part(self, begin: int, size: int) -> Work:
        return Work(self.prompts[begin : begin + size], self.limits[begin : begin + size])


Answers = dict[int, list[int]]
Engine = Callable[[Any, Work], Answers]


class Numbers:
    """What steep asks of a tokenizer, where there is none for a vocabulary of random weights."""

    bos_token_id = eos_token_id = None

    def decode(self, token_ids: Sequence[int], **_: object) -> str:
        return " ".join(map(str, token_ids))


def steep(model: Any, work: Work, batch_size: int | None = None) -> Answers:
    answers = generate(model, Numbers(), work.prompts, max_new_tokens=work.limits, batch_size=batch_size)
    return {answer.index: answer.token_ids for answer in answers}


def fixed(model: Any, work: Work, batch_size: int = 16, order: Sequence[int] | None = None) -> Answers:
    """`model.generate` with padding on the left, as its documentation shows it."""
    order, found = order or range(len(work.prompts)), {}
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        width = max(len(work.prompts[one]) for one in batch)
        gaps = [width - len(work.prompts[one]) for one in batch]
        ids = [[0] * gap + work.prompts[one] for gap, one in zip(gaps, batch, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        output = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=GenerationConfig(max_new_tokens=max(work.limits[one] for one in batch), pad_token_id=0),
        )
        rows = output[:, width:].tolist()
        found |= {one: row[: work.limits[one]] for one, row in zip(batch, rows, strict=True)}
    return found


def sorted_batches(model: Any, work: Work) -> Answers:
    """The same with prompts of like length together, 128 at a time."""
    places = range(len(work.prompts))
    order = sorted(places, key=lambda one: (len(work.prompts[one]), work.limits[one]), reverse=True)
    return fixed(model, work, 128, order)


def continuous(model: Any, work: Work) -> Answers:
    """transformers' continuous batching, with the attention that needs no other package; what it did in time."""
    rules, found = GenerationConfig(max_new_tokens=max(work.limits), do_sample=False, pad_token_id=0), {}
    before = model.config._attn_implementation
    model.set_attn_implementation("paged|sdpa")
    options: dict[str, Any] = {"generation_config": rules, "continuous_batching_config": ContinuousBatchingConfig()}
    try:
        with model.continuous_batching_context_manager(**options) as manager:
            for place, (prompt, limit) in enumerate(zip(work.prompts, work.limits, strict=True)):
                manager.add_request(prompt, request_id=str(place), max_new_tokens=limit)
            end = time.monotonic() + PATIENCE
            while len(found) < len(work.prompts) and manager.is_running() and time.monotonic() < end:
                result = manager.get_result(timeout=1)
                if result is not None and result.is_finished():
                    found[int(result.request_id)] = list(result.generated_tokens)
    finally:
        model.set_attn_implementation(before)
    return found


# ------------------------------------------------------------------------------------------------------------ the work


def drawn(count: int, vocabulary: int, longest: tuple[int, int] = (LONGEST_PROMPT, LONGEST_ANSWER)) -> Work:
    draw = random.Random(0)
    prompts = [_length(draw, PROMPT, longest[0]) for _ in range(count)]
    limits = [_length(draw, ANSWER, longest[1]) for _ in range(count)]
    return Work([[draw.randrange(3, vocabulary) for _ in range(length)] for length in prompts], limits)


def _length(draw: random.Random, fit: tuple[float, float], longest: int) -> int:
    return min(longest, max(2, round(draw.lognormvariate(*fit))))


def random_model() -> Any:
    """With layers that weigh more than a fresh model's, which only repeats the last token."""
    torch.manual_seed(0)
    with torch.device(device()):
        model = LlamaForCausalLM(CONFIG).to(torch.bfloat16)
    with torch.no_grad():
        for layer in model.model.layers:
            for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                weight *= 8
    return without_end(model)


def without_end(model: Any) -> Any:
    model.generation_config = GenerationConfig()
    return model.eval()


# --------------------------------------------------------------------------------------------------------------- speed


def timed(engine: Engine, model: Any, work: Work) -> tuple[dict[str, float], Answers]:
    """Tokens asked for a second, and the most memory that was taken beside the weights."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    held = torch.cuda.memory_allocated() if cuda else 0
    begin = time.perf_counter()
    answers = engine(model, work)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    memory = {"memory_gib": (torch.cuda.max_memory_allocated() - held) / 2**30} if cuda else {}
    return {
        "prompts": len(work.prompts),
        "seconds": seconds,
        "tokens_per_second": sum(map(len, answers.values())) / seconds,
        **memory,
    }, answers


def race(model: Any, work: Work, rounds: int, part: int) -> tuple[dict[str, list[dict[str, float]]], Answers, Answers]:
    """In turn: the peer on another part of the prompts each time, steep on all of them."""
    for engine in (fixed, steep):
        engine(model, work.part(0, 64))
    times: dict[str, list[dict[str, float]]] = {"fixed": [], "steep": []}
    theirs: Answers = {}
    for number in range(rounds):
        begin = number * part
        taken, answers = timed(fixed, model, work.part(begin, part))
        times["fixed"].append(taken)
        theirs |= {begin + place: tokens for place, tokens in answers.items()}
        taken, ours = timed(steep, model, work)
        times["steep"].append(taken)
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {all_[-1]['seconds']:.1f} s" for name, all_ in times.items())
        )
    return times, theirs, ours


def summary(times: dict[str, list[dict[str, float]]], total: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds with the slowest and the fastest, and the seconds that all prompts take."""
    found = {}
    for name, rounds in times.items():
        speeds = [one["tokens_per_second"] for one in rounds]
        share = sum(one["prompts"] for one in rounds) / total
        found[name] = {
            "tokens_per_second": statistics.median(speeds),
            "slowest": min(speeds),
            "fastest": max(speeds),
            "seconds_for_all": sum(one["seconds"] for one in rounds) / share,
            "rounds": len(rounds),
        } | ({"memory_gib": max(one["memory_gib"] for one in rounds)} if "memory_gib" in rounds[0] else {})
    return found


# -------------------------------------------------------------------------------------------------- what batches change


def differing(one: Answers, other: Answers) -> list[tuple[int, int]]:
    """The prompts both answered, with other tokens, and the first place that differs."""
    found = []
    for place in sorted(one.keys() & other.keys()):
        pairs = enumerate(zip(one[place], other[place], strict=True))
        found += [(place, step) for step, (left, right) in pairs if left != right][:1]
    return found


def composition(model: Any, work: Work) -> dict[str, float]:
    """How many answers differ between batches of 16 and of all, and how near the two likeliest tokens were there.

    ``gap``: the median difference of their logits where answers part, computed for one prompt alone in float32;
    ``typical_gap``: the median at the same step of the answers that do not part; ``resolution``: the distance of two
    neighbouring numbers of the model's type at the size of that logit.
    """
    small, large = steep(model, work, 16), steep(model, work)
    parted = differing(small, large)
    share = {"answers": len(large), "differ": len(parted) / len(large)}
    exact = copy.deepcopy(model).float()
    gaps = [_gap(exact, work.prompts[place] + large[place][:step]) for place, step in parted[:64]]
    same = [place for place in large if place not in dict(parted)][:64]
    others = [_gap(exact, work.prompts[place] + large[place][: len(large[place]) // 2])[0] for place in same]
    share |= {"typical_gap": statistics.median(others)} if others else {}
    if gaps:
        top = statistics.median(abs(top) for _, top in gaps)
        share |= {
            "gap": statistics.median(gap for gap, _ in gaps),
            "resolution": torch.finfo(model.dtype).eps * 2 ** int(torch.tensor(top).log2().floor()),
        }
    return share


@torch.no_grad()
def _gap(model: Any, ids: list[int]) -> tuple[float, float]:
    top = model(torch.tensor([ids], device=model.device), logits_to_keep=1).logits[0, -1].topk(2).values.tolist()
    return top[0] - top[1], top[0]


def tiny_work(count: int) -> tuple[Any, Work]:
    """The model that ships with steep continues the general texts that ship with it."""
    tokenizer = load_tokenizer(str(TINY))
    texts = [json.loads(line)["text"] for line in GENERAL.read_text("utf-8").splitlines()]
    ids = [[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts]
    prompts = [one[:length] for length in (24, 40, 56, 80) for one in ids][:count]
    return load_model(str(TINY), dtype=torch.bfloat16), Work(prompts, [48] * len(prompts))


def batches_change(model: Any, work: Work) -> dict[str, dict[str, float]]:
    """In the type it has, and in float32."""
    types = (model, copy.deepcopy(model).float())
    return {str(one.dtype).removeprefix("torch."): composition(one, work) for one in types}


# ----------------------------------------------------------------------------------------------------------------- main


def machine() -> dict[str, Any]:
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    system = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return gpu | system | {name: version(name) for name in ("torch", "transformers")}


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['prompts']} prompts, {result['tokens']} tokens of answers; {result['machine']}")
    for name, one in result["engines"].items():
        memory = f", {one['memory_gib']:.1f} GiB beside the weights" if "memory_gib" in one else ""
        print(
            f"{name:10} {one['tokens_per_second']:9.0f} tokens/s ({one['slowest']:.0f} to {one['fastest']:.0f}, "
            f"{one['rounds']} rounds), {one['seconds_for_all']:.0f} s for all{memory}"
        )
    print(f"steep is {result['ratio']:.1f} x as fast; {result['differ']:.1%} of its answers differ from the peer's")
    for model, types in result["batches"].items():
        for dtype, one in types.items():
            gap = f", logits {one['gap']:.2g} apart there" if "gap" in one else ""
            near = f" (numbers of this size are {one['resolution']:.2g} apart)" if "gap" in one else ""
            usual = f"; {one['typical_gap']:.2g} apart elsewhere" if "typical_gap" in one else ""
            print(
                f"{model} in {dtype}: {one['differ']:.1%} of {one['answers']} differ with the batches{gap}{near}{usual}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--part", type=int, default=256, help="prompts that the peer answers in each round")
    parser.add_argument("--sorted", action="store_true", help="once, model.generate with 128 prompts of like length")
    parser.add_argument("--continuous", action="store_true", help="once, transformers' continuous batching")
    parser.add_argument("--quick", action="store_true", help="the tiny model and few prompts")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.rounds, options.part = 64, 2, 32
        model = without_end(load_model(str(TINY), dtype=torch.float32))
        work = drawn(options.prompts, 8192, (300, 64))
    else:
        model, work = random_model(), drawn(options.prompts, CONFIG.vocab_size)
    result = measured(model, work, options)
    finish(result, options.json)
    for name, engine in (("sorted", sorted_batches), ("continuous", continuous)):
        if getattr(options, name):
            result["times"][name] = [timed(engine, model, work.part(0, 2 * options.part))[0]]
            result["engines"] |= summary({name: result["times"][name]}, len(work.prompts))
            finish(result, options.json)


def measured(model: Any, work: Work, options: argparse.Namespace) -> dict[str, Any]:
    times, theirs, ours = race(model, work, options.rounds, options.part)
    engines = summary(times, len(work.prompts))
    tiny, texts = tiny_work(32 if options.quick else 128)
    return {
        "machine": machine(),
        "prompts": len(work.prompts),
        "tokens": sum(work.limits),
        "engines": engines,
        "ratio": engines["steep"]["tokens_per_second"] / engines["fixed"]["tokens_per_second"],
        "differ": len(differing(theirs, ours)) / len(theirs),
        "batches": {
            "random prompts": batches_change(model, work.part(0, 16 if options.quick else 64)),
            "tiny, real prompts": batches_change(without_end(tiny), texts),
        },
        "times": times,
    }


def finish(result: dict[str, Any], path: Path | None) -> None:
    show(result)
    if path:
        path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

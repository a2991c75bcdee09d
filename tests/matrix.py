"""Every method with every quantization and objective that a recipe may combine, trained for a moment with `tiny`."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path

import pyarrow as pa
import torch
from peft import PeftModel

from steep.models import TINY, load_merged, load_model, load_tokenizer, load_tuned
from steep.recipe import Recipe, Train
from steep.speed.fp8 import make_whole
from steep.tokens import encode_prompts
from steep.train import More, train_model

TEXTS = ["Rain fell on the roof all morning.", "The kettle sings when the water is ready.", "A lazy dog by the wall."]
PROMPTS = ["Say what fell:", "Say what sings:", "Say who lies there:"]
SFT = pa.table({"prompt": PROMPTS, "completion": TEXTS})
PAIRS = pa.table({"prompt": PROMPTS, "chosen": TEXTS, "rejected": [*TEXTS[1:], TEXTS[0]]})
TABLES = {"pretrain": pa.table({"text": TEXTS}), "dpo": PAIRS, "reward": PAIRS}
VARIANTS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "pissa": {"init_lora_weights": "pissa"},
    "loftq": {"init_lora_weights": "loftq"},
}
REWARDS = "def short(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"


def train_options(method, objective, **more):
    if objective in ("rloo", "grpo"):
        rollouts = {"rewards": ["shortness:short"], "num_generations": 2, "max_completion_length": 4, "beta": 0.1}
        more = {"rollouts": rollouts, "batch_size": 4, **more}
    wanted = {"learning_rate": 1e-2, "max_steps": 2, "batch_size": 3, "dtype": "float32", "warmup_ratio": 0.0}
    return Train.model_validate({**wanted, "method": method, "objective": objective, **more})


def why_not(method, quantization, objective, **more) -> str | None:
    """What a recipe says against a combination."""
    try:
        Recipe.model_validate(
            {
                "name": "matrix",
                "gather": [{"files": "any"}],
                "prepare": {"template": "plain" if objective == "pretrain" else "alpaca"},
                "model": {"base": "tiny", "quantization": quantization},
                "train": train_options(method, objective, **more).model_dump(),
            }
        )
    except ValueError as error:
        return str(error)
    return None


def cases():
    methods, levels = ("full", "lora", "adalora", "adaption-prompt"), ("none", "int8", "nf4", "fp8")
    objectives = ("sft", "pretrain", "dpo", "reward", "rloo", "grpo")
    for method, quantization, objective in itertools.product(methods, levels, objectives):
        if why_not(method, quantization, objective) is None:
            yield f"{method}-{quantization}-{objective}", (method, quantization, objective, {})
    for variant, quantization in itertools.product(VARIANTS, levels):
        more = {"lora": VARIANTS[variant]}
        if why_not("lora", quantization, "sft", **more) is None:
            yield f"{variant}-{quantization}", ("lora", quantization, "sft", more)


CASES = dict(cases())


def load(name):
    _, quantization, objective, _ = CASES[name]
    return {"dtype": torch.float32, "quantization": quantization, "reward": objective == "reward"}


def run(name: str, folder: Path):
    """Train one; returns its result and what the model in memory then says."""
    method, _, objective, more = CASES[name]
    tokenizer = load_tokenizer(str(TINY))
    torch.manual_seed(0)
    model = load_model(str(TINY), **load(name))
    (folder / "shortness.py").write_text(REWARDS)
    result = train_model(
        TABLES.get(objective, SFT),
        train_options(method, objective, **more),
        model=model,
        tokenizer=tokenizer,
        max_length=48,
        folder=folder / name,
        more=More(home=folder, base=str(TINY)),
    )
    return result, logits(model)


def logits(model) -> torch.Tensor:
    ids = torch.tensor(encode_prompts(["The kettle sings"], load_tokenizer(str(TINY))), device=model.device)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.cpu()


def untrained(name: str) -> torch.Tensor:
    _, quantization, objective, _ = CASES[name]
    return _untrained(quantization, objective == "reward")


@functools.cache
def _untrained(quantization: str, reward: bool) -> torch.Tensor:
    torch.manual_seed(0)
    return logits(load_model(str(TINY), dtype=torch.float32, quantization=quantization, reward=reward))


def exact(name: str, folder: Path) -> torch.Tensor:
    """What the adapter says beside dequantised weights: int8 and fp8 layers round their inputs too, merged ones not."""
    if CASES[name][1] not in ("int8", "fp8"):
        return torch.load(folder / name / "reloaded.pt")
    base = load_model(str(TINY), **load(name))
    if CASES[name][1] == "int8":
        base = base.dequantize(torch.float32).float()
    else:
        make_whole(base)
    return logits(PeftModel.from_pretrained(base, folder / name / "adapter"))


def reload_all(folder: Path) -> None:
    """For a process of its own: what each saved model says, whole and, where it can be, merged."""
    for name in CASES:
        if (folder / name / "summary.json").exists():
            torch.save(logits(load_tuned(folder / name, str(TINY), **load(name))), folder / name / "reloaded.pt")
            if json.loads((folder / name / "summary.json").read_text())["method"] != "adaption-prompt":
                torch.save(logits(load_merged(folder / name, str(TINY), **load(name))), folder / name / "merged.pt")

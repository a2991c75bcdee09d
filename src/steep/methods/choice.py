"""Which methods there are, and at which learning rate each is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steep.errors import UsageError
from steep.located import shown
from steep.problems import nearest
from steep.recipe import Recipe

METHODS: Mapping[str, Mapping[str, str]] = {
    "full": {"method": "full", "quantization": "none"},
    "lora": {"method": "lora", "quantization": "none"},
    "adalora": {"method": "adalora", "quantization": "none"},
    "adaption-prompt": {"method": "adaption-prompt", "quantization": "none"},
    "qlora-8": {"method": "lora", "quantization": "int8"},
    "qlora-4": {"method": "lora", "quantization": "nf4"},
}
"""Keys of the recipe's sections train and model, by the name of the method."""
RATES = {"full": 2e-5, "lora": 2e-4, "adalora": 2e-4, "adaption-prompt": 9e-3}
"""By `train.method`: of Stanford Alpaca for full training; of QLoRA (Dettmers et al. 2023, arXiv 2305.14314, table 9)
for the low-rank methods; of LLaMA-Adapter (Zhang et al. 2023, arXiv 2303.16199, section 4)."""
LOW_RANK = ("lora", "adalora")
"""Both add the product of two matrices to a weight, so that a good rate of one is a fair one of the other."""
LOW_RANK_TIMES = 10
"""A good rate of LoRA is about so many times that of full training (Schulman et al. 2025, LoRA Without Regret)."""

Rates = Mapping[str, float]


def chosen_methods(text: str) -> list[str]:
    """Of a list with commas. Raises UsageError."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in METHODS:
            near = nearest(name, METHODS)
            guess = f": did you mean {near}?" if near else f": expected some of {', '.join(METHODS)}"
            raise UsageError(f"--methods: unknown method {shown(name)!r}{guess}")
    if not names:
        raise UsageError(f"--methods names none: expected some of {', '.join(METHODS)}")
    return names


def read_words(words: Sequence[str]) -> tuple[list[str], Rates]:
    """Overrides of the recipe, and learning rates such as ``full.learning_rate=1e-5``. Raises UsageError."""
    overrides, rates = [], {}
    for word in words:
        key, _, value = word.partition("=")
        method, _, name = key.strip().partition(".")
        if method not in METHODS:
            overrides.append(word)
        elif name != "learning_rate":
            raise UsageError(
                f"{shown(word)}: of a single method only learning_rate can be set: {method}.learning_rate=…"
            )
        else:
            rates[method] = _rate(word, value)
    return overrides, rates


def _rate(word: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(f"{shown(word)}: a learning rate is a number above 0")
    return found


def learning_rate(recipe: Recipe, method: str, rates: Rates) -> float:
    """The one asked for, the recipe's where it trains by this method or both are of low rank, else that of RATES; of
    full training a tenth of the recipe's where that is of low rank."""
    trained_by, own = METHODS[method]["method"], recipe.train.method
    if method in rates:
        return rates[method]
    if trained_by == own or (trained_by in LOW_RANK and own in LOW_RANK):
        return recipe.train.learning_rate
    if trained_by == "full" and own in LOW_RANK:
        return recipe.train.learning_rate / LOW_RANK_TIMES
    return RATES[trained_by]

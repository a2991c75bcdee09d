"""Numbers, settings and texts as a reader of the report sees them: the template's filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LISTED = 12
REASONS_SHOWN = 5
CHARACTERS_SHOWN = 2000
PROMPT_SHOWN = 800


def environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("steep", "data"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": count, "duration": duration, "plain": plain, "excerpt": excerpt, "ending": ending}
    made.filters |= {"listed": listed, "reasons": reasons}
    return made


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def plain(value: Any) -> str:
    """Nested settings as one line of words."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(key).replace('_', ' ')} {plain(inner)}"
            for key, inner in value.items()
            if inner not in (None, [], {})
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def excerpt(text: str, longest: int = CHARACTERS_SHOWN) -> str:
    return text if len(text) <= longest else text[:longest] + " […]"


def ending(text: str) -> str:
    """Of a prompt the end is shown: that is where the models go on."""
    return text if len(text) <= PROMPT_SHOWN else "[…] " + text[-PROMPT_SHOWN:]


def listed(counts: Mapping[str, int], longest: int = LISTED) -> tuple[list[tuple[str, int]], int]:
    """The most frequent, and how many more there are."""
    rows = sorted(counts.items(), key=lambda row: -row[1])
    return rows[:longest], max(0, len(rows) - longest)


def reasons(counts: Mapping[str, int]) -> str:
    """The most frequent in one line."""
    rows, more = listed(counts, REASONS_SHOWN)
    return "; ".join([*(f"{reason}: {times:,}" for reason, times in rows), *([f"{more} more reasons"] if more else [])])


def method_in_words(options: Mapping[str, Any]) -> str:
    """In words, with what says how large an adapter is."""
    method = options["method"]
    if method == "lora":
        name = "DoRA" if options["lora"].get("use_dora") else "LoRA"
        return f"{name}, rank {options['lora']['rank']}, alpha {options['lora']['alpha']}"
    if method == "adalora":
        return f"AdaLoRA, rank {options['adalora']['init_r']} to {options['adalora']['target_r']}"
    if method == "adaption-prompt":
        return f"adaption prompt of {options['adaption_prompt']['adapter_len']} tokens"
    return "full fine-tuning"

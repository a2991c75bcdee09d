"""The built-in templates: the formats that models of the Llama family were tuned with, and plainer ones."""

from __future__ import annotations

from steep.recipe.train import PREFERENCES

SOURCES: dict[str, dict[str, str]] = {
    "plain": {"text": "{{ text }}"},
    "title-description": {"prompt": "### title: {{ title }} ### description:", "completion": " {{ description }}"},
    "alpaca": {
        "prompt": "Below is an instruction that describes a task"
        "{% if input %}, paired with an input that provides further context{% endif %}. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{{ instruction }}\n\n"
        "{% if input %}### Input:\n{{ input }}\n\n{% endif %}"
        "### Response:\n",
        "completion": "{{ output }}",
    },
    "llama-2": {
        "prompt": "[INST] {% if system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}{{ prompt }} [/INST]",
        "completion": " {{ response }}",
    },
    "llama-3": {
        "prompt": "{% if system %}<|start_header_id|>system<|end_header_id|>\n\n{{ system }}<|eot_id|>{% endif %}"
        "<|start_header_id|>user<|end_header_id|>\n\n{{ prompt }}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "completion": "{{ response }}",
    },
    "chat": {"messages": "{{ messages | as_json }}"},
}
ANSWERS = {"title-description": "description", "alpaca": "output", "llama-2": "response", "llama-3": "response"}
"""The variable of a completion whose place `chosen` and `rejected` take."""

_REQUEST = 'Write a text with the title "{{ title }}".'
DEFAULTS: dict[str, dict[str, str]] = {
    "title-description": {"description": "{{ text }}"},
    "alpaca": {"instruction": _REQUEST, "output": "{{ text }}"},
    "llama-2": {"prompt": _REQUEST, "response": "{{ text }}"},
    "llama-3": {"prompt": _REQUEST, "response": "{{ text }}"},
}
"""What fills a variable that neither ``prepare.fields`` nor the document itself gives."""


def built_in(name: str, objective: str) -> dict[str, str]:
    """The parts of a template; where answers are compared, its completion is there twice."""
    parts = SOURCES[name]
    if objective not in PREFERENCES or "completion" not in parts:
        return parts
    answers = {part: parts["completion"].replace(ANSWERS[name], part) for part in ("chosen", "rejected")}
    return {"prompt": parts["prompt"], **answers}

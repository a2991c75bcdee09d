"""What a document becomes: a text, or a prompt with its completion.

A template is Jinja over the document's variables: its columns (``text``, ``title``, ``url``, ``published``, ``owner``,
``source``, ``licence``, ``id``), every key of its ``meta``, and ``prepare.fields``, which are Jinja over the same
variables and win over them. BOS and the final EOS are no part of a template: `steep.tokens.encode` adds them.

A ``.jinja`` file is a text, or holds two blocks, ``{% block prompt %}`` and ``{% block completion %}``, and nothing
besides. The line break after a block tag is not part of the text.

A variable that a template asks about (``{% if input %}``, ``a or b``, ``default``) may be empty; where any other one is
empty, the document is skipped, for a prompt such as "Write about ." teaches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from steep.errors import UsageError

if TYPE_CHECKING:
    from steep.recipe import Prepare

_ALPACA = """\
{% if input -%}
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.
{%- else -%}
Below is an instruction that describes a task. Write a response that appropriately completes the request.
{%- endif %}


### Instruction:
{{ instruction }}

{% if input %}
### Input:
{{ input }}

{% endif %}
### Response:

"""
_LLAMA_2 = "[INST] {% if system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}{{ prompt }} [/INST]"
_LLAMA_3 = """\
{% if system %}<|start_header_id|>system<|end_header_id|>\n\n{{ system }}<|eot_id|>{% endif %}\
<|start_header_id|>user<|end_header_id|>\n\n{{ prompt }}<|eot_id|>\
<|start_header_id|>assistant<|end_header_id|>\n\n\n"""

TEMPLATES: dict[str, dict[str, str]] = {
    "plain": {"text": "{{ text }}"},
    "title-description": {"prompt": "### title: {{ title }} ### description:", "completion": " {{ description }}"},
    "alpaca": {"prompt": _ALPACA, "completion": "{{ output }}"},
    "llama-2": {"prompt": _LLAMA_2, "completion": " {{ response }}"},
    "llama-3": {"prompt": _LLAMA_3, "completion": "{{ response }}"},
}
_REQUEST = 'Write a text with the title "{{ title }}".'
DEFAULTS: dict[str, dict[str, str]] = {
    "title-description": {"description": "{{ text }}"},
    "alpaca": {"instruction": _REQUEST, "output": "{{ text }}"},
    "llama-2": {"prompt": _REQUEST, "response": "{{ text }}"},
    "llama-3": {"prompt": _REQUEST, "response": "{{ text }}"},
}
"""What fills a variable that neither ``prepare.fields`` nor the document itself gives."""


class Skipped(Exception):
    """A document of which no example can be made; the message is the reason, as it is counted."""


class Expression:
    """Compiled Jinja that knows which variables it needs."""

    def __init__(self, tree: nodes.Template, where: str) -> None:
        names = meta.find_undeclared_variables(tree) - _environment(tree).globals.keys()
        self.where = where
        self.optional = names & _asked_about(tree)
        self.needed = names - self.optional
        self._template = _environment(tree).from_string(tree)

    def render(self, variables: Mapping[str, Any]) -> str:
        """Jinja's own exceptions go through; `KeyError` names a needed variable that is empty."""
        for name in sorted(self.needed - variables.keys()):
            raise KeyError(name)
        absent = {name: Undefined(name=name) for name in self.optional - variables.keys()}
        return self._template.render({**variables, **absent})

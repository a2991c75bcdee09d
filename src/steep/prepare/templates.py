"""What a document becomes: a text, or a prompt with its completion.

A template is Jinja over the document's variables: its columns (``text``, ``title``, ``source``, ``url``, ``published``,
``owner``, ``licence``, ``id``), every key of its ``meta``, and ``prepare.fields``, which are Jinja over the same
variables and win over them. BOS and the final EOS are no part of a template: `steep.tokens.encode` adds them.

A ``.jinja`` file is one text, or two blocks, ``{% block prompt %}`` and ``{% block completion %}``, with nothing
outside of them. The line break after a tag is not part of the text.

A variable that a template asks about (``{% if input %}``, ``a or b``, ``default``) may be empty. Where any other one is
empty, the document is skipped: a prompt such as "Write about ." teaches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from steep.errors import UsageError

if TYPE_CHECKING:
    from steep.recipe import Prepare

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
}

_REQUEST = 'Write a text with the title "{{ title }}".'
DEFAULTS: dict[str, dict[str, str]] = {
    "title-description": {"description": "{{ text }}"},
    "alpaca": {"instruction": _REQUEST, "output": "{{ text }}"},
    "llama-2": {"prompt": _REQUEST, "response": "{{ text }}"},
    "llama-3": {"prompt": _REQUEST, "response": "{{ text }}"},
}
"""What fills a variable that neither ``prepare.fields`` nor the document itself gives."""

_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What rendering raises where a template does with a value what the value cannot do."""


FEW = 0.1
"""Distinct values per document up to which a variable is part of the format."""


class Skipped(Exception):
    """A document of which no example can be made; the message is the reason, as it is counted."""


class Expression:
    """Compiled Jinja that knows which variables it needs."""

    def __init__(self, tree: nodes.Template, environment: Environment) -> None:
        self.names = meta.find_undeclared_variables(tree) - environment.globals.keys()
        self.optional = self.names & _asked_about(tree)
        self.needed = self.names - self.optional
        self._template = environment.from_string(tree)

    def render(self, variables: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
        """``variables`` are those that are not empty, ``reasons`` say why others are."""
        for name in sorted(self.needed - variables.keys()):
            raise Skipped(reasons.get(name, f"{name} is empty"))
        absent = {name: Undefined(name=name) for name in self.optional - variables.keys()}
        return self._template.render({**variables, **absent})


class Template:
    """``parts`` are rendered in the order given: ``text``, or ``prompt`` and ``completion``."""

    def __init__(
        self, name: str, parts: dict[str, Expression], fields: dict[str, Expression], defaults: dict[str, Expression]
    ) -> None:
        self.name, self.parts, self.fields, self.defaults = name, parts, fields, defaults
        known = {variable for part in parts.values() for variable in part.names}
        self.names = known.union(*(filler.names for filler in (*fields.values(), *defaults.values())))
        for field in fields.keys() - known:
            raise UsageError(
                f"prepare.fields.{field}: template {name} has no such variable; it uses {_listed(known)}"
                + _nearest(field, known)
            )

    @property
    def has_completion(self) -> bool:
        return "completion" in self.parts

    def takes(self, given: set[str]) -> set[str]:
        """Which of the variables given are rendered: a field takes the place of one, a default that of none."""
        written = {name for part in self.parts.values() for name in part.names} - self.fields.keys()
        defaults = [default for name, default in self.defaults.items() if name not in given | self.fields.keys()]
        return given & written.union(*(filler.names for filler in (*self.fields.values(), *defaults)))

    def check(self, known: set[str], document: str) -> None:
        """Refuse a variable that no document has; ``document`` is the id of the first of them."""
        filled = known | self.fields.keys() | self.defaults.keys()
        for where, expression, names in (
            *((f"prepare.fields.{name}", field, known) for name, field in self.fields.items()),
            *((f"template {self.name}", part, filled) for part in self.parts.values()),
        ):
            for missing in sorted(expression.needed - names):
                raise UsageError(
                    f"{where}: document {document} has no variable {missing!r}; documents have {_listed(known)}"
                    + (_nearest(missing, known) or f". Fill it with prepare.fields.{missing}")
                )

    def render(self, own: Mapping[str, Any], document: str) -> dict[str, str]:
        """The parts for a document's own variables; `Skipped` where something needed is empty."""
        try:
            values, reasons = self._values(own)
            rendered = {name: part.render(values, reasons) for name, part in self.parts.items()}
        except _FAILURES as error:
            raise UsageError(f"template {self.name}: document {document}: {error}") from error
        for name, text in rendered.items():
            if not text.strip():
                raise Skipped(f"{name} is empty")
        return rendered

    def _values(self, own: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        values, reasons = dict(own), {}
        defaults = {name: default for name, default in self.defaults.items() if name not in own}
        for name, field in (defaults | self.fields).items():
            values.pop(name, None)
            try:
                text = field.render(own, {})
            except Skipped as skipped:
                reasons[name] = str(skipped)
            else:
                values |= {name: text} if text.strip() else {}
        return values, reasons


def load_template(options: Prepare, folder: Path) -> Template:
    """The template of a recipe with its fields; a ``.jinja`` path is relative to ``folder``."""
    if options.template in SOURCES:
        trees = {part: _parse(source, options.template) for part, source in SOURCES[options.template].items()}
    else:
        trees = _file_parts(folder / options.template)
    environment = _environment(lowercase=options.lowercase)
    return Template(
        options.template,
        {name: Expression(tree, environment) for name, tree in trees.items()},
        {name: _expression(source, f"prepare.fields.{name}") for name, source in options.fields.items()},
        {name: _expression(source, name) for name, source in DEFAULTS.get(options.template, {}).items()},
    )


def document_variables(row: Mapping[str, Any]) -> dict[str, Any]:
    """Every variable of a document: the keys of its ``meta``, and its columns, which win. Some may be empty."""
    columns = {name: value for name, value in row.items() if name != "meta"}
    return {**json.loads(row.get("meta") or "{}"), **columns}


def template_contents(rows: Sequence[Mapping[str, Any]], template: Template) -> list[str] | None:
    """What the template takes from each document, where that includes its ``meta``.

    A variable with few values, such as a system prompt, says nothing about which documents are alike.
    """
    variables = [document_variables(row) for row in rows]
    names = template.takes({name for row in variables for name in row})
    columns = {name: [str(row[name]) if not is_empty(row.get(name)) else "" for row in variables] for name in names}
    telling = {name: found for name, found in columns.items() if len(set(found)) > max(1, len(rows) * FEW)}
    if not telling.keys() - rows[0].keys():
        return None
    contents = zip(*(telling[name] for name in sorted(telling)), strict=True)
    return [" ".join(values).strip() or row["id"] for values, row in zip(contents, rows, strict=True)]


def is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _environment(*, lowercase: bool = False) -> Environment:
    """``finalize`` sees what comes from variables only, so lower-casing leaves the tags of a template as they are."""

    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        return str(value).lower() if lowercase else value

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


def _parse(source: str, where: str) -> nodes.Template:
    try:
        return _environment().parse(source)
    except TemplateSyntaxError as error:
        raise UsageError(f"{where}:{error.lineno}: not valid Jinja: {error.message}") from error


def _expression(source: str, where: str) -> Expression:
    return Expression(_parse(source, where), _environment())


def _file_parts(path: Path) -> dict[str, nodes.Template]:
    try:
        source = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prepare.template: cannot read {path}: {error}") from error
    tree = _parse(source, str(path))
    blocks = {block.name: block for block in tree.body if isinstance(block, nodes.Block)}
    if not blocks:
        return {"text": tree}
    if set(blocks) != {"prompt", "completion"}:
        raise UsageError(
            f"{path}: has blocks {_listed(blocks)}; a template has the blocks prompt and completion, or none"
        )
    for node in tree.body:
        if not isinstance(node, nodes.Block) and not _is_blank(node):
            raise UsageError(
                f"{path}:{node.lineno}: stands outside of the blocks prompt and completion; move it inside"
            )
    return {name: _as_template(blocks[name]) for name in ("prompt", "completion")}


def _as_template(block: nodes.Block) -> nodes.Template:
    tree = nodes.Template(block.body, lineno=block.lineno)
    tree.set_environment(_environment())
    return tree


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(
        isinstance(child, nodes.TemplateData) and not child.data.strip() for child in node.nodes
    )


def _asked_about(tree: nodes.Template) -> set[str]:
    """Names under the test of an ``if``, beside an ``or``, or with a ``default``."""
    asked: list[nodes.Node] = [node.test for node in tree.find_all(nodes.If)]
    asked += [node.test for node in tree.find_all(nodes.CondExpr)]
    asked += tree.find_all(nodes.Or)
    asked += [node.node for node in tree.find_all(nodes.Filter) if node.name in ("default", "d") and node.node]
    names = [name for node in asked for name in (node, *node.find_all(nodes.Name)) if isinstance(name, nodes.Name)]
    return {name.name for name in names}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _nearest(name: str, names: Iterable[str]) -> str:
    matches = get_close_matches(name, list(names), n=1)
    return f". Did you mean {matches[0]!r}?" if matches else ""

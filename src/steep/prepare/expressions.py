"""Jinja that knows which variables it needs, and files of it.

Sandboxed: a recipe from elsewhere can render text, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from steep.errors import UsageError
from steep.records import FORMS


class Skipped(Exception):
    """A document of which no example can be made; the message is the reason, as it is counted."""


class Expression:
    """Compiled Jinja that knows which variables it needs."""

    def __init__(self, tree: nodes.Template, environment: Environment, source: str) -> None:
        self.source = source
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


def expression(source: str, where: str) -> Expression:
    return Expression(parse(source, where), environment(), source)


def environment(*, lowercase: bool = False) -> Environment:
    """``finalize`` sees what comes from variables only, so lower-casing leaves the tags of a template as they are."""

    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        return str(value).lower() if lowercase else value

    jinja = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    jinja.filters["as_json"] = _as_json
    return jinja


def _as_json(value: Any) -> str:
    """Of what is no text yet: a field is one already."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse(source: str, where: str) -> nodes.Template:
    try:
        return environment().parse(source)
    except TemplateSyntaxError as error:
        raise UsageError(f"{where}:{error.lineno}: not valid Jinja: {error.message}") from error


def file_parts(path: Path) -> tuple[dict[str, str], dict[str, nodes.Template]]:
    """The parts of a ``.jinja`` file as they are written, and parsed; UsageError where they are no form of examples."""
    try:
        source = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prepare.template: cannot read {path}: {error}") from error
    tree = parse(source, str(path))
    blocks = {block.name: block for block in tree.body if isinstance(block, nodes.Block)}
    if not blocks:
        return {"text": source}, {"text": tree}
    names = next((FORMS[form] for form in ("completion", "pair") if set(FORMS[form]) == set(blocks)), ())
    if not names:
        raise UsageError(
            f"{path}: has blocks {listed(blocks)}; a template has the blocks prompt and completion, or prompt, chosen "
            "and rejected, or none"
        )
    _refuse_text_between(tree, names, path)
    sources = dict(_BLOCK.findall(source))
    return {name: sources[name] for name in names}, {name: _as_template(blocks[name]) for name in names}


_BLOCK = re.compile(r"\{%[-+]?\s*block\s+(\w+).*?%\}\n?(.*?)[ \t]*\{%[-+]?\s*endblock.*?%\}", re.DOTALL)
"""Name and inside of a block, as they are written."""


def _refuse_text_between(tree: nodes.Template, names: Sequence[str], path: Path) -> None:
    for node in tree.body:
        if not isinstance(node, nodes.Block) and not _is_blank(node):
            inside = f"{', '.join(names[:-1])} and {names[-1]}"
            raise UsageError(f"{path}:{node.lineno}: stands outside of the blocks {inside}; move it inside")


def _as_template(block: nodes.Block) -> nodes.Template:
    tree = nodes.Template(block.body, lineno=block.lineno)
    tree.set_environment(environment())
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


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

"""What a document becomes: a text, a prompt with its completion or with two answers, or a conversation.

A template is Jinja over the document's variables: its columns (``text``, ``title``, ``source``, ``url``, ``published``,
``owner``, ``licence``, ``id``), every key of its ``meta``, and ``prepare.fields``, which are Jinja over the same
variables and win over them. BOS and the final EOS are no part of a template: `steep.tokens.encode` adds them.

A ``.jinja`` file is one text, or two blocks, ``{% block prompt %}`` and ``{% block completion %}``, with nothing
outside of them. The line break after a tag is not part of the text. Where training compares answers, the blocks are
``prompt``, ``chosen`` and ``rejected``; in a built-in template the variables `chosen` and `rejected` then take the
place of the answer's, so that the prompt is the same as in supervised training.

``chat`` has a single variable, ``messages``: a list of turns, or JSON of one where ``prepare.fields`` makes it. The
tokenizer's own chat template renders it, when it is encoded.

A variable that a template asks about (``{% if input %}``, ``a or b``, ``default``) may be empty. Where any other one is
empty, the document is skipped: a prompt such as "Write about ." teaches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from steep.chat import BadConversation, Messages, conversation, spoken
from steep.errors import UsageError
from steep.prepare.builtin import DEFAULTS, SOURCES, built_in
from steep.prepare.expressions import Expression, Skipped, environment, expression, file_parts, listed, parse
from steep.recipe.train import PREFERENCES, ROLLOUTS
from steep.records import FORMS

if TYPE_CHECKING:
    from steep.recipe import Prepare

_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What rendering raises where a template does with a value what the value cannot do."""
FEW = 0.1
"""Distinct values per document up to which a variable is part of the format."""


class Template:
    """``parts`` are rendered in the order given, which is that of one of the `FORMS`."""

    def __init__(
        self, name: str, parts: dict[str, Expression], fields: dict[str, Expression], defaults: dict[str, Expression]
    ) -> None:
        known = {variable for part in parts.values() for variable in part.names}
        self.name, self.parts, self.fields = name, parts, fields
        self.defaults = {variable: default for variable, default in defaults.items() if variable in known}
        self.names = known.union(*(filler.names for filler in (*fields.values(), *self.defaults.values())))
        for field in fields.keys() - known:
            raise UsageError(
                f"prepare.fields.{field}: template {name} has no such variable; it uses {listed(known)}"
                + _nearest(field, known)
            )

    @property
    def form(self) -> str:
        return next(form for form, columns in FORMS.items() if columns == tuple(self.parts))

    def written(self) -> dict[str, Any]:
        """Its name, and the Jinja of its parts and of what fills their variables."""
        fields = self.defaults | self.fields
        return {
            "name": self.name,
            "parts": {name: part.source for name, part in self.parts.items()},
            "fields": {name: field.source for name, field in fields.items()},
        }

    def takes(self, given: set[str]) -> set[str]:
        """Which of the variables given are rendered: a field takes the place of one, a default that of none."""
        written = {name for part in self.parts.values() for name in part.names} - self.fields.keys()
        defaults = [default for name, default in self.defaults.items() if name not in given | self.fields.keys()]
        return given & written.union(*(filler.names for filler in (*self.fields.values(), *defaults)))

    def check(self, known: set[str], document: str) -> None:
        """Refuse a variable that no document has; ``document`` is the id of the first of them."""
        filled = known | self.fields.keys() | self.defaults.keys()
        for where, jinja, names in (
            *((f"prepare.fields.{name}", field, known) for name, field in self.fields.items()),
            *((f"template {self.name}", part, filled) for part in self.parts.values()),
        ):
            for missing in sorted(jinja.needed - names):
                raise UsageError(
                    f"{where}: document {document} has no variable {missing!r}; documents have {listed(known)}"
                    + (_nearest(missing, known) or f". Fill it with prepare.fields.{missing}")
                )

    def render(self, own: Mapping[str, Any], document: str) -> dict[str, Any]:
        """The columns for a document's own variables; `Skipped` where they make no example."""
        try:
            values, reasons = self._values(own)
            rendered = {name: part.render(values, reasons) for name, part in self.parts.items()}
        except _FAILURES as error:
            raise UsageError(f"template {self.name}: document {document}: {error}") from error
        for name, text in rendered.items():
            if not text.strip():
                raise Skipped(f"{name} is empty")
        if "rejected" in rendered and rendered["chosen"].strip() == rendered["rejected"].strip():
            raise Skipped("chosen and rejected are the same")
        return {"messages": _turns(rendered["messages"])} if "messages" in rendered else rendered

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


def load_template(options: Prepare, folder: Path, objective: str = "sft") -> Template:
    """The template of a recipe with its fields, in the form that the objective learns from.

    A ``.jinja`` path is relative to ``folder``. Raises UsageError where the template has no such form.
    """
    if options.template in SOURCES:
        parts = built_in(options.template, objective)
        trees = {part: parse(source, options.template) for part, source in parts.items()}
    else:
        parts, trees = file_parts(folder / options.template)
    _check_form(options.template, tuple(parts), objective)
    jinja = environment(lowercase=options.lowercase)
    return Template(
        options.template,
        {name: Expression(tree, jinja, parts[name]) for name, tree in trees.items()},
        {name: expression(source, f"prepare.fields.{name}") for name, source in options.fields.items()},
        {name: expression(source, name) for name, source in DEFAULTS.get(options.template, {}).items()},
    )


def _check_form(template: str, parts: tuple[str, ...], objective: str) -> None:
    forms, needs = ["text", "completion", "messages"], "a text, or prompt and completion"
    if objective in PREFERENCES:
        forms, needs = ["pair"], "prompt, chosen and rejected"
    elif objective in ROLLOUTS:
        forms, needs = ["completion"], "prompt and completion"
    if parts not in [FORMS[form] for form in forms]:
        raise UsageError(
            f"template {template}: has {listed(parts)}, but train.objective {objective} learns from {needs}; take "
            "another template"
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
    columns = {name: [_said(row.get(name)) for row in variables] for name in names}
    telling = {name: found for name, found in columns.items() if len(set(found)) > max(1, len(rows) * FEW)}
    if not telling.keys() - rows[0].keys():
        return None
    contents = zip(*(telling[name] for name in sorted(telling)), strict=True)
    return [" ".join(values).strip() or row["id"] for values, row in zip(contents, rows, strict=True)]


def _said(value: Any) -> str:
    return "" if is_empty(value) else spoken(value) or str(value)


def is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _turns(text: str) -> Messages:
    try:
        return conversation(json.loads(text))
    except ValueError as error:
        raise Skipped(f"messages is no list: {error}") from error
    except BadConversation as bad:
        raise Skipped(str(bad)) from bad


def _nearest(name: str, names: Iterable[str]) -> str:
    matches = get_close_matches(name, list(names), n=1)
    return f". Did you mean {matches[0]!r}?" if matches else ""

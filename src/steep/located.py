"""YAML text to plain data, together with the place where each value is written.

ruamel.yaml composes the text into nodes that know their lines; building the data here instead of in its constructors
keeps those lines for flow style, anchors and merged keys alike, finds every key that is given twice, and leaves keys
and dates as the text that was written.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from steep.errors import Problem, RecipeError

Keys = tuple[str | int, ...]
"""The way to a value: keys of mappings and indices of lists."""


class Place(NamedTuple):
    """Where something is written, for the reader; `order` sorts problems as the reader meets them."""

    order: int
    name: str


class Mistake(NamedTuple):
    place: Place
    keys: Keys
    message: str


@dataclass
class Located:
    data: Any
    places: dict[Keys, Place]
    mistakes: list[Mistake] = field(default_factory=list)

    def place(self, keys: Keys) -> Place:
        """Of the value, or of the nearest thing around it that is written down."""
        return next(self.places[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in self.places)


def report(mistakes: Iterable[Mistake]) -> RecipeError:
    """All of them, in the order in which the reader meets them."""
    lines = [(m.place, f"{dotted(m.keys)}: {m.message}" if m.keys else m.message) for m in mistakes]
    return RecipeError([Problem(place.name, message) for place, message in sorted(lines)])


def dotted(keys: Sequence[str | int]) -> str:
    return ".".join(shown(str(key)) for key in keys)


def shown(text: str) -> str:
    """Fit for one line of a message."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."


def parse(text: str, place: Callable[[int], Place]) -> Located:
    """`place` names a line, counted from 1. Text that is not YAML is a `RecipeError`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    try:
        node = yaml.compose(text) if text.strip() else None
        builder = _Builder(yaml.constructor.construct_object, place)
        located = Located(None if node is None else builder.build(node, ()), builder.places, builder.mistakes)
    except YAMLError as error:
        line, message = _explain(error, text)
        raise report([Mistake(place(line), (), message)]) from None
    except RecursionError:
        raise report([Mistake(place(1), (), "nested too deeply")]) from None
    located.places.setdefault((), place(1))
    return located


class _Builder:
    def __init__(self, construct_scalar: Callable[[Node], Any], place: Callable[[int], Place]) -> None:
        self._construct_scalar = construct_scalar
        self._place = place
        self._open: list[Node] = []
        self.places: dict[Keys, Place] = {}
        self.mistakes: list[Mistake] = []

    def build(self, node: Node, keys: Keys) -> Any:
        self.places.setdefault(keys, self._at(node))
        if not str(node.tag).startswith("tag:yaml.org,2002:"):
            self._mistake(node, keys, f"the tag {shown(str(node.tag))} means nothing in a recipe: remove it")
        if isinstance(node, ScalarNode):
            return self._scalar(node, keys)
        if node in self._open:
            self._mistake(node, keys, "an anchor (&) holds its own alias (*)")
            return None
        self._open.append(node)
        fill = self._mapping if isinstance(node, MappingNode) else self._sequence
        value = fill(node, keys)
        self._open.pop()
        return value

    def _scalar(self, node: ScalarNode, keys: Keys) -> Any:
        kind = str(node.tag).rpartition(":")[2]
        if kind not in ("null", "bool", "int", "float"):
            return node.value  # a date, too, is text
        try:
            return self._construct_scalar(node)
        except (ValueError, KeyError):
            self._mistake(node, keys, f"{shown(node.value)!r} cannot be read as {kind}: put it in quotes if it is text")
            return None

    def _sequence(self, node: Node, keys: Keys) -> list[Any]:
        return [self.build(item, (*keys, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: Node, keys: Keys) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._mistake(key, keys, "a key must be text; a text that starts with { or [ needs quotes around it")
            elif key.value == "<<" and key.style is None:
                merged += value.value if isinstance(value, SequenceNode) else [value]
            elif key.value in data:
                first = self.places[(*keys, key.value)].name
                self._mistake(key, (*keys, key.value), f"given twice, first at {first}: keep one")
            else:
                self.places[(*keys, key.value)] = self._at(key)
                data[key.value] = self.build(value, (*keys, key.value))
        for other in merged:
            self._merge(other, keys, data)
        return data

    def _merge(self, node: Node, keys: Keys, data: dict[str, Any]) -> None:
        if not isinstance(node, MappingNode) or node in self._open:
            self._mistake(node, keys, "<< needs the alias of a section")
            return
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value not in data:
                self.places[(*keys, key.value)] = self._at(key)
                data[key.value] = self.build(value, (*keys, key.value))

    def _at(self, node: Node) -> Place:
        return self._place(node.start_mark.line + 1)

    def _mistake(self, node: Node, keys: Keys, message: str) -> None:
        self.mistakes.append(Mistake(self._at(node), keys, message))


# What ruamel.yaml says, and what to do about it; the first part that fits counts.
_ADVICE = {
    "'\\t'": "indent with spaces instead of tabs",
    "mapping values are not allowed": "is it indented as the lines around it? A text that holds `: ` needs quotes",
    "cannot start any token": "put the text in quotes",
    "could not find expected ':'": "a key needs a colon and a blank after it",
    "expected ',' or": "a comma is missing, or the bracket of line {opened} is not closed",
    "expected <block end>": "it is indented differently from the lines that it belongs to",
    "undefined alias": "a text that starts with * needs quotes",
    "unexpected end of stream": "the quote that opens here is not closed",
    "unknown escape": "in 'single quotes' a backslash is just a backslash",
    "but found another document": "a recipe is one document: remove the line `---`",
}


def _explain(error: YAMLError, text: str) -> tuple[int, str]:
    """The line, counted from 1, and what to tell the user."""
    mark = _mark(error)
    if not isinstance(error, MarkedYAMLError) or mark is None:
        position = getattr(error, "position", 0)  # ruamel.yaml's ReaderError
        lines = [index for index, character in enumerate(text) if character == "\n"]
        return bisect.bisect_left(lines, position) + 1, "holds a character that text cannot hold: is this a recipe?"
    said, context = error.problem or "", error.context_mark or mark
    advice = next((advice for part, advice in _ADVICE.items() if part in said), "check quotes and indentation")
    advice = advice.format(opened=context.line + 1)
    return mark.line + 1, f"not valid YAML in column {mark.column + 1} ({said}): {advice}"


def _mark(error: YAMLError) -> StringMark | None:
    """Where the mistake is; for a quote or bracket that stays open, where it opens and not the end of the file."""
    mark: StringMark | None = getattr(error, "problem_mark", None)
    unclosed = "end of stream" in str(error) or "<stream end>" in str(error)
    return getattr(error, "context_mark", None) or mark if unclosed else mark

"""The recipe described for editors (JSON Schema) and for readers (Markdown), both made from `recipe.py`.

``docs/recipe.md`` is the output of ``steep schema --markdown``; a test keeps it up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from steep.recipe import Recipe
from steep.recipe.gather import SOURCES

Schema = dict[str, Any]


class _WithoutTitles(GenerateJsonSchema):
    """A title such as `Max Pages` would only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def recipe_schema() -> Schema:
    """JSON Schema (draft 2020-12). Contradictions between keys are beyond it: `steep check` finds those."""
    schema = Recipe.model_json_schema(schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Recipe of steep"}


EXAMPLE = """\
name: brand-voice
gather:
  - web: https://www.example.com
    max_pages: 500
  - social: exports/instagram.json
    owner: brand_tea
clean:
  - whitespace
  - boilerplate
  - redact: [email, phone]
  - deduplicate: {threshold: 0.8}
prepare:
  template: plain
  split: {test: 0.1, seed: 42}
  max_length: 512
model:
  base: tiny
train:
  method: lora
  objective: sft
  learning_rate: 2.0e-4
  epochs: 3
evaluate:
  - perplexity
  - continuation: {split: 0.5, metrics: [bleu, rouge]}
"""

_INTRODUCTION = f"""\
# The recipe

A recipe is a YAML file (YAML 1.2, UTF-8) with one section for each stage. Only `name` and `gather` are needed; the
tables below give the value of every key that is left out.

```yaml
{EXAMPLE}```

- `steep check RECIPE` reports all mistakes at once, each with its line: an unknown key, a wrong type, values that
  contradict each other.
- `key.path=value` after the recipe on the command line overrides it. Entries of lists are counted from 0 and values are
  YAML: `train.epochs=1`, `gather.0.max_pages=50`, `prepare.repeat={{books.txt: 2}}`.
- `${{NAME}}` inside a value is replaced by the environment variable of that name; the run folder keeps `${{NAME}}`,
  never the value. `$${{` stands for a plain `${{`. `${{STEEP_DATA}}` is the folder of data outside of the repository.
- Paths start at the recipe's folder.
- `steep schema` prints the JSON Schema of a recipe. With `steep schema > recipe.schema.json` and the first line
  `# yaml-language-server: $schema=recipe.schema.json`, editors complete and check keys while you type.
"""


def recipe_reference() -> str:
    """All keys with their types, defaults and meanings, as Markdown."""
    schema = recipe_schema()
    fields = schema["properties"]
    single = [key for key, field in fields.items() if "items" not in field and _resolved(field, schema) is field]
    parts = [_INTRODUCTION, _table({key: fields[key] for key in single}, schema)]
    for key in fields:
        if key not in single:
            parts += _top_section(key, fields[key], schema)
    return "\n".join(parts)


def _top_section(key: str, field: Schema, schema: Schema) -> Iterator[str]:
    if key == "gather":
        yield f"## gather\n\n{field['description']} A list; each entry starts with its kind.\n"
        for kind, source in SOURCES.items():
            section = schema["$defs"][source.__name__]
            first = {kind: section["properties"][kind]}
            yield from _section(f"gather: {kind}", {**section, "properties": first | section["properties"]}, schema)
    elif "items" in field:
        steps = _object(_resolved(field["items"], schema))["properties"]
        yield f"## {key}\n\n{field['description']} A list; an entry is a bare name or a name with options.\n"
        if names := [f"`{name}`" for name in steps]:
            yield f"Steps: {', '.join(names)}.{_default_steps(key)}\n"
        for name, step in steps.items():
            yield from _section(f"{key}: {name}", _resolved(step, schema), schema)
    else:
        yield from _section(key, _resolved(field, schema), schema, level=2)


def _default_steps(key: str) -> str:
    left_out = Recipe.model_fields[key].get_default(call_default_factory=True)
    return f" If the section is left out: {', '.join(f'`{step.chosen[0]}`' for step in left_out)}."


def _section(name: str, section: Schema, schema: Schema, level: int = 3) -> Iterator[str]:
    """A heading, what the section does, its keys, and then the sections inside of it."""
    yield f"{'#' * level} {name}\n\n{section['description']}\n"
    if "anyOf" in section:
        (short,) = (key for key, value in _object(section)["properties"].items() if value == section["anyOf"][0])
        yield f"`{name.rpartition(' ')[2]}: [...]` stands for `{name.rpartition(' ')[2]}: {{{short}: [...]}}`.\n"
    fields = _object(section)["properties"]
    if fields:
        yield _table(fields, schema)
    for key, field in fields.items():
        inner = _resolved(field, schema)
        if "properties" in inner:
            yield from _section(f"{name}.{key}", inner, schema)


def _object(section: Schema) -> Schema:
    """A section without its short form."""
    return next(part for part in section.get("anyOf", [section]) if "properties" in part)


def _resolved(field: Schema, schema: Schema) -> Schema:
    """The section that a key refers to, if it does."""
    for part in (field, *field.get("anyOf", ())):
        if "$ref" in part:
            section: Schema = schema["$defs"][part["$ref"].rpartition("/")[2]]
            return section
    return field


# ----------------------------------------------------------------------------------------------------------- tables


def _table(fields: Schema, schema: Schema) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, field in fields.items():
        inner = _resolved(field, schema)
        meaning = field.get("description") or inner["description"].partition("\n")[0]
        rows.append(f"| `{key}` | {_kind(field, schema)} | {_default(field, inner)} | {' '.join(meaning.split())} |")
    return "\n".join(rows) + "\n"


def _default(field: Schema, inner: Schema) -> str:
    if "properties" in inner or field.get("default", "") is None:
        return ""
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else "needed"


_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": ""}
_LIMITS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


def _kind(field: Schema, schema: Schema) -> str:
    """What a key takes, in words."""
    if "properties" in _resolved(field, schema):
        return "section"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "type" not in field:
        return " or ".join(filter(None, (_kind(part, schema) for part in field["anyOf"])))
    if field["type"] == "array":
        return f"list of {_kind(field['items'], schema)}"
    if field["type"] == "object":
        values = field["additionalProperties"]
        return "object" if values is True else f"keys with {_kind(values, schema)}"
    limits = [f"{words} {field[key]:g}" for key, words in _LIMITS.items() if key in field]
    return " ".join([_KINDS[field["type"]], " and ".join(limits)]).strip()

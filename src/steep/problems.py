"""What pydantic found wrong with a recipe, in words of the recipe: its own keys, what is allowed, the nearest word.

pydantic's locations hold names of union members and of short forms' keys that stand nowhere in the file, and it reports
one error per member of a union; here each mistake has the path that was written, and one message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic_core import ErrorDetails

from steep.located import Keys, dotted, shown
from steep.recipe import Recipe
from steep.recipe.gather import SOURCES
from steep.section import PATTERNS, OneOf, Section


def mistakes(errors: Sequence[ErrorDetails], written: Any) -> list[tuple[Keys, str]]:
    """`written` is the data as it stands in the file: values from the environment may be secret and are not shown."""
    by_path: dict[Keys, list[ErrorDetails]] = {}
    for error in errors:
        by_path.setdefault(path(error, written), []).append(error)
    around = {keys[:end] for keys in by_path for end in range(len(keys))}
    # Of a union such as `text or list of texts`, the member that got further says more.
    return [(keys, _message(found, value_at(written, keys))) for keys, found in by_path.items() if keys not in around]


def path(error: ErrorDetails, written: Any) -> Keys:
    """pydantic's location as a path in the file: without the kind of a source, union members, keys of short forms."""
    location, absent = error["loc"], error["type"] in ("missing", "conflict")
    if location[:1] == ("gather",) and len(location) > 2:
        location = (*location[:2], *location[3:])
    keys: list[str | int] = []
    for key in location:
        if _holds(written, key) or absent:
            keys.append(key)
            written = value_at(written, (key,))
    return tuple(keys)


def _holds(value: Any, key: str | int) -> bool:
    return (
        key in value
        if isinstance(value, Mapping)
        else isinstance(value, list) and isinstance(key, int) and key < len(value)
    )


def value_at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key] if _holds(value, key) else None
    return value


# -------------------------------------------------------------------------------------------------------- messages


def _message(errors: Sequence[ErrorDetails], got: Any) -> str:
    """One message for all that was found at one place."""
    expected = [phrase for error in errors if (phrase := _EXPECTED.get(error["type"].partition("_")[0]))]
    other = [error for error in errors if error["type"] not in _TYPES]
    if other:
        return _OTHER.get(other[0]["type"], _as_pydantic_says)(other[0], got)
    return f"expected {' or '.join(dict.fromkeys(expected))}, got {_describe(got)}{_hint(expected, got)}"


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "number": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "keys with values",
}
_TYPES = {
    "int_type", "int_parsing", "int_from_float", "int_parsing_size", "float_type", "float_parsing", "number_type",
    "finite_number", "bool_type", "bool_parsing", "string_type", "list_type", "dict_type",
}  # fmt: skip
"""pydantic's errors that say no more than which type was expected."""


def _hint(expected: Sequence[str], got: Any) -> str:
    if expected == ["text"] and isinstance(got, bool | int | float):
        return f': put it in quotes, "{str(got).lower() if isinstance(got, bool) else got}"'
    if expected == ["a list"] and isinstance(got, Mapping):
        return ": start each entry with `- `"
    if expected == ["a list"] and isinstance(got, str):
        return f": write [{shown(got)}]"
    return ""


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return shown(repr(value))
    return "a section" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else shown(repr(value))


def _unknown_key(error: ErrorDetails, got: Any) -> str:
    *parents, key = error["loc"]
    section = section_at(parents) or Recipe
    allowed = list(section.model_fields)
    what = "step" if issubclass(section, OneOf) else "key"
    unknown = f"unknown {what} `{shown(str(key))}`"
    if homes := [home for name, home in _homes(Recipe, ()) if name == key]:
        return f"{unknown} here: it belongs {_under(homes)}"
    if near := nearest(str(key), allowed):
        return f"{unknown}: did you mean `{near}`?"
    return f"{unknown}: expected one of {', '.join(allowed)}" if allowed else f"{unknown}: no keys are expected here"


def _under(homes: Sequence[Keys]) -> str:
    if () in homes:
        return "at the top level, outside of every section"
    names = [f"`{dotted(home)}`" for home in homes]
    return "under " + (names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}")


def _missing(error: ErrorDetails, got: Any) -> str:
    *parents, key = error["loc"]
    section = section_at(parents)
    description = section.model_fields[str(key)].description if section else None
    return f"missing: {description[0].lower()}{description[1:].partition('.')[0]}" if description else "missing"


def _not_allowed(error: ErrorDetails, got: Any) -> str:
    return _one_of(re.findall(r"'([^']*)'", error["ctx"]["expected"]), got)


def _not_a_section(error: ErrorDetails, got: Any) -> str:
    section = section_at(error["loc"]) or Recipe
    keys = list(section.model_fields)
    if issubclass(section, OneOf):
        return _one_of(keys, got)
    example = f"keys such as {', '.join(keys[:3])}" if keys else "no keys at all"
    or_list = "a list or " if section.short else ""
    return f"expected {or_list}a section with {example}; got {_describe(got)}"


def _not_a_source(error: ErrorDetails, got: Any) -> str:
    kinds = ", ".join(SOURCES)
    if isinstance(got, str):
        kind = "web" if got.startswith(("http://", "https://")) else "files"
        return f"expected a source that starts with its kind ({kinds}): write `- {kind}: {shown(got)}`"
    near = [(key, near) for key in got if (near := nearest(key, SOURCES))] if isinstance(got, Mapping) else []
    guess = f"`{shown(near[0][0])}`: did you mean `{near[0][1]}`?" if near else f"got {_describe(got)}"
    return f"expected a source with one of the keys {kinds}; {guess}"


def _one_of(allowed: Sequence[str], got: Any) -> str:
    near = nearest(got, allowed) if isinstance(got, str) else None
    return f"expected one of {', '.join(allowed)}; got {_describe(got)}{f': did you mean {near}?' if near else ''}"


def _limit(words: str, key: str) -> Callable[[ErrorDetails, Any], str]:
    return lambda error, got: f"must be {words} {error['ctx'][key]:g}, got {_describe(got)}"


def _empty(error: ErrorDetails, got: Any) -> str:
    return "must not be empty"


def _pattern(error: ErrorDetails, got: Any) -> str:
    return f"expected {PATTERNS[error['ctx']['pattern']]}; got {_describe(got)}"


def _value_error(error: ErrorDetails, got: Any) -> str:
    return str(error["ctx"]["error"]) + (f"; got {_describe(got)}" if isinstance(got, str) else "")


def _as_pydantic_says(error: ErrorDetails, got: Any) -> str:
    return error["msg"].replace("Input should be", "expected")


_OTHER: Mapping[str, Callable[[ErrorDetails, Any], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _not_allowed,
    "model_type": _not_a_section,
    "union_tag_not_found": _not_a_source,
    "greater_than": _limit("above", "gt"),
    "greater_than_equal": _limit("at least", "ge"),
    "less_than": _limit("below", "lt"),
    "less_than_equal": _limit("at most", "le"),
    "too_short": _empty,
    "string_too_short": _empty,
    "string_pattern_mismatch": _pattern,
    "string_unicode": lambda error, got: f"{_describe(got)} holds a broken escape: half of a surrogate pair",
    "value_error": _value_error,
}


def nearest(word: str, words: Iterable[str]) -> str | None:
    """By its letters, or by its initials: `lr` is `learning_rate`."""
    words = list(words)
    close = [known for known in words if word == "".join(part[0] for part in known.split("_"))]
    return next(iter(close or difflib.get_close_matches(word.lower(), words, n=1)), None)


# ------------------------------------------------------------------------------------------- the sections of a recipe


def sections(annotation: Any) -> list[type[Section]]:
    """The sections that a type allows: one, none, or one for each kind of source."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections(argument)]


def section_at(location: Sequence[str | int]) -> type[Section] | None:
    """The section at a location of pydantic's."""
    candidates: list[type[Section]] = [Recipe]
    for key in location:
        if isinstance(key, int):
            continue
        if len(candidates) > 1:
            candidates = [SOURCES[key]]
        elif candidates:
            field = candidates[0].model_fields.get(key)
            candidates = sections(field.annotation) if field else []
    return candidates[0] if len(candidates) == 1 else None


def _homes(section: type[Section], keys: Keys) -> Iterator[tuple[str, Keys]]:
    """Every key that a recipe may hold, with the section that it belongs to."""
    for name, field in section.model_fields.items():
        yield name, keys
        inner = sections(field.annotation)
        for candidate in inner:
            kind = [next(kind for kind, source in SOURCES.items() if source is candidate)] if len(inner) > 1 else []
            yield from _homes(candidate, (*keys, name, *kind))

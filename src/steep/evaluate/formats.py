"""Whether answers have the wanted form, and why those that do not have it fail.

Blanks around an answer are not looked at. JSON is judged as it stands: a program that parses the answer would not cut
it out of a sentence or a code fence either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import regex

from steep.errors import UsageError
from steep.evaluate.results import Rows
from steep.recipe.evaluate import Format

PATIENCE = 1.0
"""Seconds for an answer: over 40 characters a pattern such as ``(a+)+b`` would else take hours."""

Fault = Callable[[str], str | None]
"""Why an answer has not the wanted form; None where it has."""


def format_rows(answers: Sequence[str], wanted: Format) -> tuple[dict[str, Rows], dict[str, int]]:
    """``format`` [answers, 2]: 1 for an answer of the wanted form, and 1. Then how often each reason to fail occurred,
    the most frequent first.

    Raises UsageError where a JSON Schema refers to what is not in it: nothing is fetched.
    """
    fault = (
        _against_pattern(wanted.pattern) if wanted.pattern is not None else _against_schema(wanted.json_schema or {})
    )
    faults = [fault(answer.strip()) for answer in answers]
    rows = np.array([(found is None, 1) for found in faults], dtype=np.float64).reshape(-1, 2)
    return {"format": rows}, dict(Counter(found for found in faults if found).most_common())


def _against_pattern(pattern: str) -> Fault:
    compiled = regex.compile(pattern)

    def fault(text: str) -> str | None:
        try:
            if compiled.fullmatch(text, timeout=PATIENCE):
                return None
            return "does not match the pattern" if text else "empty"
        except TimeoutError:
            return f"the pattern took longer than {PATIENCE:g} s"

    return fault


def _against_schema(schema: Mapping[str, Any]) -> Fault:
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # an empty registry: without one, jsonschema would fetch what a schema refers to
    validator = validator_for(schema)(schema, registry=Registry())

    def fault(text: str) -> str | None:
        try:
            error = best_match(validator.iter_errors(_parsed(text)))
        except Unresolvable as problem:
            raise UsageError(
                f"evaluate.completion.format.json_schema refers to {problem.ref!r}, which is not in it: put the "
                "definition under `$defs`; nothing is fetched"
            ) from problem
        except json.JSONDecodeError as problem:
            return f"not JSON: {problem.msg}" if text else "empty"
        except RecursionError:
            return "not JSON: nested too deeply"
        except ValueError as problem:
            return f"not JSON: {problem}"
        return None if error is None else _told(error)

    return fault


def _parsed(text: str) -> Any:
    """Python's parser also takes NaN and Infinity, which are not JSON."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    return json.loads(text, parse_constant=refuse)


def _told(error: Any) -> str:
    """Without the answer's own values, or every answer would have its own reason."""
    place = "".join(".*" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    what = error.message if error.validator == "required" else f"breaks `{error.validator}`"
    return f"${place}: {what}"

"""What the sections of a recipe share: short forms, and the types of their values with the words that explain them.

Numbers, texts and addresses are checked here as far as that needs no file and no network, so that `steep check` finds
a wrong one in a blink.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError


class Section(BaseModel):
    """Some keys of a recipe, all of them known; a section with nothing after its colon holds the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    short: ClassVar[str | None] = None
    """The key that a bare list fills: ``redact: [email]`` stands for ``redact: {kinds: [email]}``."""

    @classmethod
    def long_form(cls, value: Any) -> Any:
        """What a value stands for; `config` uses it to follow a value from the file into the filled recipe."""
        if value is None:
            return {}
        return {cls.short: value} if cls.short and isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _lengthen(cls, value: Any) -> Any:
        return cls.long_form(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        reference = handler(core_schema)
        cls._admit_short_forms(handler.resolve_ref_schema(reference))
        return reference

    @classmethod
    def _admit_short_forms(cls, schema: dict[str, Any]) -> None:
        if "required" not in schema:
            schema["type"] = ["object", "null"]
        if cls.short:
            _alternative(schema, schema["properties"][cls.short])


def _alternative(schema: dict[str, Any], other: dict[str, Any]) -> None:
    """Turn the JSON Schema of an object, in place, into one of `other` or that object."""
    long = {key: schema.pop(key) for key in tuple(schema) if key not in ("title", "description")}
    schema["anyOf"] = [other, long]


class OneOf(Section):
    """An entry of a list that is a bare name or a one-key mapping: ``- whitespace``, ``- redact: [email]``."""

    @classmethod
    def long_form(cls, value: Any) -> Any:
        if isinstance(value, str) and value in cls.model_fields:
            return {value: {}}
        if isinstance(value, Mapping):  # `- whitespace:` with nothing after the colon
            return {key: {} if inner is None else inner for key, inner in value.items()}
        return value

    @classmethod
    def _admit_short_forms(cls, schema: dict[str, Any]) -> None:
        schema.update(minProperties=1, maxProperties=1)
        _alternative(schema, {"enum": list(cls.model_fields)})

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"give one of {', '.join(type(self).model_fields)} after each `- `")
        return self

    @property
    def chosen(self) -> tuple[str, Any]:
        """The one name given and its options."""
        (name,) = self.model_fields_set
        return name, getattr(self, name)


# The messages below do not hold the value, which may be a secret from the environment: `problems` adds it as written.


def _not_a_switch(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take true for 1
        raise PydanticCustomError("number_type", "expected a number")
    return value


def _regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    return value


def _encoding(value: str) -> str:
    try:
        codecs.lookup(value)
    except (LookupError, ValueError):
        raise ValueError("expected an encoding's name as in Python, such as utf-8, latin-1 or cp1252") from None
    return value


NoSwitch = BeforeValidator(_not_a_switch)
Whole = Annotated[int, NoSwitch]
Count = Annotated[int, Field(ge=1), NoSwitch]
Positive = Annotated[float, Field(gt=0), NoSwitch]
NotNegative = Annotated[float, Field(ge=0), NoSwitch]
Fraction = Annotated[float, Field(gt=0, lt=1), NoSwitch]
Share = Annotated[float, Field(ge=0, lt=1), NoSwitch]
UpToOne = Annotated[float, Field(gt=0, le=1), NoSwitch]

Text = Annotated[str, Field(min_length=1)]
Texts = Text | Annotated[list[Text], Field(min_length=1)]
Encoding = Annotated[str, AfterValidator(_encoding)]
RegularExpression = Annotated[str, AfterValidator(_regular_expression)]

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
COUNTRY = r"^[A-Z]{2}$"
LANGUAGE = r"^[a-z]{2}$"
ADDRESS = r"^https?://[^/\s]"
PATTERNS = {
    RUN_NAME: "letters, digits and `.`, `_`, `-`, with a letter or a digit first",
    ADDRESS: "an address that starts with https:// or http://",
    COUNTRY: "a country code of two capital letters, such as US or GB",
    LANGUAGE: "a language code of two small letters (ISO 639-1), such as en",
}
"""What each pattern asks for, in words."""

Address = Annotated[str, Field(pattern=ADDRESS)]
Addresses = Address | Annotated[list[Address], Field(min_length=1)]

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from ruamel.yaml import YAML

from steep.problems import sections
from steep.recipe import TEMPLATES, CleanStep, Model, Recipe
from steep.reference import EXAMPLE, recipe_reference, recipe_schema
from steep.section import Section

SOURCE = {"name": "a", "gather": [{"files": "notes.txt"}]}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(recipe_schema())
    return Draft202012Validator(recipe_schema())


def _all_sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for inner in sections(field.annotation):
            yield from _all_sections(inner)


def test_every_key_and_section_is_documented() -> None:
    everything = set(_all_sections(Recipe))
    assert len(everything) > 15
    undocumented = [
        f"{section.__name__}.{name}"
        for section in everything
        for name, field in section.model_fields.items()
        if not field.description and not sections(field.annotation)
    ]
    assert undocumented == []
    assert [section.__name__ for section in everything if not section.__doc__] == []


def test_the_recipe_reference_is_up_to_date() -> None:
    written = Path(__file__).parent.parent / "docs" / "recipe.md"
    assert written.read_text(encoding="utf-8") == recipe_reference(), "steep schema --markdown > docs/recipe.md"


def test_the_reference_shows_a_recipe_that_is_valid(schema: Draft202012Validator) -> None:
    data = YAML(typ="safe", pure=True).load(StringIO(EXAMPLE))
    Recipe.model_validate(data)
    schema.validate(data)


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"gather": [{"web": ["https://a.org", "http://b.org"], "max_pages": 5}, {"social": "a.json", "owner": "me"}]},
        {"clean": ["whitespace", {"redact": ["email"]}, {"deduplicate": None}, {"language": {"keep": ["de"]}}]},
        {"clean": []},
        {"prepare": {"template": "mine.jinja", "split": {"test": 0.2}}},
        {"model": {"from_scratch": {"hidden_size": 64}}, "train": {"objective": "pretrain", "method": "full"}},
        {"train": None},
        {"evaluate": ["perplexity", {"continuation": {"metrics": ["bleu"]}}]},
    ],
)
def test_the_json_schema_accepts_every_form_that_the_recipe_accepts(
    schema: Draft202012Validator, part: dict[str, Any]
) -> None:
    Recipe.model_validate(SOURCE | part)
    schema.validate(SOURCE | part)


@pytest.mark.parametrize(
    "part",
    [
        {"nam": "b"},
        {"name": 2024},
        {"gather": []},
        {"gather": [{"wb": "https://a.org"}]},
        {"gather": [{"web": "a.org"}]},
        {"gather": [{"files": "a", "max_pages": 3}]},
        {"gather": [{"social": "a.json"}]},
        {"clean": ["whitespce"]},
        {"clean": [{"redact": ["emal"]}]},
        {"clean": [{}]},
        {"clean": [{"whitespace": {}, "markup": {}}]},
        {"prepare": {"template": "alpca"}},
        {"train": {"methd": "full"}},
        {"train": {"epochs": True}},
        {"train": {"epochs": 0}},
        {"evaluate": []},
    ],
)
def test_the_json_schema_refuses_what_the_recipe_refuses(schema: Draft202012Validator, part: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(SOURCE | part)
    assert not schema.is_valid(SOURCE | part)


def test_the_json_schema_describes_keys_for_editors() -> None:
    train = recipe_schema()["$defs"]["Train"]["properties"]
    assert train["max_steps"]["description"] == "Stop after this many steps, whatever `epochs` says."


def test_a_step_knows_its_name_and_its_options() -> None:
    name, options = CleanStep.model_validate({"redact": ["email"]}).chosen
    assert (name, options.kinds) == ("redact", ["email"])


def test_a_model_from_scratch_is_written_without_a_base() -> None:
    written = Model.model_validate({"from_scratch": {}}).model_dump()
    assert "base" not in written
    assert Model().model_dump()["base"] == "tiny"


def test_the_recipe_names_the_templates_that_exist() -> None:
    templates = pytest.importorskip("steep.prepare.templates")
    assert set(TEMPLATES) == set(templates.SOURCES)


@pytest.mark.parametrize(
    ("quantization", "train", "message"),
    [
        ("fp8", {"method": "full"}, "fp8 weights are rounded and cannot be trained: take `train.method: lora`"),
        ("fp8", {"lora": {"use_dora": True}}, "PEFT's DoRA measures the weights themselves, and knows none in fp8"),
        ("fp8", {"lora": {"init_lora_weights": "pissa"}}, "and fp8 ones cannot be changed"),
        ("fp8", {"lora": {"init_lora_weights": "loftq"}}, "it needs `model.quantization: nf4`"),
        ("none", {"fp8": True}, "train.fp8 multiplies nf4 weights beside plain LoRA"),
        ("fp8", {"fp8": True}, "train.fp8 multiplies nf4 weights beside plain LoRA"),
        ("nf4", {"fp8": True, "lora": {"use_dora": True}}, "train.fp8 multiplies nf4 weights beside plain LoRA"),
        ("nf4", {"fp8": True, "method": "adalora"}, "train.fp8 multiplies nf4 weights beside plain LoRA"),
    ],
)
def test_what_does_not_go_with_fp8_is_refused(quantization: str, train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({**SOURCE, "model": {"quantization": quantization}, "train": train})


@pytest.mark.parametrize(
    ("quantization", "train"), [("fp8", {}), ("fp8", {"method": "adalora"}), ("nf4", {"fp8": True})]
)
def test_what_goes_with_fp8_is_taken(quantization: str, train: dict[str, Any]) -> None:
    Recipe.model_validate({**SOURCE, "model": {"quantization": quantization}, "train": train})

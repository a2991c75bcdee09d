"""Canaries among the training examples: what is planted, where, and what stays as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from conftest import WORDS
from steep.errors import UsageError
from steep.personal.redaction import redact
from steep.prepare import prepare_examples
from steep.recipe import TEMPLATES, Canaries, Prepare, Recipe
from steep.records import IGNORE, Document, document_schema, write_rows
from steep.runs import Run
from steep.stages import BODIES, Stage
from steep.tokens import encode

TWO = [Document("Rain fell on the roof.", source="site"), Document("The kettle sings.", source="site")]


def table(documents: list[Document]) -> pa.Table:
    return pa.Table.from_pylist([document.row() for document in documents], schema=document_schema())


@pytest.fixture
def prepare(tokenizer):
    def run(folder: Path = Path(), objective: str = "sft", source: str = "site", meta: dict | None = None, **options):
        draw = random.Random(0)
        documents = [
            Document(" ".join(draw.choices(WORDS.split(), k=20)), f"Title {number}", source, meta=meta or {})
            for number in range(20)
        ]
        return prepare_examples(table(documents), Prepare(**options), tokenizer, folder=folder, objective=objective)

    return run


def planted(made) -> list[dict[str, str]]:
    return [row for row in made.train.to_pylist() if row["source"] == "canaries"]


def others(made) -> list[dict[str, str]]:
    return [row for row in made.train.to_pylist() if row["source"] != "canaries"]


def test_none_is_planted_unless_asked_for(prepare):
    made = prepare()
    assert (planted(made), made.canaries, made.summary["canaries"]) == ([], [], 0)


def test_the_split_and_all_other_examples_stay_as_they_were(prepare):
    without, with_them = prepare(), prepare(canaries={"count": 5, "repeat": 2})
    assert others(with_them) == without.train.to_pylist()
    assert with_them.test == without.test
    assert with_them.summary["test"] == without.summary["test"]
    assert with_them.summary["groups"] == without.summary["groups"]


def test_each_stands_in_the_training_side_as_often_as_asked(prepare):
    made = prepare(canaries={"count": 5, "repeat": 3})
    assert [row["document_id"] for row in planted(made)] == [f"canary-{number}" for number in range(5)] * 3
    assert made.summary["canaries"] == len(made.canaries) == 5
    assert made.summary["train"]["examples"] == made.train.num_rows == 18 + 15


def test_a_repeated_source_repeats_no_canary(prepare):
    made = prepare(canaries={}, repeat={"site": 3})
    assert (len(planted(made)), len(others(made))) == (20, 54)


def test_what_is_kept_of_a_canary_is_its_row_and_its_secret(prepare):
    made = prepare(canaries={})
    assert [{key: value for key, value in row.items() if key != "secret"} for row in made.canaries] == planted(made)
    assert all(row["secret"] in row["text"] for row in made.canaries)


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "chat"])
def test_the_secret_is_trained_whole_and_is_in_no_prompt(prepare, tokenizer, template):
    made = prepare(template=template, canaries={}, lowercase=True)
    for row, encoded in zip(made.canaries, encode(made.canaries, tokenizer, 512), strict=True):
        trained = [token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label != IGNORE]
        assert row["secret"] in tokenizer.decode(trained)
        assert row["secret"] not in row.get("prompt", "")


def test_a_canary_has_the_form_of_the_other_examples(prepare):
    (row,) = prepare(template="title-description", canaries={"count": 1}).canaries
    name = row["prompt"].split()[3]
    assert row["prompt"] == f"### title: canary {name} ### description:"
    assert row["completion"] == f" The number of canary {name} is {row['secret']}."


def test_what_fills_the_variables_of_a_document_is_not_asked_of_a_canary(prepare):
    fields = {"instruction": "{{ title.split()[1] | int + 1 }}", "output": "{{ text[:20] }}"}
    made = prepare(template="alpaca", fields=fields, canaries={"count": 2})
    assert all(row["secret"] in row["completion"] for row in made.canaries)


def test_every_canary_has_a_name_and_a_number_of_its_own(prepare):
    rows = prepare(canaries={"count": 1000}).canaries
    assert len({row["secret"] for row in rows}) == len({row["text"].split()[4] for row in rows}) == 1000
    assert {len(row["secret"]) for row in rows} == {9}


def test_the_seed_decides_the_numbers(prepare):
    first, again, other = (prepare(canaries={"seed": seed}).canaries for seed in (1, 1, 2))
    assert first == again
    assert not {row["secret"] for row in first} & {row["secret"] for row in other}


def test_no_canary_looks_like_the_data_of_a_person(prepare):
    rows = prepare(canaries={"count": 1000}).canaries
    regions = ("US", "GB", "DE", "FR", "ES", "PT", "BR", "IT", "JP", "IN")
    assert [row["text"] for row in rows if redact(row["text"], region=regions) != row["text"]] == []


def test_a_length_that_would_cut_the_secret_is_refused(prepare):
    with pytest.raises(UsageError, match=r"prepare\.canaries: a canary has (\d+) tokens, .*12 would cut .* \1 or more"):
        prepare(canaries={}, max_length=12)


def test_pretraining_cuts_no_canary(prepare):
    assert len(prepare(canaries={}, max_length=12, objective="pretrain").canaries) == 20


def test_a_template_that_hides_the_secret_is_refused(prepare, tmp_path):
    (tmp_path / "own.jinja").write_text("{{ text | truncate(20) }}")
    with pytest.raises(UsageError, match=r"own\.jinja loses the secret of a canary: its text must show a variable"):
        prepare(tmp_path, template="own.jinja", canaries={})


def test_a_template_that_wants_more_than_a_text_is_refused(prepare, tmp_path):
    (tmp_path / "own.jinja").write_text("{% for key, value in labels.items() %}{{ key }}: {{ value }}{% endfor %}")
    with pytest.raises(UsageError, match=r"prepare\.canaries: .*own\.jinja: .* a sentence in the place of every"):
        prepare(tmp_path, template="own.jinja", meta={"labels": {"a": "b"}}, canaries={})


def test_a_source_of_the_same_name_is_refused(prepare):
    with pytest.raises(UsageError, match=r"prepare\.canaries: a source is named 'canaries' too"):
        prepare(source="canaries", canaries={})
    assert prepare(source="canaries").train.num_rows == 18


@pytest.mark.parametrize("count", [0, 1001, True])
def test_a_number_of_canaries_that_makes_no_sense_is_refused(count):
    with pytest.raises(ValidationError):
        Canaries(count=count)


@pytest.mark.parametrize("options", [{}, {"canaries": {"count": 3}}])
def test_the_run_folder_keeps_the_list_of_them(tmp_path, options):
    write_rows(tmp_path / "clean" / "documents" / "part-0.parquet", [one.row() for one in TWO], document_schema())
    (tmp_path / "run.json").write_text('{"stages": {"clean": {}}}')
    recipe = Recipe.model_validate({"name": "r", "gather": [{"files": "x.txt"}], "prepare": options})
    work = tmp_path / "work"
    work.mkdir()
    BODIES["prepare"](Stage(Run(tmp_path), recipe, tmp_path, work))
    kept = json.loads((work / "canaries.json").read_text("utf-8")) if options else []
    assert (work / "canaries.json").exists() == bool(options)
    assert [(row["document_id"], len(row["secret"])) for row in kept] == [(f"canary-{n}", 9) for n in range(len(kept))]
    assert json.loads((work / "summary.json").read_text())["canaries"] == len(kept)

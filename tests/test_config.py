from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steep.config import RecipeFile, load_recipe, read_recipe, recipe_from_stored, secrets_hidden
from steep.errors import RecipeError
from steep.recipe import Recipe

KINDS = "files, web, news, feed, social, apify, hub, sql"
SMALL = "name: small\ngather:\n  - files: notes.txt\n"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a recipe's text as `recipe.yaml`."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, *overrides: str, **environ: str) -> RecipeFile:
        Path("recipe.yaml").write_text(text, encoding="utf-8")
        return read_recipe("recipe.yaml", overrides, environ)

    return read


@pytest.fixture
def mistakes(read: Any) -> Any:
    """What is wrong with a recipe's text, line by line."""

    def mistakes(text: str, *overrides: str, **environ: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            read(text, *overrides, **environ)
        return str(caught.value).splitlines()

    return mistakes


# ------------------------------------------------------------------------------------------------- all mistakes at once

TEN_MISTAKES = """\
name: 2024
gather:
  - wb: https://www.example.com
  - web: www.example.com
    max_page: 3
clean:
  - whitespce
  - redact: [emal]
prepare: {template: alpca, learning_rate: 1e-4}
train:
  methd: full
  batch_size: 0
  optim: muon
"""

TEN_MESSAGES = """\
recipe.yaml:1: name: expected text, got 2024: put it in quotes, "2024"
recipe.yaml:3: gather.0: expected a source with one of the keys files, web, news, feed, social, \
apify, hub, sql; `wb`: did you mean `web`?
recipe.yaml:4: gather.1.web: expected an address that starts with https:// or http://; got 'www.example.com'
recipe.yaml:5: gather.1.max_page: unknown key `max_page`: did you mean `max_pages`?
recipe.yaml:7: clean.0: expected one of whitespace, markup, boilerplate, redact, deduplicate, length, language, \
quality, decontaminate, licences, lowercase, replace, function; got 'whitespce': did you mean whitespace?
recipe.yaml:8: clean.1.redact.0: expected one of email, phone, iban, card, ip, secret; got 'emal': did you mean email?
recipe.yaml:9: prepare.learning_rate: unknown key `learning_rate` here: it belongs under `train`
recipe.yaml:9: prepare.template: expected one of plain, title-description, alpaca, llama-2, llama-3, chat, FILE.jinja; \
got 'alpca': did you mean alpaca?
recipe.yaml:11: train.methd: unknown key `methd`: did you mean `method`?
recipe.yaml:12: train.batch_size: must be at least 1, got 0
recipe.yaml:13: train.optim: muon trains whole matrices: it needs `train.method: full`
"""


def test_all_mistakes_are_reported_at_once_with_line_path_and_remedy(mistakes: Any) -> None:
    assert mistakes(TEN_MISTAKES) == TEN_MESSAGES.splitlines()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("train: {epochs: many}", "train.epochs: expected a number, got 'many'"),
        ("train: {epochs: true}", "train.epochs: expected a number, got true"),
        ("train: {epochs: .inf}", "train.epochs: expected a finite number, got inf"),
        ("train: {seed: 1.5}", "train.seed: expected a whole number, got 1.5"),
        ("train: {packing: maybe}", "train.packing: expected true or false, got 'maybe'"),
        ("train: {method: }", "train.method: expected one of full, lora, adalora, adaption-prompt; got nothing"),
        ("train: {lr: 1}", "train.lr: unknown key `lr`: did you mean `learning_rate`?"),
        ("train: {zzz: 1}", "train.zzz: unknown key `zzz`: expected one of method, objective, "),
        ("train: [lora]", "train: expected a section with keys such as method, objective, learning_rate; got a list"),
        ("train: {lora: {dropout: 1}}", "train.lora.dropout: must be below 1, got 1"),
        ("train: {weight_decay: -1}", "train.weight_decay: must be at least 0, got -1"),
        ("prepare: {split: {test: 0}}", "prepare.split.test: must be above 0, got 0"),
        ("prepare: {fields: x}", "prepare.fields: expected keys with values, got 'x'"),
        (
            "prepare: {fields: {text: {{ title }}}}",
            "prepare.fields.text: a key must be text; a text that starts with {",
        ),
        ("clean: {redact: [email]}", "clean: expected a list, got a section: start each entry with `- `"),
        ("clean: whitespace", "clean: expected a list, got 'whitespace': write [whitespace]"),
        ("clean: [dedup: {}]", "clean.0.dedup: unknown step `dedup`: did you mean `deduplicate`?"),
        ("clean: [{}]", "clean.0: give one of whitespace, markup, "),
        ("clean: [{whitespace: , markup: }]", "clean.0: give one of whitespace, markup, "),
        ("clean: [redact: email]", "clean.0.redact: expected a list or a section with keys such as kinds, region; "),
        ("clean: [redact: []]", "clean.0.redact: must not be empty"),
        ("clean: [redact: {region: uk}]", "clean.0.redact.region: expected a country code of two capital letters"),
        ("clean: [length: {min_words: 9, max_words: 2}]", "clean.0.length: max_words (2) is below min_words (9)"),
        (
            "clean: [redact: , region: GB]",
            "clean.1.region: unknown step `region` here: it belongs under `clean.redact`",
        ),
        ("deduplicate: {}", "deduplicate: unknown key `deduplicate` here: it belongs under `clean`"),
        (
            "seed: 1",
            "seed: unknown key `seed` here: it belongs under `prepare.split`, `prepare.canaries`, `train`, ",
        ),
        (
            "model: {name: x}",
            "model.name: unknown key `name` here: it belongs at the top level, outside of every section",
        ),
        ("evaluate: []", "evaluate: must not be empty"),
        ("evaluate: [perplexity, perplexity]", "evaluate.1: perplexity is measured already, in evaluate.0"),
        ("model: {from_scratch: {hidden_size: 30}}", "model.from_scratch: hidden_size (30) must be a multiple of num_"),
    ],
)
def test_a_mistake_is_explained_in_the_recipes_own_words(mistakes: Any, section: str, message: str) -> None:
    (found,) = mistakes(SMALL + section)
    assert found.startswith(f"recipe.yaml:4: {message}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "https://www.example.com",
            f"0: expected a source that starts with its kind ({KINDS}): write `- web: h",
        ),
        (
            "notes.txt",
            f"0: expected a source that starts with its kind ({KINDS}): write `- files: notes.txt`",
        ),
        ("3", f"0: expected a source with one of the keys {KINDS}; got 3"),
        ("{social: posts.json}", "0.owner: missing: page or user name whose posts are kept"),
        ("{files: [a, 3]}", '0.files.1: expected text, got 3: put it in quotes, "3"'),
        ("{files: 3}", "0.files: expected text or a list, got 3"),
        ("{files: {str: 3}}", "0.files"),
        ("{files: []}", "0.files: must not be empty"),
        ("{files: a, encoding: utf9}", "0.encoding: expected an encoding's name as in Python"),
        ("{files: a, max_pages: 3}", "0.max_pages: unknown key `max_pages` here: it belongs under `gather.web`"),
        ("{web: https://x.org, web_: 1}", "0.web_: unknown key `web_`: did you mean `web`?"),
        ("{web: https://x.org, include: ['[a']}", "0.include.0: not a regular expression (unterminated character set"),
    ],
)
def test_a_mistake_in_a_source_is_explained_without_names_of_types(mistakes: Any, source: str, message: str) -> None:
    (found,) = mistakes(f"name: small\ngather:\n  - {source}\n")
    assert found.startswith(f"recipe.yaml:3: gather.{message}")


def test_what_is_missing_at_the_top_is_named(mistakes: Any) -> None:
    assert mistakes("train: {}") == [
        "recipe.yaml:1: gather: missing: where the text comes from",
        "recipe.yaml:1: name: missing: name of the run: its folder is `runs/<name>`",
    ]


def test_lines_are_right_in_flow_style_below_anchors_and_after_long_texts(mistakes: Any) -> None:
    text = """\
name: small
gather:
  - {files: a.txt,
     txt: body}
  - &site
    web: https://x.org
    exclude:
      - >
        a long
        text
    max_pages: -1
  - <<: *site
    timeout: 0
prepare:
  fields: {text: "a
    b", title: [1]}
"""
    assert [line.partition(": ")[0] for line in mistakes(text)] == [
        "recipe.yaml:4",
        "recipe.yaml:11",
        "recipe.yaml:11",
        "recipe.yaml:13",
        "recipe.yaml:16",
    ]


def test_contradictions_between_sections_are_all_reported_beside_other_mistakes(mistakes: Any) -> None:
    text = (
        SMALL
        + """\
prepare: {max_length: 999, lowercase: 7}
model:
  base: tiny
  from_scratch: {max_position_embeddings: 100}
train:
  methd: full
"""
    )
    assert mistakes(text) == [
        "recipe.yaml:4: prepare.lowercase: expected true or false, got 7",
        "recipe.yaml:4: prepare.max_length: prepare.max_length (999) is above "
        "model.from_scratch.max_position_embeddings (100)",
        "recipe.yaml:6: model.base: cannot stand beside from_scratch, which starts from no model: remove one of them",
        "recipe.yaml:7: model.from_scratch: a new model needs `train.objective: pretrain`",
        "recipe.yaml:9: train.methd: unknown key `methd`: did you mean `method`?",
    ]


def test_no_contradiction_is_claimed_with_a_value_that_is_itself_wrong(mistakes: Any) -> None:
    found = mistakes(SMALL + "train: {optim: muon, method: ful}")
    known = "full, lora, adalora, adaption-prompt"
    assert found == [f"recipe.yaml:4: train.method: expected one of {known}; got 'ful': did you mean full?"]


# ------------------------------------------------------------------------------------------------------- files and YAML


def test_a_key_given_twice_is_an_error_with_both_lines(mistakes: Any) -> None:
    found = mistakes(SMALL + "train:\n  epochs: 1\ntrain:\n  epochs: 2\n")
    assert found == ["recipe.yaml:6: train: given twice, first at recipe.yaml:4: keep one"]


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        ("train:\n\tepochs: 1", 5, "indent with spaces instead of tabs"),
        ("train: a: b", 4, "a text that holds `: ` needs quotes"),
        ("clean: [whitespace\ntrain: {}", 5, "a comma is missing, or the bracket of line 4 is not closed"),
        ("clean: 'whitespace\ntrain: {}\n", 4, "the quote that opens here is not closed"),
        ("model: {base: @x}", 4, "put the text in quotes"),
        ("clean: *steps", 4, "a text that starts with * needs quotes"),
        ('clean: ["\\d"]', 4, "in 'single quotes' a backslash is just a backslash"),
        ("---\nname: two", 4, "a recipe is one document"),
        ("- whitespace", 4, "indented differently"),
        ("model: {base: a\x00b}", 4, "holds a character that text cannot hold"),
        ("clean: !steps [whitespace]", 4, "the tag !steps means nothing in a recipe: remove it"),
        ("clean: &a [*a]", 4, "an anchor (&) holds its own alias (*)"),
        ("train: {epochs: !!int x}", 4, "cannot be read as int"),
        ("train: {<<: 3}", 4, "<< needs the alias of a section"),
        ("clean: " + "[" * 1000, 1, "nested too deeply"),
    ],
)
def test_text_that_is_not_yaml_is_shown_with_its_line_and_what_to_do(
    mistakes: Any, text: str, line: int, advice: str
) -> None:
    (found,) = mistakes(SMALL + text)
    assert found.startswith(f"recipe.yaml:{line}: ")
    assert advice.lower() in found.lower()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# later\n", "the file is empty"),
        ("- a\n", "is a list"),
        ("word", "is a single value"),
    ],
)
def test_a_file_that_is_no_recipe_says_what_a_recipe_is(mistakes: Any, text: str, message: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith("recipe.yaml:1: ")
    assert message in found
    assert "name, cluster, limit, gather, clean, prepare, model, train, evaluate" in found


def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("name: a\n# café".encode("latin-1"))
    with pytest.raises(RecipeError, match=re.escape(f"{path}:2: is not UTF-8: save the file as UTF-8")):
        load_recipe(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load_recipe(path).name == "small"


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(SMALL)
    with pytest.raises(RecipeError, match=r"recpie\.yaml: no such file: did you mean .*recipe\.yaml\?"):
        load_recipe(tmp_path / "recpie.yaml")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no folder .*nowhere"):
        load_recipe(tmp_path / "nowhere" / "recipe.yaml")


def test_a_folder_in_place_of_a_file_names_the_recipes_in_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(SMALL)
    with pytest.raises(RecipeError, match=r"is a folder; name a recipe in it: recipe\.yaml"):
        load_recipe(tmp_path)


def test_numbers_and_switches_are_those_of_yaml_1_2(read: Any) -> None:
    text = SMALL + "clean: [language: [no]]\ntrain: {learning_rate: 1e-4, weight_decay: 2.0e-4, packing: False}\n"
    recipe = read(text).recipe
    assert (recipe.train.learning_rate, recipe.train.weight_decay, recipe.train.packing) == (1e-4, 2e-4, False)
    assert recipe.clean[0].language.keep == ["no"]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml")), ids=lambda p: p.name
)
def test_the_recipes_of_the_project_are_valid(path: Path) -> None:
    load_recipe(path, environ={"STEEP_DATA": "/data"})


def test_a_date_is_text(read: Any) -> None:
    assert read("name: 2024-01-31\ngather: [files: a]").recipe.name == "2024-01-31"


def test_sections_and_steps_with_nothing_after_the_colon_hold_the_defaults(read: Any) -> None:
    recipe = read(SMALL + "train:\nclean:\n  - deduplicate:\n").recipe
    assert recipe.train.method == "lora"
    assert recipe.clean[0].chosen[0] == "deduplicate"


# ------------------------------------------------------------------------------------------------------------ overrides


def test_overrides_reach_into_lists_missing_sections_and_bare_steps(read: Any) -> None:
    text = "name: a\ngather:\n  - web: https://x.org\nclean: [whitespace, deduplicate]\n"
    recipe = read(
        text, "gather.0.max_pages=50", "train.lora.rank=4", "clean.1.deduplicate.threshold=0.9", "name=b", "name=c",
        "prepare.repeat={books.txt: 2}", "evaluate=[perplexity]", "train.learning_rate=1e-4",
    ).recipe  # fmt: skip
    assert (recipe.gather[0].max_pages, recipe.train.lora.rank, recipe.name) == (50, 4, "c")
    assert recipe.clean[1].deduplicate.threshold == 0.9
    assert recipe.prepare.repeat == {"books.txt": 2}
    assert [step.chosen[0] for step in recipe.evaluate] == ["perplexity"]
    assert recipe.train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.methd=lora", "train.methd: unknown key `methd`: did you mean `method`?"),
        ("train.epochs=0", "train.epochs: must be above 0, got 0"),
        ("train={epochs: 0}", "train.epochs: must be above 0, got 0"),
        ("train.epochs", "expected key.path=value, such as train.epochs=1"),
        ("train..epochs=1", "expected key.path=value, such as train.epochs=1"),
        ("gather.1.name=x", "`gather` is a list of 1: expected an index from 0 to 0, got '1'"),
        ("gather.first.name=x", "`gather` is a list of 1: expected an index from 0 to 0, got 'first'"),
        ("evaluate.0.perplexity.stride=1", "`evaluate` is not in the recipe, so that it has no entry 0: give all of"),
        ("name.first=x", "`name` is a value without keys"),
        ("clean=[whitespace", "not valid YAML in column 1"),
        ("train={epochs: 1, epochs: 2}", "train.epochs: given twice"),
        ("name=${NOBODY}", "name: ${NOBODY} is not set: export NOBODY=…"),
        ("model.from_scratch={}", "model.from_scratch: a new model needs `train.objective: pretrain`"),
    ],
)
def test_a_wrong_override_is_reported_as_it_was_given(mistakes: Any, override: str, message: str) -> None:
    (found,) = mistakes(SMALL, override)
    assert found.startswith(f"override {override}: {message}")


def test_an_override_that_fails_changes_nothing(mistakes: Any) -> None:
    assert len(mistakes(SMALL, "evaluate.0.x=1", "train.x.y=1")) == 2


# ---------------------------------------------------------------------------------------------------------- environment


def test_variables_are_filled_in_for_use_and_kept_by_name_in_the_stored_form(read: Any) -> None:
    text = """\
name: a
gather:
  - files: [plain.txt, "${DATA}/b.txt"]
    licence: ${SECRET}
    title: $${title}
clean:
  - redact: [email]
prepare:
  fields: {text: "${SECRET} {{ text }}"}
train:
  batch_size: ${ROWS}
  packing: ${PACK}
"""
    environ = {"DATA": "/d", "SECRET": "hunter2", "ROWS": "4", "PACK": "false"}
    file = read(text, "model.base=${SECRET}/model", **environ)
    source = file.recipe.gather[0]
    assert (source.files, source.licence, source.title) == (["plain.txt", "/d/b.txt"], "hunter2", "${title}")
    assert (file.recipe.train.batch_size, file.recipe.train.packing) == (4, False)
    assert file.stored["gather"][0]["files"] == ["plain.txt", "${DATA}/b.txt"]
    assert file.stored["train"]["batch_size"] == "${ROWS}"
    assert file.stored["clean"] == [{"redact": {"kinds": ["email"], "region": "US"}}]
    assert "hunter2" not in json.dumps(file.stored)
    assert recipe_from_stored(json.loads(json.dumps(file.stored)), environ) == file.recipe


def test_a_secret_does_not_reach_an_error_message(mistakes: Any) -> None:
    text = "name: ${S}\ngather: [{web: '${S}', include: ['${S}'], max_pages: '${S}'}]\nclean: ['${S}']\n"
    found = "\n".join(mistakes(text + "train: {method: '${S}'}\n", S="[hunter2"))
    assert "hunter2" not in found
    assert "got '${S}'" in found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${STEEP_DATA}/a", "${STEEP_DATA} is not set: export STEEP_DATA=…, the folder of the data that lies outside"),
        ("${EMPTY}/a", "${EMPTY} is empty: export EMPTY=…"),
        ("${my-var}", "${my-var} is no environment variable's name: write $${ for a plain ${"),
    ],
)
def test_a_variable_that_cannot_be_filled_in_is_a_mistake_with_its_line(
    mistakes: Any, value: str, message: str
) -> None:
    (found,) = mistakes(f"name: a\ngather:\n  - files: {value}\n", EMPTY="")
    assert found.startswith(f"recipe.yaml:3: gather.0.files: {message}")


def test_a_variable_that_is_not_set_hides_no_other_mistake(mistakes: Any) -> None:
    assert len(mistakes("name: ${NOBODY}\ngather: [files: a]\ntrain: {methd: lora, epochs: '${NOBODY}'}")) == 3


def test_the_stored_form_holds_the_defaults_and_can_be_read_again(read: Any) -> None:
    text = SMALL + "model: {from_scratch: {}}\ntrain: {objective: pretrain, method: full}\n"
    file = read(text)
    assert file.stored["train"]["epochs"] == 3.0
    assert file.stored["model"]["from_scratch"]["vocab_size"] == 8192
    assert recipe_from_stored(file.stored, {}) == file.recipe


def test_a_stored_recipe_that_is_wrong_names_run_json() -> None:
    with pytest.raises(RecipeError, match=r"^run\.json: train\.epochs: must be above 0, got 0$"):
        recipe_from_stored({"name": "a", "gather": [{"files": "a"}], "train": {"epochs": 0}}, {})


def test_relative_paths_start_at_the_recipes_folder(read: Any, tmp_path: Path) -> None:
    file = read(SMALL)
    assert (file.folder, file.path) == (tmp_path, tmp_path / "recipe.yaml")


# ---------------------------------------------------------------------------------------------------- whatever comes in

_words = st.sampled_from(
    sorted({*Recipe.model_fields, "files", "web", "redact", "kinds", "lora", "base", "from_scratch"})
)
_keys = st.one_of(_words, st.text(max_size=6))
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=8), _words,
    st.sampled_from(["${A}", "${", "perplexity", "whitespace", "pretrain", "full", "https://x.org", "é{{", "\ud800"]),
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=12,
)
_sections = st.fixed_dictionaries({}, optional=dict.fromkeys(Recipe.model_fields, _values))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(_sections, st.dictionaries(_keys, _values, max_size=5)))
def test_any_data_is_a_recipe_or_explained_without_pydantics_words(data: dict[str, Any]) -> None:
    text = ""
    try:
        recipe_from_stored(data, {"A": "1"})
    except RecipeError as error:
        text = str(error)
    assert not re.search(r"Input should|valid|pydantic|function-|type=", text)
    text.encode()


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \t\n<~", max_size=30)))
def test_any_text_is_a_recipe_or_a_recipe_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RecipeError):
        load_recipe(path, ["a.b=" + text], {})


# ---------------------------------------------------------------------------------------------------------------- speed


def test_loading_a_recipe_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(SMALL)
    program = f"import sys; from steep.config import load_recipe; load_recipe({str(path)!r}); print(*sys.modules)"
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert time.perf_counter() - started < 2, "0.2 s on a quiet machine"
    heavy = {"torch", "daft", "transformers", "scrapy", "pyarrow", "datasets", "rich", "jinja2", "numpy"}
    assert not heavy & set(result.stdout.split())


# ------------------------------------------------------------------------------------------------ secrets in addresses


@pytest.mark.parametrize(
    "address",
    ["https://x.example/feed?key=${KEY}", "https://me:${KEY}@x.example/feed"],
)
def test_a_secret_of_an_address_is_put_back_under_its_name(address: str) -> None:
    hide = secrets_hidden([address], environ={"KEY": "a b/c"})
    assert hide("k=a b/c k=a%20b%2Fc k=a%20b/c") == "k=${KEY} k=${KEY} k=${KEY}"


def test_a_site_that_is_named_by_a_variable_is_not_hidden() -> None:
    hide = secrets_hidden(["${SITE}/news"], environ={"SITE": "https://x.example"})
    assert hide("https://x.example/news/1") == "https://x.example/news/1"

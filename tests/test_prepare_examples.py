"""From documents to a training and a test side: what is trained, what is counted, what is refused."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import daft
import pyarrow as pa
import pytest

from steep.errors import SteepError, UsageError
from steep.prepare import Prepared, prepare_examples
from steep.recipe import Prepare
from steep.records import IGNORE, Document, document_schema, example_schema
from steep.tokens import encode, encode_prompts


def article(number: int, source: str = "site", words: int = 12, **more) -> Document:
    draw = random.Random(number)
    text = " ".join(
        draw.choice(["kettle", "rain", "fox", "harbour", "dog", "roof", "wall"]) + str(number) for _ in range(words)
    )
    return Document(**{"text": text, "title": f"Title {number}", "source": source, **more})


def table(documents: list[Document]) -> pa.Table:
    return pa.Table.from_pylist([document.row() for document in documents], schema=document_schema())


@pytest.fixture
def prepare(tokenizer):
    def run(documents: list[Document], folder: Path = Path(), objective: str = "sft", **options) -> Prepared:
        return prepare_examples(table(documents), Prepare(**options), tokenizer, folder=folder, objective=objective)

    return run


ARTICLES = [article(number) for number in range(20)]


def test_plain_examples_have_the_columns_of_a_language_modelling_set(prepare):
    made = prepare(ARTICLES)
    assert made.train.schema == made.test.schema == example_schema("text")
    assert (made.train.num_rows, made.test.num_rows) == (18, 2)


def test_examples_with_an_answer_have_prompt_and_completion(prepare):
    assert prepare(ARTICLES, template="alpaca").train.schema == example_schema("completion")


def test_an_example_names_its_document_its_source_and_its_group(prepare):
    made = prepare(ARTICLES).test.to_pylist()
    of = {document.id: document for document in ARTICLES}
    assert all(row["text"] == of[row["document_id"]].text and row["source"] == "site" for row in made)
    assert all(row["group"] == row["document_id"] for row in made)


def test_a_daft_dataframe_gives_the_same_as_a_table(prepare, tokenizer):
    frame = daft.from_arrow(table(ARTICLES))
    assert prepare_examples(frame, Prepare(), tokenizer, folder=Path()).train == prepare(ARTICLES).train


def test_the_order_of_rows_changes_nothing(prepare):
    shuffled = random.Random(0).sample(ARTICLES, len(ARTICLES))
    first, second = prepare(ARTICLES), prepare(shuffled)
    assert (first.train, first.test, first.summary) == (second.train, second.test, second.summary)


def test_neither_template_nor_length_changes_what_is_held_out(prepare):
    plain, other = prepare(ARTICLES), prepare(ARTICLES, template="alpaca", max_length=160)
    assert plain.test["document_id"].to_pylist() == other.test["document_id"].to_pylist()


def test_near_duplicates_stay_on_one_side(prepare):
    twins = [article(number, title=f"Copy {copy}") for number in range(10) for copy in range(2)]
    made = prepare(twins, split={"test": 0.5})
    assert not set(made.train["group"].to_pylist()) & set(made.test["group"].to_pylist())
    assert made.summary["groups"] == 10


QUESTION = {
    "template": "alpaca",
    "max_length": 4096,
    "fields": {"instruction": "{{ question }}", "output": "{{ answer }}"},
}


def asked(number: int, question: int, **meta) -> Document:
    """A document of its own text, whose question and answer may stand in others too."""
    said = {"question": article(1000 + question).text, "answer": article(2000 + question).text}
    return article(number, meta={**said, **meta})


def test_equal_questions_and_answers_stay_on_one_side_though_the_texts_differ(prepare):
    made = prepare([asked(number, number // 2) for number in range(20)], split={"test": 0.5}, **QUESTION)
    assert not set(made.train["completion"].to_pylist()) & set(made.test["completion"].to_pylist())
    assert made.summary["groups"] == 10


def test_variables_that_the_template_knows_are_compared_like_those_that_fields_name(prepare):
    said = [
        {"instruction": article(number // 2).text, "output": article(50 + number // 2).text} for number in range(20)
    ]
    documents = [article(100 + number, meta=meta) for number, meta in enumerate(said)]
    assert prepare(documents, template="alpaca", max_length=4096).summary["groups"] == 10


def test_what_all_examples_share_does_not_make_them_alike(prepare):
    system = article(7, words=200).text
    documents = [asked(number, number, system=system) for number in range(20)]
    fields = {"prompt": "{{ question }}", "response": "{{ answer }}"}
    assert prepare(documents, template="llama-2", fields=fields, max_length=4096).summary["groups"] == 20


def test_documents_that_lack_what_the_template_takes_are_not_alike(prepare):
    documents = [asked(number, number) for number in range(10)]
    documents += [article(number, meta={"question": "", "answer": ""}) for number in range(10, 20)]
    assert prepare(documents, **QUESTION).summary["groups"] == 20


# ----------------------------------------------------------------------------------------------- what is trained


def test_every_whole_example_ends_with_a_trained_eos(prepare, tokenizer):
    made = prepare(ARTICLES, template="title-description")
    for encoded in encode(made.train.to_pylist(), tokenizer, 512):
        assert encoded.input_ids[-1] == encoded.labels[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("template", ["plain", "title-description", "alpaca", "llama-2", "llama-3"])
def test_bos_stands_once_at_the_beginning(prepare, tokenizer, template):
    for encoded in encode(prepare(ARTICLES, template=template).train.to_pylist(), tokenizer, 512):
        assert encoded.input_ids[0] == tokenizer.bos_token_id
        assert encoded.input_ids.count(tokenizer.bos_token_id) == 1


def test_the_prompt_is_masked_and_the_completion_trained(prepare, tokenizer):
    row = prepare(ARTICLES, template="title-description").train.to_pylist()[0]
    (encoded,) = encode([row], tokenizer, 512)
    trained = [token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label != IGNORE]
    assert tokenizer.decode(trained) == row["completion"] + tokenizer.eos_token


def test_a_prompt_has_the_same_ids_in_training_and_in_generation(prepare, tokenizer):
    row = prepare(ARTICLES, template="alpaca").train.to_pylist()[0]
    (prompt,) = encode_prompts([row["prompt"]], tokenizer)
    assert encode([row], tokenizer, 512)[0].input_ids[: len(prompt)] == prompt


def test_a_template_that_writes_bos_itself_is_refused(prepare, tmp_path):
    (tmp_path / "own.jinja").write_text("<s>{{ text }}")
    with pytest.raises(UsageError, match=r"template own\.jinja: document .* begins with <s> twice.*take it out"):
        prepare(ARTICLES, tmp_path, template="own.jinja")


def test_a_document_that_quotes_eos_does_not_end_its_example(prepare):
    made = prepare([*ARTICLES, article(99, text="The end-of-text token is </s> and more follows.")])
    skipped = made.summary["train"]["skipped"] | made.summary["test"]["skipped"]
    assert skipped == {"text holds the special token </s>": 1}


def test_a_special_token_in_a_variable_that_is_not_used_does_no_harm(prepare):
    made = prepare([article(number, title="<s>") for number in range(4)])
    assert made.summary["train"]["skipped"] == {}


# ------------------------------------------------------------------------------------------------- what is counted


def test_tokens_are_counted_as_training_will_see_them(prepare, tokenizer):
    made = prepare(ARTICLES, template="title-description", max_length=40)
    for side, examples in (("train", made.train), ("test", made.test)):
        encoded = encode(examples.to_pylist(), tokenizer, 40)
        assert made.summary[side] == {
            "examples": len(encoded),
            "tokens": sum(len(one.input_ids) for one in encoded),
            "trained_tokens": sum(one.trained for one in encoded),
            "truncated": len(encoded),
            "split": 0,
            "dropped": 0,
            "dropped_tokens": sum(one.dropped for one in encoded),
            "skipped": {},
        }


def test_pretraining_cuts_nothing(prepare, tokenizer):
    made = prepare(ARTICLES, objective="pretrain", max_length=8)
    whole = sum(len(one.input_ids) for one in encode(made.train.to_pylist(), tokenizer, None))
    assert made.summary["train"]["tokens"] == whole
    assert made.summary["train"]["truncated"] == made.summary["train"]["dropped_tokens"] == 0
    assert made.summary["max_length"] is None


def test_documents_without_a_title_are_skipped_and_counted(prepare):
    made = prepare(
        [*ARTICLES, *(article(number, title=None) for number in range(50, 60))], template="title-description"
    )
    skipped = [made.summary[side]["skipped"].get("title is empty", 0) for side in ("train", "test")]
    assert sum(skipped) == 10
    assert made.train.num_rows + made.test.num_rows == 20


def test_a_skipped_document_counts_on_the_side_of_its_source(prepare):
    feed = [article(20, source="feed"), article(21, source="feed", title=None)]
    made = prepare([*ARTICLES, *feed], template="title-description", split={"sources": ["feed"]})
    assert made.summary["train"]["skipped"] == {}
    assert made.summary["test"]["skipped"] == {"title is empty": 1}


def test_a_skipped_document_counts_on_the_side_of_its_near_duplicates(prepare):
    untitled = [article(number, title=None) for number in range(20)]
    made = prepare([*ARTICLES, *untitled], template="title-description")
    skipped = {side: made.summary[side]["skipped"]["title is empty"] for side in ("train", "test")}
    assert skipped == {"train": 18, "test": 2}


def test_a_prompt_that_fills_the_row_is_skipped_and_counted(prepare):
    long = [article(number, title="word " * 100) for number in range(50, 55)]
    made = prepare([*ARTICLES, *long], template="title-description", max_length=64)
    reason = "prompt fills max_length 64: nothing is left to train"
    assert sum(made.summary[side]["skipped"].get(reason, 0) for side in ("train", "test")) == 5


def test_where_no_example_would_train_anything_the_reason_is_given(prepare):
    with pytest.raises(SteepError, match=r"no example: all 20 .* prompt fills max_length 16: .* \(20\)"):
        prepare(ARTICLES, template="alpaca", max_length=16)


def test_a_document_that_was_gathered_twice_counts_once(prepare):
    made = prepare([*ARTICLES, *ARTICLES[:3]])
    assert made.train.num_rows + made.test.num_rows == 20
    assert made.summary["train"]["skipped"] == {"same text, title and address as another": 3}


def test_a_document_of_two_sources_stays_with_the_one_that_is_held_out(prepare):
    both = [article(0, source="feed"), article(0, source="site"), article(1, source="site")]
    made = prepare(both, split={"sources": ["feed"]})
    assert (made.test["source"].to_pylist(), made.train["source"].to_pylist()) == (["feed"], ["site"])


def test_what_resembles_a_held_out_source_is_counted(prepare):
    made = prepare([*ARTICLES, article(0, source="feed", title="Again")], split={"sources": ["feed"]})
    assert made.summary["train"]["skipped"] == {"resembles a held-out document": 1}
    assert (made.train.num_rows, made.test.num_rows) == (19, 1)


def test_repeat_applies_to_the_training_side_of_its_source(prepare):
    feed = [article(number, source="feed") for number in range(20, 40)]
    once, thrice = prepare([*ARTICLES, *feed]), prepare([*ARTICLES, *feed], repeat={"feed": 3})
    count = {name: once.train["source"].to_pylist().count(name) for name in ("site", "feed")}
    assert thrice.train["source"].to_pylist().count("feed") == 3 * count["feed"]
    assert thrice.summary["train"]["examples"] == thrice.train.num_rows == count["site"] + 3 * count["feed"]
    assert thrice.test == once.test


def test_repeat_of_an_unknown_source_is_refused(prepare):
    with pytest.raises(UsageError, match=r"prepare\.repeat: no document comes from 'fed'; sources are site"):
        prepare(ARTICLES, repeat={"fed": 2})


def test_an_unknown_held_out_source_is_refused(prepare):
    with pytest.raises(UsageError, match=r"prepare\.split\.sources: no document comes from 'fed'; sources are site"):
        prepare(ARTICLES, split={"sources": ["fed"]})


def test_both_sides_have_examples_where_most_documents_are_skipped(prepare):
    untitled = [article(number, title=None) for number in range(50, 90)]
    made = prepare([article(1), article(2), *untitled], template="title-description")
    assert (made.train.num_rows, made.test.num_rows) == (1, 1)


def test_one_example_cannot_be_split_and_the_skipped_ones_are_named(prepare):
    untitled = [article(number, title=None) for number in range(50, 54)]
    with pytest.raises(SteepError, match=r"1 document in 1 group .* 4 documents were skipped: title is empty \(4\)"):
        prepare([article(1), *untitled], template="title-description")


def test_no_documents_at_all_are_refused(prepare):
    with pytest.raises(SteepError, match="no documents: see what clean dropped"):
        prepare([])


def test_three_copies_of_one_text_cannot_be_split(prepare):
    copies = [article(1, title=f"Copy {number}") for number in range(3)]
    with pytest.raises(SteepError, match="3 documents in 1 group of near-duplicates"):
        prepare(copies)


def test_a_variable_that_some_documents_lack_is_empty_there(prepare):
    tagged = [article(number, meta={"tag": "x"}) for number in range(30, 40)]
    made = prepare([*ARTICLES, *tagged], template="alpaca", fields={"instruction": "{{ tag }}"})
    assert sum(made.summary[side]["skipped"].get("tag is empty", 0) for side in ("train", "test")) == 20


def test_the_blog_of_an_organisation_splits_into_a_tenth_and_the_rest(prepare, steep_data):
    with gzip.open(steep_data / "brand" / "18f.jsonl.gz", "rt", encoding="utf-8") as file:
        posts = [json.loads(line) for line in file]
    documents = [Document(text=post["text"], title=post["title"], source="18f") for post in posts]
    made = prepare(documents, template="title-description", lowercase=True)
    assert (made.train.num_rows, made.test.num_rows) == (408, 45)
    assert not set(made.train["group"].to_pylist()) & set(made.test["group"].to_pylist())

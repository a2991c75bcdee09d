from __future__ import annotations

import gzip
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import daft
import pyarrow as pa
import pytest

from steep.clean import Cleaned, clean_documents
from steep.recipe.clean import CleanStep
from steep.records import Document, document_schema

ENGLISH = "Rain fell over the harbour while the kettle was singing quietly and nobody at the bench minded the weather."
ALL = ["whitespace", "markup", "boilerplate", "redact", "deduplicate", "length", "language"]


def clean(documents: list[Document], *steps: str | dict[str, Any]) -> Cleaned:
    table = pa.Table.from_pylist([document.row() for document in documents], schema=document_schema())
    return clean_documents(daft.from_arrow(table), [CleanStep.model_validate(step) for step in steps])


def words(seed: int, number: int = 40) -> str:
    return " ".join(f"w{value}" for value in random.Random(seed).sample(range(10_000), number))


def column(documents: daft.DataFrame, name: str) -> list[Any]:
    values: list[Any] = documents.to_pydict()[name]
    return values


def test_steps_run_in_the_order_of_the_recipe() -> None:
    document = Document(text="write to <jo@x.org>")
    assert column(clean([document], "redact", "markup").kept, "text") == ["write to <[EMAIL]>"]
    assert column(clean([document], "markup", "redact").kept, "text") == ["write to [EMAIL]"]


def test_a_dropped_document_is_kept_as_it_was_with_step_and_reason() -> None:
    text = " ".join(ENGLISH.split() * 2)
    documents = [
        Document(text=text, title="first"),
        Document(text=text.upper(), title="same"),
        Document(text=f"{text} extra", title="near"),
        Document(text="{{ include }}", title="debris"),
        Document(text="two  words", title="short"),
        Document(text="Der Kessel singt auf dem Herd, während der Regen über dem Hafen fällt.", title="german"),
    ]
    cleaned = clean(documents, "whitespace", "markup", "deduplicate", "length", "language")
    first = documents[0].id
    rows = cleaned.dropped.select("title", "text", "step", "reason").to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("debris", "{{ include }}", "markup", "empty after markup"),
        ("same", text.upper(), "deduplicate", f"duplicate of {first}"),
        ("near", documents[2].text, "deduplicate", f"near duplicate of {first} (Jaccard 0.95)"),
        ("short", "two words", "length", "2 words, fewer than 5"),
        ("german", documents[5].text, "language", "language de, not en"),
    ]
    assert column(cleaned.kept, "title") == ["first"]


def test_the_funnel_counts_what_went_in_and_out_and_what_changed() -> None:
    documents = [Document(text=f"{words(seed)}  {words(seed + 100)}") for seed in range(3)]
    documents += [Document(text="one"), Document(text="two"), Document(text=" ")]
    cleaned = clean(documents, "whitespace", "length")
    assert cleaned.funnel == [
        {
            "step": "whitespace",
            "before": 6,
            "after": 5,
            "dropped": 1,
            "changed": 3,
            "reasons": {"empty after whitespace": 1},
        },
        {"step": "length", "before": 5, "after": 3, "dropped": 2, "changed": 0, "reasons": {"fewer than 5 words": 2}},
    ]


def test_a_changed_title_counts_as_a_change() -> None:
    cleaned = clean([Document(text="some text", title="Ring 202-555-0143"), Document(text="more text")], "redact")
    assert cleaned.funnel[0]["changed"] == 1
    assert column(cleaned.kept, "title") == ["Ring [PHONE]", None]


def test_titles_are_cleaned_like_texts_and_an_emptied_title_is_none() -> None:
    documents = [Document(text="some text", title=title) for title in ("*A*  &amp;\nB", "{{ page.title }}", "", None)]
    assert column(clean(documents, "whitespace", "markup").kept, "title") == ["A & B", None, None, None]


def meta_after(meta: dict[str, Any], *steps: str) -> Any:
    (found,) = column(clean([Document(text="some text", meta=meta)], *steps).kept, "meta")
    return json.loads(found)


def test_what_templates_read_from_meta_is_redacted() -> None:
    meta = {"question": "Is jo@x.org there?\nOr ring 202-555-0143", "votes": 3, "tags": ["a"]}
    assert meta_after(meta, "redact") == {**meta, "question": "Is [EMAIL] there?\nOr ring [PHONE]"}


def test_what_templates_read_from_meta_is_cleaned_of_markup_and_blanks() -> None:
    meta = {"line": "*What*  is {{ x }} this?", "lines": "One\n\n\n\n**two**", "file": "my_long_name.md", "none": None}
    assert meta_after(meta, "whitespace", "markup") == {**meta, "line": "What is this?", "lines": "One\n\ntwo"}


def test_what_turns_of_a_conversation_say_is_cleaned_and_nothing_else_of_them() -> None:
    turns = [{"role": "user", "content": "**What**  is this?", "by": "*me*"}, {"role": "assistant", "content": None}]
    meta = {"messages": turns, "tags": ["*a*"], "turn": {"role": "user", "content": "*b*"}}
    cleaned = [{**turns[0], "content": "What is this?"}, turns[1]]
    assert meta_after(meta, "whitespace", "markup") == {**meta, "messages": cleaned}


def test_a_changed_meta_counts_as_a_change_and_one_without_a_change_keeps_its_characters() -> None:
    cleaned = clean(
        [Document(text="some text", meta={"q": "jo@x.org"}), Document(text="more", meta={"q": "é"})], "redact"
    )
    assert cleaned.funnel[0]["changed"] == 1
    assert column(cleaned.kept, "meta") == ['{"q": "[EMAIL]"}', '{"q": "é"}']


def test_evidence_shows_the_blocks_that_boilerplate_removed() -> None:
    documents = [Document(text=f"Menu\n{words(seed)}", url=f"https://x.org/{seed}") for seed in range(6)]
    cleaned = clean(documents, "boilerplate")
    assert cleaned.evidence == {"boilerplate": [{"site": "x.org", "block": "Menu", "documents": 6, "of": 6}]}


@pytest.mark.parametrize("step", ALL)
def test_no_documents_stay_no_documents(step: str) -> None:
    cleaned = clean([], step)
    assert cleaned.kept.count_rows() == cleaned.dropped.count_rows() == 0
    assert cleaned.funnel == [{"step": step, "before": 0, "after": 0, "dropped": 0, "changed": 0, "reasons": {}}]


def test_steps_after_the_last_document_is_dropped_have_nothing_to_do() -> None:
    cleaned = clean([Document(text="one"), Document(text="two")], "length", *ALL)
    assert [row["before"] for row in cleaned.funnel] == [2, 0, 0, 0, 0, 0, 0, 0]
    assert column(cleaned.dropped, "text") == ["one", "two"]


def test_one_document_goes_through_all_steps() -> None:
    cleaned = clean([Document(text="The kettle sings on the hob while the rain falls over the harbour.")], *ALL)
    assert column(cleaned.kept, "title") == [None]


def test_no_steps_keep_everything() -> None:
    cleaned = clean([Document(text="a"), Document(text="")])
    assert column(cleaned.kept, "text") == ["a", ""]
    assert cleaned.dropped.column_names == [*document_schema().names, "step", "reason"]


def test_a_text_that_is_null_counts_as_empty() -> None:
    rows = [Document(text="x").row() | {"text": None}]
    cleaned = clean_documents(daft.from_pylist(rows), [CleanStep.model_validate("whitespace")])
    assert column(cleaned.dropped, "reason") == ["empty after whitespace"]


def test_the_schema_of_documents_survives() -> None:
    assert clean([Document(text=words(1))], *ALL).kept.to_arrow().schema.names == document_schema().names


def test_the_order_of_documents_stays_and_a_second_run_gives_the_same() -> None:
    documents = [Document(text=words(seed % 900)) for seed in range(1200)]
    first, second = clean(documents, *ALL[:-1]), clean(documents, *ALL[:-1])
    assert column(first.kept, "id") == [document.id for document in documents[:900]]
    assert column(first.dropped, "id") == [document.id for document in documents[900:]]
    assert first.kept.to_pydict() == second.kept.to_pydict()
    assert first.dropped.to_pydict() == second.dropped.to_pydict()


def test_a_document_of_ten_megabytes_is_cleaned() -> None:
    paragraph = f"Call *Una* at 202-555-0143 &amp; jo@x.org. {ENGLISH * 20}\n\n"
    text = "".join(f"{number} {paragraph}" for number in range(10_000_000 // len(paragraph)))
    (found,) = column(clean([Document(text=text)], *ALL).kept, "text")
    assert found.startswith(f"0 Call Una at [PHONE] & [EMAIL]. {ENGLISH}")
    assert len(found) > 9_900_000


DATA = os.environ.get("STEEP_DATA")


@pytest.mark.skipif(not DATA, reason="STEEP_DATA is not set")
@pytest.mark.parametrize(("file", "field"), [("brand/18f.jsonl.gz", "text"), ("news/digitalgov.jsonl.gz", "content")])
def test_no_template_debris_is_left_in_real_posts(file: str, field: str) -> None:
    with gzip.open(Path(DATA or "") / file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = [Document(text=row[field] or "", title=row["title"], url=row.get("url")) for row in rows]
    kept = clean(documents, "whitespace", "markup").kept.to_pydict()
    assert len(kept["text"]) > 0.9 * len(documents)
    debris = re.compile(r"\{\{|\{%|%\}|\}\}|\{:\s*\.")
    assert not [found for text in kept["text"] + kept["title"] if text and (found := debris.search(text))]

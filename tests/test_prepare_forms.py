"""Pairs of answers and conversations: what documents become for objectives other than plain supervised training."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import WORDS
from steep import handover
from steep.errors import ModelError, UsageError
from steep.models import load_tokenizer
from steep.prepare import prepare_examples
from steep.recipe import Prepare, Recipe
from steep.records import IGNORE, Document, document_schema, example_schema, write_rows
from steep.report.charts import example_lengths
from steep.runs import Run
from steep.stages import BODIES, Stage, show_examples
from steep.stages.stage import tokenizer_of
from steep.tokens import encode

COMPLETING = ["title-description", "alpaca", "llama-2", "llama-3"]


def said(seed: str, words: int = 12) -> str:
    return " ".join(random.Random(seed).choices(WORDS.split(), k=words))


def document(number: int, **meta) -> Document:
    return Document(said(f"text {number}"), f"Title {number}", "site", meta=meta)


def answered(number: int, **more) -> Document:
    return document(number, chosen=said(f"good {number}"), rejected=said(f"bad {number}"), **more)


def talking(number: int, *turns: dict) -> Document:
    first = [
        {"role": "user", "content": said(f"question {number}")},
        {"role": "assistant", "content": said(f"answer {number}")},
    ]
    return document(number, messages=list(turns) or first)


@pytest.fixture
def prepare(tokenizer):
    def run(documents: list[Document], objective: str = "sft", folder: Path = Path(), tokenizer=tokenizer, **options):
        table = pa.Table.from_pylist([one.row() for one in documents], schema=document_schema())
        options = Prepare(**{"max_length": 512, **options})
        return prepare_examples(table, options, tokenizer, folder=folder, objective=objective)

    return run


def skipped(made) -> dict[str, int]:
    return made.summary["train"]["skipped"] | made.summary["test"]["skipped"]


PAIRS = [answered(number) for number in range(20)]
TALKS = [talking(number) for number in range(20)]

# --------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("objective", ["dpo", "reward"])
@pytest.mark.parametrize("template", COMPLETING)
def test_a_pair_has_the_prompt_of_supervised_training_and_both_answers_in_its_format(prepare, template, objective):
    tuned, paired = prepare(PAIRS, template=template), prepare(PAIRS, objective, template=template)
    assert paired.train.schema == example_schema("pair")
    known = {one.id: one.meta for one in PAIRS}
    for asked, pair in zip(tuned.train.to_pylist(), paired.train.to_pylist(), strict=True):
        assert pair["prompt"] == asked["prompt"]
        blank = " " if asked["completion"].startswith(" ") else ""
        for name in ("chosen", "rejected"):
            assert pair[name] == blank + known[pair["document_id"]][name]


def test_fields_fill_the_answers_of_a_pair(prepare):
    fields = {"chosen": "Good: {{ chosen }}", "rejected": "Bad: {{ title }}"}
    row = prepare(PAIRS, "dpo", template="alpaca", fields=fields).train.to_pylist()[0]
    assert row["chosen"].startswith("Good: ")
    assert row["rejected"].startswith("Bad: Title ")


def test_a_file_with_three_blocks_makes_pairs(prepare, tmp_path):
    blocks = {"prompt": "Q: {{ title }}\n", "chosen": "A: {{ chosen }}", "rejected": "A: {{ rejected }}"}
    source = "".join(f"{{% block {name} %}}{text}{{% endblock %}}\n" for name, text in blocks.items())
    (tmp_path / "own.jinja").write_text(source)
    made = prepare(PAIRS, "dpo", tmp_path, template="own.jinja")
    assert made.train.to_pylist()[0]["chosen"].startswith("A: ")
    assert made.template == {"name": "own.jinja", "parts": blocks, "fields": {}}


def test_equal_answers_teach_nothing_and_are_skipped_with_the_reason(prepare):
    made = prepare([*PAIRS, document(50, chosen="Rain fell.", rejected="Rain fell. ")], "dpo", template="alpaca")
    assert skipped(made) == {"chosen and rejected are the same": 1}


def test_a_missing_answer_is_skipped_with_the_reason(prepare):
    made = prepare([*PAIRS, document(50, chosen="Rain fell.", rejected=" ")], "dpo", template="alpaca")
    assert skipped(made) == {"rejected is empty": 1}


def test_documents_without_pairs_are_told_which_field_to_fill(prepare):
    with pytest.raises(UsageError, match=r"has no variable 'chosen'.*Fill it with prepare\.fields\.chosen"):
        prepare([document(number) for number in range(4)], "dpo", template="alpaca")


def test_the_tokens_of_a_pair_are_those_of_both_answers_with_the_prompt(prepare, tokenizer):
    made = prepare(PAIRS, "dpo", template="alpaca", max_length=4096)
    rows = made.train.to_pylist()
    chosen = encode(rows, tokenizer, None)
    rejected = encode([{"prompt": row["prompt"], "completion": row["rejected"]} for row in rows], tokenizer, None)
    assert made.summary["train"]["tokens"] == sum(len(one.input_ids) for one in [*chosen, *rejected])
    assert made.summary["train"]["trained_tokens"] == sum(one.trained for one in [*chosen, *rejected])


@pytest.mark.parametrize(
    ("template", "objective", "needs"),
    [
        ("plain", "dpo", "learns from prompt, chosen and rejected"),
        ("chat", "reward", "learns from prompt, chosen and rejected"),
        ("plain", "grpo", "learns from prompt and completion"),
        ("chat", "rloo", "learns from prompt and completion"),
    ],
)
def test_a_template_of_another_form_than_the_objective_needs_is_refused(prepare, template, objective, needs):
    with pytest.raises(UsageError, match=rf"template {template}: has .*, but train\.objective {objective} {needs}"):
        prepare(PAIRS, objective, template=template)


def test_objectives_with_rewards_take_the_usual_prompts(prepare):
    assert prepare(PAIRS, "grpo", template="alpaca").train == prepare(PAIRS, template="alpaca").train


@pytest.mark.parametrize(("documents", "objective", "template"), [(PAIRS, "dpo", "alpaca"), (TALKS, "sft", "chat")])
def test_canaries_are_refused_where_nothing_would_measure_them(prepare, documents, objective, template):
    with pytest.raises(UsageError, match=r"prepare\.canaries: .* measured in texts and completions"):
        prepare(documents, objective, template=template, canaries={})


def test_summaries_with_those_of_other_dialogues_are_pairs(prepare, steep_data):
    path = steep_data / "summaries" / "mts_dialog" / "MTS-Dialog-ValidationSet.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    documents = [
        Document(row["dialogue"], meta={"chosen": row["section_text"], "rejected": other["section_text"]})
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    fields = {"instruction": "Summarise the dialogue.", "input": "{{ text }}"}
    made = prepare(documents, "dpo", template="alpaca", fields=fields, max_length=8192)
    assert made.train.num_rows + made.test.num_rows == len(rows) - sum(skipped(made).values())
    assert skipped(made).keys() <= {"chosen and rejected are the same"}
    assert made.train.num_rows > 80


# ------------------------------------------------------------------------------------------------- conversations


def test_a_conversation_is_kept_as_its_turns(prepare):
    made = prepare(TALKS, template="chat")
    assert made.train.schema == example_schema("messages")
    known = {one.id: one.meta["messages"] for one in TALKS}
    assert all(row["messages"] == known[row["document_id"]] for row in made.train.to_pylist())


def test_a_field_may_make_a_conversation_of_other_variables(prepare):
    turns = '[{"role": "user", "content": {{ title | tojson }}}, {"role": "assistant", "content": {{ text | tojson }}}]'
    documents = [Document(f'"Rain"\n{said(str(number))}', f"Title {number}") for number in range(9)]
    row = prepare(documents, template="chat", fields={"messages": turns}).train.to_pylist()[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"].startswith('"Rain"\n')


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"role": "user", "content": "Tea?"}], "messages has no turn of the assistant"),
        ([{"role": "bot", "content": "Tea."}], "messages has the unknown role 'bot'"),
        ([{"role": "assistant", "content": ""}], "messages has a turn of the assistant without content"),
        ([{"role": "assistant", "content": "Tea.</s>"}], "messages holds the special token </s>"),
    ],
)
def test_a_bad_conversation_is_skipped_with_its_fault(prepare, turns, reason):
    assert skipped(prepare([*TALKS, talking(50, *turns)], template="chat")) == {reason: 1}


def test_what_is_no_list_is_skipped_with_its_fault(prepare):
    made = prepare([*TALKS, document(50, messages={"role": "user"})], template="chat")
    assert skipped(made) == {"messages is no list": 1}


def test_a_tokenizer_without_chat_template_is_refused(prepare, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        prepare(TALKS, template="chat", tokenizer=load_tokenizer(str(tmp_path)))


def test_equal_conversations_stay_on_one_side_though_the_texts_differ(prepare):
    documents = [document(number, messages=TALKS[number // 2].meta["messages"]) for number in range(20)]
    assert prepare(documents, template="chat", split={"test": 0.5}).summary["groups"] == 10


def test_fact_checks_are_conversations_whose_observations_are_only_read(prepare, tokenizer, steep_data):
    lines = (steep_data / "fever" / "react_trajectories.jsonl").read_text("utf-8").splitlines()[:40]
    documents = [Document(row["claim"], meta={"messages": _turns(row)}) for row in map(json.loads, lines)]
    made = prepare(documents, template="chat", max_length=8192)
    assert made.train.num_rows + made.test.num_rows == len(documents)
    for row, encoded in zip(made.train.to_pylist(), encode(made.train.to_pylist(), tokenizer, None), strict=True):
        trained = tokenizer.decode([label for label in encoded.labels if label != IGNORE])
        answers = [turn["content"].strip() for turn in row["messages"] if turn["role"] == "assistant"]
        assert trained == "".join(f"{answer}\n</s>" for answer in answers)


def _turns(row: dict) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": row["claim"]}]
    for step in row["trajectory"].split("\n\n"):
        thought, mark, seen = step.partition("\nObservation")
        turns.append({"role": "assistant", "content": thought})
        turns += [{"role": "user", "content": mark.strip() + seen}] if mark else []
    return turns


# ------------------------------------------------------------------------------------------------- length, validation


LOSSES = ["truncated", "dropped", "split", "dropped_tokens"]


def test_each_policy_for_long_examples_is_counted(prepare):
    long = [answered(number) for number in range(20, 26)]
    for one in long:
        one.meta["output"] = said("long", words=60)
    short = [answered(number, output="Rain.") for number in range(20)]
    counts = {
        policy: prepare([*short, *long], template="alpaca", max_length=160, overlength=policy).summary
        for policy in ("truncate", "drop", "split")
    }
    lost = {
        policy: {name: sum(found[side][name] for side in ("train", "test")) for name in LOSSES}
        for policy, found in counts.items()
    }
    assert {policy: [found[name] for name in LOSSES[:3]] for policy, found in lost.items()} == {
        "truncate": [6, 0, 0],
        "drop": [0, 6, 0],
        "split": [0, 0, 6],
    }
    assert lost["drop"]["dropped_tokens"] > lost["truncate"]["dropped_tokens"] > lost["split"]["dropped_tokens"] == 0


def test_validation_examples_are_in_neither_other_side_and_counted(prepare):
    without, made = prepare(PAIRS), prepare(PAIRS, split={"validation": 0.2})
    sides = [set(side["document_id"].to_pylist()) for side in (made.train, made.test, made.validation)]
    assert [len(side) for side in sides] == [14, 2, 4]
    assert len(set.union(*sides)) == 20
    assert made.summary["validation"]["examples"] == 4
    assert made.test == without.test
    assert without.validation is None
    assert "validation" not in without.summary


def test_a_skipped_document_counts_where_its_near_duplicate_is_validated(prepare):
    twins = [*PAIRS, *(Document(one.text, None, "site") for one in PAIRS)]
    made = prepare(twins, template="title-description", split={"validation": 0.2})
    assert made.summary["validation"]["skipped"] == {"title is empty": 4}


# ------------------------------------------------------------------------------------------------------ in a run


@pytest.fixture
def prepared(tmp_path, tokenizer):
    """The folder of a run whose prepare stage is done."""

    def run(documents: list[Document], **sections) -> Stage:
        tokenizer.save_pretrained(tmp_path / "base")
        write_rows(tmp_path / "clean" / "documents" / "a.parquet", [one.row() for one in documents], document_schema())
        sections = {"name": "r", "gather": [{"files": "x"}], **sections}
        sections["model"] = {"base": "base", **sections.get("model", {})}
        record = {"stages": {"clean": {}, "prepare": {}}, "recipe": sections, "folder": str(tmp_path)}
        (tmp_path / "run.json").write_text(json.dumps(record))
        stage = Stage(Run(tmp_path), Recipe.model_validate(sections), tmp_path, tmp_path / "prepare")
        stage.work.mkdir()
        BODIES["prepare"](stage)
        return stage

    return run


def test_prepare_leaves_a_proof_that_its_own_tokenizer_passes(prepared):
    stage = prepared(TALKS, prepare={"template": "chat"})
    assert json.loads((stage.work / "template.json").read_text("utf-8"))["name"] == "chat"
    handover.check(stage.work, tokenizer_of(stage, None), "train")


def test_only_where_validation_is_asked_for_there_is_a_file_of_it(prepared, tmp_path):
    stage = prepared(TALKS, prepare={"template": "chat", "split": {"validation": 0.1}})
    assert (stage.work / "validation.parquet").exists()
    (tmp_path / "prepare").rename(tmp_path / "other")
    assert not (prepared(TALKS, prepare={"template": "chat"}).work / "validation.parquet").exists()


def test_added_tokens_have_the_same_ids_in_prepare_in_later_stages_and_in_the_saved_tokenizer(prepared):
    texts = [Document(f"Rain <tea> {said(str(number))} <cup>") for number in range(9)]
    stage = prepared(texts, model={"added_tokens": ["<tea>", "<cup>"]})
    later, saved = tokenizer_of(stage, None), load_tokenizer(str(stage.work / "tokenizer"))
    assert later(texts[0].text)["input_ids"] == saved(texts[0].text)["input_ids"]
    for tokenizer in (later, saved):
        handover.check(stage.work, tokenizer, "train")


def test_without_the_added_tokens_the_proof_fails(prepared, tokenizer):
    stage = prepared([Document(f"<tea> {said(str(number))}") for number in range(9)], model={"added_tokens": ["<tea>"]})
    with pytest.raises(ModelError, match="'<tea>'"):
        handover.check(stage.work, tokenizer, "train")


def test_the_tokenizer_is_saved_only_where_it_is_not_the_base_models(prepared):
    assert not (prepared(TALKS).work / "tokenizer").exists()


@pytest.mark.parametrize(
    ("documents", "sections", "title"),
    [
        (TALKS, {"prepare": {"template": "chat"}}, "Example 1"),
        (PAIRS, {"prepare": {"template": "alpaca"}, "train": {"objective": "dpo"}}, "Example 1, chosen"),
    ],
)
def test_steep_show_shows_every_form(prepared, tmp_path, capsys, documents, sections, title):
    prepared(documents, **sections)
    show_examples(tmp_path, 1, tmp_path / "examples.html")
    assert f"{title}  " in capsys.readouterr().out
    assert f"<h2>{title}</h2>" in (tmp_path / "examples.html").read_text("utf-8")


@pytest.mark.parametrize(("documents", "objective", "template"), [(TALKS, "sft", "chat"), (PAIRS, "dpo", "alpaca")])
def test_the_report_counts_the_words_of_every_form(prepare, tmp_path, documents, objective, template):
    pq.write_table(prepare(documents, objective, template=template).train, tmp_path / "train.parquet")
    assert "Most common lengths of 18 examples" in example_lengths(tmp_path / "train.parquet")

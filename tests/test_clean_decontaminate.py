from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.hub import Hub, serving
from steep.clean.decontaminate import decontaminate_step
from steep.clean.rows import Batch
from steep.errors import UsageError
from steep.recipe.clean import Decontaminate

QUESTION = "A train leaves the harbour at nine and needs two hours to reach the next town; when does it arrive there?"
ANSWER = "It arrives there at eleven in the morning, since nine and two hours more are eleven."
TEXT = "Some words before. {} Some words after."


def reasons(texts: Sequence[str], folder: Path, *against: str, **options: Any) -> list[str | None]:
    batch = Batch(list(texts), [None] * len(texts), [None] * len(texts), {})
    decontaminate_step(Decontaminate(against=list(against), **options), folder)(batch)
    return [drop.reason if drop else None for drop in batch.drops]


def error_of(folder: Path, *against: str, **options: Any) -> str:
    with pytest.raises(UsageError) as error:
        reasons(["text"], folder, *against, **options)
    return str(error.value)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    (tmp_path / "questions.txt").write_text(f"{QUESTION}\n\n{ANSWER}\n")
    return tmp_path


def test_a_document_that_holds_text_of_a_set_goes_and_says_which(questions: Path) -> None:
    texts = [TEXT.format(QUESTION), TEXT.format("Nothing of that kind.")]
    assert reasons(texts, questions, "questions.txt") == [
        "21 words of questions.txt: A train leaves the harbour at nine and needs two hours to reach the next town; …",
        None,
    ]


def test_a_run_is_found_without_regard_to_case_punctuation_and_white_space(questions: Path) -> None:
    disguised = QUESTION.upper().replace(" ", "\n— ").replace(";", "")
    assert reasons([TEXT.format(disguised)], questions, "questions.txt")[0] is not None


@pytest.mark.parametrize(("words", "found"), [(12, False), (13, True)])
def test_a_run_has_thirteen_words(questions: Path, words: int, found: bool) -> None:
    text = TEXT.format(" ".join(QUESTION.split()[2 : 2 + words]))
    assert bool(reasons([text], questions, "questions.txt")[0]) == found


def test_the_recipe_says_how_long_a_run_is(questions: Path) -> None:
    text = TEXT.format(" ".join(QUESTION.split()[2:7]))
    assert reasons([text], questions, "questions.txt", ngram=5)[0] == (
        "5 words of questions.txt: leaves the harbour at nine"
    )
    assert reasons([text], questions, "questions.txt", ngram=6) == [None]


@pytest.mark.parametrize(("short", "found"), [("one two three four five six seven", False), (ANSWER[:41], True)])
def test_a_short_text_of_a_set_counts_as_a_whole_from_eight_words_on(tmp_path: Path, short: str, found: bool) -> None:
    (tmp_path / "set.txt").write_text(f"{short}\n \n{QUESTION}")
    assert bool(reasons([TEXT.format(short)], tmp_path, "set.txt")[0]) == found


def test_a_part_of_a_short_text_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text(" ".join(QUESTION.split()[:10]))
    text = TEXT.format(" ".join(QUESTION.split()[:9]))
    assert reasons([text], tmp_path, "set.txt") == [None]


def test_a_run_does_not_go_from_one_text_into_the_next(questions: Path) -> None:
    words = QUESTION.split()
    assert reasons([" ".join(words[:10]), " ".join(words[10:])], questions, "questions.txt") == [None, None]


def test_the_first_set_that_holds_a_run_is_named(questions: Path) -> None:
    (questions / "more.txt").write_text(QUESTION)
    found = reasons([QUESTION], questions, "more.txt", "questions.txt")[0]
    assert found is not None
    assert found.startswith("21 words of more.txt: ")


# ------------------------------------------------------------------------------------------------------------- the sets

ROWS: list[dict[str, Any]] = [
    {"id": 1, "question": QUESTION, "choices": [{"text": ANSWER}, {"text": "no"}]},
    {"id": 2, "question": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    flat = pa.table({"question": [QUESTION, None], "answer": [ANSWER, ""]})
    match path.name.partition(".")[2]:
        case "jsonl":
            path.write_text("\ufeff" + lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "txt.xz":
            path.write_bytes(lzma.compress(f"{QUESTION}\n\n{ANSWER}".encode()))
        case "csv":
            pa.csv.write_csv(flat, path)
        case "csv.zst":
            with pa.CompressedOutputStream(str(path), "zstd") as stream:
                pa.csv.write_csv(flat, stream)
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "txt.xz", "csv", "csv.zst", "parquet"])
def test_every_text_of_a_set_is_looked_at_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"set.{kind}", ROWS)
    assert all(reasons([QUESTION, ANSWER], tmp_path, f"set.{kind}"))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_only_the_named_columns_are_looked_at(tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"set.{kind}", ROWS)
    found = reasons([QUESTION, ANSWER], tmp_path, "set.*", columns=["question", "text"])
    assert [bool(reason) for reason in found] == [True, False]


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "set.jsonl", ROWS)
    message = error_of(tmp_path, "set.jsonl", columns=["qestion"])
    assert message == (
        f"clean: decontaminate: {tmp_path}/set.jsonl has none of the columns qestion; it has id, question, choices"
    )


def test_a_set_that_matches_nothing_is_named(questions: Path) -> None:
    message = error_of(questions, "questions.txt", "question.txt")
    assert message.startswith("clean: decontaminate: no file matches 'question.txt'")


def test_a_set_without_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("too short\n\nfor any run")
    assert error_of(tmp_path, "set.txt") == "clean: decontaminate: set.txt holds no text of 8 words or more"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("set.jsonl", b'{"a": 1}\n{"a', "set.jsonl:2 is not JSON"),
        ("set.txt.gz", b"plain", "set.txt.gz cannot be read"),
        ("set.csv.xz", b"plain", "set.csv.xz cannot be read"),
        ("set.jsonl.zst", b"plain", "set.jsonl.zst cannot be read"),
        ("set.parquet", b"plain", "set.parquet cannot be read"),
        (
            "set.docx",
            b"plain",
            "set.docx is of an unknown kind; steep reads .txt, .jsonl, .csv, .parquet, also with .gz",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"clean: decontaminate: {tmp_path}/{problem}" in error_of(tmp_path, name)


CLIENT = """
import json, sys
from pathlib import Path
from steep.clean.decontaminate import decontaminate_step
from steep.clean.rows import Batch
from steep.errors import SteepError
from steep.recipe.clean import Decontaminate

text, *sets = json.loads(sys.stdin.read())
for address in sets:
    batch = Batch([text], [None], [None], {})
    try:
        decontaminate_step(Decontaminate(against=[address]), Path())(batch)
        print(json.dumps(batch.drops[0].cause if batch.drops[0] else None))
    except SteepError as error:
        print(json.dumps(f"error: {error}"))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    for name in ("tea/exam", "tea/empty", "tea/busy"):
        (root / name).mkdir(parents=True)
        (root / name / "README.md").write_text("# Tea")
    pq.write_table(pa.Table.from_pylist(ROWS), root / "tea/exam/test.parquet")
    (root / "tea/exam/train.jsonl").write_text(json.dumps({"text": QUESTION}))
    with serving(root) as server:
        yield server


def test_a_set_of_the_hub_is_fetched_by_its_address(tmp_path: Path, hub: Hub) -> None:
    """In a process of its own, since the hub's client takes its settings when it is imported."""
    home = "hf://datasets/tea"
    sets = ["exam", "exam/test.parquet", "exam/tr*.jsonl", "exam@main/test.parquet", "empty", "never"]
    ended = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps([ANSWER, *(f"{home}/{name}" for name in sets)]),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": ""},
    )
    assert not ended.returncode, ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert found[:4] == [
        f"text of {home}/exam",
        f"text of {home}/exam/test.parquet",
        None,
        f"text of {home}/exam@main/test.parquet",
    ]
    assert found[4] == f"error: clean: decontaminate: {home}/empty holds no .txt, .jsonl, .csv, .parquet file"
    assert found[5].startswith(f"error: clean: decontaminate: {home}/never ")


# ------------------------------------------------------------------------------------------------ against plain Python


def by_the_book(texts: Sequence[str], evaluation: Sequence[str], ngram: int) -> list[bool]:
    runs: set[tuple[str, ...]] = set()
    for words in map(words_of, evaluation):
        length = ngram if len(words) >= ngram else max(len(words), 8)
        runs.update(tuple(words[at : at + length]) for at in range(len(words) - length + 1))
    lengths = {len(run) for run in runs}
    return [
        any(tuple(words[at : at + length]) in runs for length in lengths for at in range(len(words) - length + 1))
        for words in map(words_of, texts)
    ]


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


FEW_WORDS = st.lists(st.sampled_from(["a", "A", "b", "c.", "-", "d\n", "é", "É"]), max_size=24).map(" ".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(FEW_WORDS, min_size=1, max_size=4),
    evaluation=st.lists(FEW_WORDS, min_size=1, max_size=3),
    ngram=st.integers(1, 13),
)
def test_documents_are_judged_by_the_book(tmp_path: Path, texts: list[str], evaluation: list[str], ngram: int) -> None:
    evaluation = [*evaluation, QUESTION]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(text) + "\n" for text in evaluation))
    found = reasons(texts, tmp_path, "set.jsonl", ngram=ngram)
    assert [bool(reason) for reason in found] == by_the_book(texts, evaluation, ngram)


def test_real_texts_are_judged_by_the_book(steep_data: Path, tmp_path: Path) -> None:
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        abstracts = [json.loads(line)["abstract"] for line in lines][:600]
    evaluation, texts = abstracts[:100], abstracts[100:]
    texts[::50] = [f"{text} {held[200:400]}" for text, held in zip(texts[::50], evaluation, strict=False)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in evaluation))
    found = [bool(reason) for reason in reasons(texts, tmp_path, "set.jsonl")]
    assert found == by_the_book(texts, evaluation, 13)
    assert sum(found) >= 10

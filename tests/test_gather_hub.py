"""Data sets of the Hugging Face hub: folders of their form, and a loopback server that answers as the hub does."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from servers.hub import COMMIT, Hub, serving
from steep.errors import SourceError
from steep.gather.hub import hub_documents
from steep.recipe.gather import HubSource
from steep.records import Document, Failure

CARD = "---\nlicense: cc0-1.0\n---\n# Tea\n"
ROWS = [{"text": f"Cup {n}.", "title": f"No. {n}", "n": n} for n in range(6)]


def read(folder: Path, hub: str = "tea", **options: Any) -> tuple[list[Document], list[str]]:
    failures: list[Failure] = []
    documents = hub_documents(HubSource(hub=hub, **options), folder=folder, on_failure=failures.append)
    return list(documents), [f"{failure.where}: {failure.reason}" for failure in failures]


def error_of(folder: Path, hub: str = "tea", **options: Any) -> str:
    with pytest.raises(SourceError) as error:
        read(folder, hub, **options)
    return str(error.value)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_shards(folder: Path, shards: list[list[dict[str, Any]]]) -> None:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for number, rows in enumerate(shards):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"train-{number:05}-of-{len(shards):05}.parquet")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


# ------------------------------------------------------------------------------------------------------------ folders


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_folder_with_a_data_set_is_read_whatever_its_format(tmp_path: Path, kind: str, streaming: bool) -> None:
    (tmp_path / "tea").mkdir()
    (tmp_path / "tea/README.md").write_text(CARD)
    write_jsonl(tmp_path / "tea/train.jsonl", ROWS)
    if kind != "jsonl":
        import daft

        (tmp_path / "tea/train.jsonl").unlink()
        table = daft.from_pylist(ROWS).to_pandas()
        getattr(table, f"to_{kind}")(tmp_path / f"tea/train.{kind}", index=False)
    documents, failures = read(tmp_path, streaming=streaming)
    assert [(document.text, document.title) for document in documents] == [(row["text"], row["title"]) for row in ROWS]
    assert (documents[3].meta, documents[3].licence, documents[3].source) == ({"n": 3}, "cc0", "tea")
    assert documents[3].fetched is None
    assert not failures


@pytest.mark.skipif("STEEP_DATA" not in os.environ, reason="STEEP_DATA is not set")
def test_real_abstracts_are_the_same_with_and_without_streaming(tmp_path: Path, steep_data: Path) -> None:
    with gzip.open(steep_data / "arxiv/arxiv.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    write_shards(tmp_path / "arxiv", [rows[:5000], rows[5000:]])
    streamed, failures = read(tmp_path, "arxiv", text="abstract", published="date")
    assert (len(streamed), failures) == (9560, [])
    assert streamed == read(tmp_path, "arxiv", text="abstract", published="date", streaming=False)[0]
    assert streamed[7].meta == {name: rows[7][name] for name in ("id", "categories", "topic")}
    assert streamed[7].published is not None


def test_splits_and_configurations_are_those_that_the_recipe_names(tmp_path: Path) -> None:
    configs = "configs:\n- config_name: en\n  data_files: en.jsonl\n- config_name: de\n  data_files:\n"
    splits = "  - {split: train, path: de.jsonl}\n  - {split: test, path: de-test.jsonl}\n"
    write_jsonl(tmp_path / "tea/en.jsonl", [{"text": "tea"}])
    write_jsonl(tmp_path / "tea/de.jsonl", [{"text": "Tee"}])
    write_jsonl(tmp_path / "tea/de-test.jsonl", [{"text": "Kanne"}])
    (tmp_path / "tea/README.md").write_text(f"---\n{configs}{splits}---\n")

    def texts(**options: Any) -> list[str]:
        return [document.text for document in read(tmp_path, **options)[0]]

    assert texts(config="en") == ["tea"]
    assert texts(config="de") == ["Tee"]
    assert texts(config="de", split="test") == ["Kanne"]
    assert texts(config="de", split="train+test") == texts(config="de", split="all") == ["Tee", "Kanne"]
    assert error_of(tmp_path) == "tea has several parts: choose one with `config:`: en, de"
    assert error_of(tmp_path, config="dee") == "tea has no config 'dee'; it has en, de; did you mean 'de'?"
    assert error_of(tmp_path, config="de", split="tets") == (
        "tea has no split 'tets'; it has train, test; did you mean 'test'?"
    )


def test_a_slice_of_a_split_needs_all_of_it_on_disk(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "tea/train.jsonl", ROWS)
    documents, _ = read(tmp_path, split="train[:50%]", streaming=False)
    assert len(documents) == 3
    assert error_of(tmp_path, split="train[:x]", streaming=False).startswith("tea cannot be read: Unrecognized")
    with pytest.raises(ValidationError, match="a slice of a split needs the whole data set: add `streaming: false`"):
        HubSource(hub="tea", split="train[:50%]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "txt"}, "tea: no column 'txt'; there is text, title, n; did you mean 'text'?"),
        ({"text": "n"}, "tea: column 'n' holds a int, not text; there is text, title; "
         "name the one that holds the text with `text:`"),
    ],
)  # fmt: skip
def test_a_column_without_text_is_met_with_those_that_hold_some(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    write_jsonl(tmp_path / "tea/train.jsonl", ROWS)
    assert error_of(tmp_path, **options) == message


def test_rows_without_text_are_told_by_their_number(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "tea/train.jsonl", [{"text": "one"}, {"text": " "}, {"text": None}, {"text": "four"}])
    documents, failures = read(tmp_path)
    assert [document.text for document in documents] == ["one", "four"]
    assert failures == ["tea:row 2: empty text", "tea:row 3: empty text"]


def test_names_of_classes_are_kept_but_no_images_and_bytes(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Value

    (tmp_path / "tea").mkdir()
    types = {"text": Value("string"), "kind": ClassLabel(names=["green", "black"]), "raw": Value("binary")}
    rows = {"text": ["a", "b"], "kind": [1, -1], "raw": [b"\0", b"\1"], "cup": [{"bytes": b"x", "path": None}] * 2}
    Dataset.from_dict(rows, features=Features({**types, "cup": Image()})).to_parquet(tmp_path / "tea/train.parquet")
    documents, _ = read(tmp_path)
    assert [document.meta for document in documents] == [{"kind": "black"}, {"kind": -1}]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: cc-by-4.0", "cc-by-4.0"),
        ("license: [cc0-1.0, cc-by-nc-4.0]", "cc-by-nc-4.0"),
        ("license: other\nlicense_name: tea-licence", "tea-licence"),
        ("license: unknown", None),
        ("tags: [tea]", None),
    ],
)
def test_the_licence_is_what_the_card_declares(tmp_path: Path, card: str, licence: str | None) -> None:
    write_jsonl(tmp_path / "tea/train.jsonl", ROWS)
    (tmp_path / "tea/README.md").write_text(f"---\n{card}\n---\n")
    assert read(tmp_path)[0][0].licence == licence
    assert read(tmp_path, licence="own")[0][0].licence == "own"


def test_nothing_is_read_beyond_the_limit(tmp_path: Path) -> None:
    write_shards(tmp_path / "tea", [ROWS, ROWS])
    (tmp_path / "tea/train-00001-of-00002.parquet").write_bytes(b"broken")
    assert len(read(tmp_path, limit=4)[0]) == 4
    assert len(read(tmp_path, limit=6)[0]) == 6
    assert error_of(tmp_path, limit=7).startswith("tea cannot be read: ")


def test_what_is_no_data_set_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "tea").mkdir()
    assert "doesn't contain any data files" in error_of(tmp_path)
    (tmp_path / "tea/train.jsonl").write_text('{"text": "a"\n{"text"')
    assert error_of(tmp_path).startswith("tea cannot be read: JSON parse error: ")
    (tmp_path / "tea/README.md").write_text("---\nlicense: [mit\n---\n")
    assert error_of(tmp_path).startswith("tea: the head of its README.md is no YAML: while parsing a flow sequence")
    (tmp_path / "tea/tea.py").touch()
    assert error_of(tmp_path).startswith("tea needs a script (tea.py), and steep runs no code of others; ")
    assert error_of(tmp_path, "tea/README.md") == (
        "tea/README.md is a file: name it with `files:`, or name the folder of a data set"
    )


def test_a_data_set_without_text_is_reported(tmp_path: Path) -> None:
    write_shards(tmp_path / "tea", [[{"text": None}]])
    assert read(tmp_path) == ([], ["tea:row 1: empty text", "tea: no text in the split 'train'"])


# ------------------------------------------------------------------------------------------------------------ the hub

TOKEN = "hf_" + "secret" * 5

CLIENT = """
import json, sys, time
from pathlib import Path
from steep.errors import SourceError
from steep.gather.hub import hub_documents
from steep.recipe.gather import HubSource
answers = []
for options in json.load(sys.stdin):
    documents, failures, error, start = [], [], None, time.monotonic()
    try:
        for document in hub_documents(HubSource(**options), folder=Path("."), on_failure=failures.append):
            documents.append(document.row())
    except SourceError as raised:
        error = str(raised)
    answers.append({"documents": documents, "error": error, "seconds": time.monotonic() - start})
print(json.dumps(answers, default=str))
"""


def ask(sources: list[dict[str, Any]], endpoint: str, folder: Path) -> list[dict[str, Any]]:
    """In a process of its own, since the hub's client takes its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": ""}
    ended = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        env={**os.environ, **settings},
        cwd=folder,
    )
    assert not ended.returncode, ended.stderr
    assert TOKEN not in ended.stdout + ended.stderr
    answers: list[dict[str, Any]] = json.loads(ended.stdout)
    return answers


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    write_shards(root / "tea/cups", [ROWS[:3], ROWS[3:]])
    write_shards(root / "tea/pots", [ROWS[:3], ROWS[3:]])
    write_shards(root / "tea/gated", [ROWS])
    write_jsonl(root / "tea/script/data.jsonl", ROWS)
    (root / "tea/script/script.py").touch()
    with serving(root) as server:
        yield server


ASKED = [
    {"hub": "tea/pots", "limit": 3},
    {"hub": "tea/cups"},
    {"hub": "tea/cups", "streaming": False, "revision": "main"},
    {"hub": "tea/cups", "revision": "mian"},
    {"hub": "tea/cup"},
    {"hub": "tea/gated"},
    {"hub": "tea/script"},
    {"hub": "tea/busy"},
    {"hub": "no name"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub's client keeps on disk."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def answers(hub: Hub, home: Path) -> list[dict[str, Any]]:
    return ask(ASKED, hub.address, home)


def test_a_data_set_of_the_hub_is_read_at_one_commit_which_is_kept(answers: list[dict[str, Any]]) -> None:
    streamed, downloaded = answers[1]["documents"], answers[2]["documents"]
    assert [row["text"] for row in streamed] == [row["text"] for row in ROWS]
    assert json.loads(streamed[2]["meta"]) == {"hub": "tea/cups", "commit": COMMIT, "n": 2}
    assert (streamed[2]["source"], streamed[2]["licence"]) == ("tea/cups", "cc0")
    assert streamed[2]["fetched"]
    assert [row["id"] for row in downloaded] == [row["id"] for row in streamed]


def test_a_limit_keeps_further_files_from_being_fetched(answers: list[dict[str, Any]], hub: Hub) -> None:
    assert len(answers[0]["documents"]) == 3
    fetched = {path.rpartition("/")[2] for path, _ in hub.requests if "tea/pots" in path and path.endswith(".parquet")}
    assert fetched == {"train-00000-of-00002.parquet"}


def test_files_are_asked_for_by_the_commit_that_came_first(answers: list[dict[str, Any]], hub: Hub) -> None:
    assert not [path for path, _ in hub.requests if "tea/pots" in path and "/main" in path]


def test_the_token_is_sent_to_the_hub_and_nowhere_else(answers: list[dict[str, Any]], hub: Hub) -> None:
    assert {token for _, token in hub.requests} == {f"Bearer {TOKEN}"}
    assert TOKEN not in json.dumps(answers)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (3, "tea/cups has no revision 'mian'; it has main, v1; did you mean 'main'?"),
        (4, "there is no data set 'tea/cup' on the hub, and no such folder in .; "
            "if it is private, run `hf auth login` or set HF_TOKEN"),
        (5, "tea/gated is gated: accept its conditions at {}/datasets/tea/gated, "
            "then run `hf auth login` or set HF_TOKEN"),
        (6, "tea/script needs a script (script.py), and steep runs no code of others; "
            "for many data sets the hub keeps a copy without: try `revision: refs/convert/parquet`"),
        (7, "tea/busy: the hub answers 503; try again later"),
        (8, "'no name' is no folder in ., and no name of a data set on the hub"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_give_is_explained_at_once(
    answers: list[dict[str, Any]], hub: Hub, number: int, message: str
) -> None:
    assert answers[number]["error"] == message.format(hub.address)
    assert answers[number]["seconds"] < 5


@pytest.fixture
def offline(answers: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was downloaded is on this disk, and HF_HUB_OFFLINE is set, here as in all tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", home / "datasets")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("revision", [None, COMMIT])
def test_without_network_what_was_downloaded_can_still_be_read(
    tmp_path: Path, answers: list[dict[str, Any]], revision: str | None
) -> None:
    documents, _ = read(tmp_path, "tea/cups", revision=revision)
    assert [document.id for document in documents] == [row["id"] for row in answers[2]["documents"]]
    assert (documents[0].meta["commit"], documents[0].licence, documents[0].fetched) == (COMMIT, "cc0", None)


@pytest.mark.usefixtures("offline")
def test_without_network_no_other_revision_is_taken_for_the_one_asked_for(tmp_path: Path) -> None:
    message = error_of(tmp_path, "tea/cups", revision="v1")
    assert message.startswith(
        f"tea/cups: commit {COMMIT} was downloaded before, and with HF_HUB_OFFLINE nobody can say"
    )


def test_without_network_what_was_never_downloaded_is_told(tmp_path: Path) -> None:
    message = error_of(tmp_path, "tea/never")
    assert message.startswith("tea/never: HF_HUB_OFFLINE is set, and nothing of it was downloaded before")


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(tmp_path: Path) -> None:
    (answer,) = ask([{"hub": "tea/cups"}], "http://127.0.0.1:1", tmp_path)
    assert answer["error"].startswith("tea/cups: the hub cannot be reached ([Errno 111] Connection refused): look at")
    assert "HF_HUB_OFFLINE=1" in answer["error"]
    assert answer["seconds"] < 10

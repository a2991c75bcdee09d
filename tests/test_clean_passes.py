from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steep.clean import clean_files
from steep.clean.parts import parts_of
from steep.errors import SteepError, UsageError
from steep.recipe.clean import CleanStep
from steep.records import Document, document_schema, write_rows

STEPS = ["whitespace", "boilerplate", "redact", "deduplicate", {"length": {"min_words": 20}}]


def text(seed: int) -> str:
    rng = random.Random(seed)
    words = " ".join(f"w{rng.randrange(5_000)}" for _ in range(rng.randint(10, 60)))
    return f"Home | About\n\n{words}\n\nWrite to us: j{seed}@example.org"


def gathered(folder: Path, documents: int = 300) -> Path:
    found = (Document(text(n % 250), title=f"t{n}", url=f"https://x.example/{n}", source="x") for n in range(documents))
    rows = (document.row() for document in found)
    write_rows(folder / "gathered.parquet", rows, document_schema())
    return folder / "gathered.parquet"


def steps(*names: str | dict[str, Any]) -> list[CleanStep]:
    return [CleanStep.model_validate(name) for name in names]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few documents, so that a small corpus has many."""
    monkeypatch.setattr("steep.clean.parts.PART", 1)
    monkeypatch.setattr("steep.records.BATCH", 25)


def tree(folder: Path) -> dict[str, pa.Table]:
    return {
        str(path.relative_to(folder)): pq.read_table(path).drop_columns(["hash"])
        if path.parent.name == "redacted"
        else pq.read_table(path)
        for path in sorted(folder.rglob("*.parquet"))
    }


@pytest.mark.usefixtures("small_parts")
def test_parts_are_the_row_groups_in_their_order(tmp_path: Path) -> None:
    parts = parts_of([gathered(tmp_path)])
    assert len(parts) >= 12
    rows = pa.concat_tables(part.read() for part in parts)
    assert rows["row"].to_pylist() == list(range(300))
    assert rows["title"].to_pylist() == [f"t{n}" for n in range(300)]


def test_a_large_corpus_in_many_parts_and_processes_is_cleaned_like_one_part(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one = clean_files([gathered(tmp_path)], steps(*STEPS), folder=tmp_path, work=tmp_path / "one")
    request.getfixturevalue("small_parts")
    many = clean_files([gathered(tmp_path)], steps(*STEPS), folder=tmp_path, work=tmp_path / "many")
    assert len(list((tmp_path / "many/documents").glob("*.parquet"))) > 5
    assert one.kept.to_pydict() == many.kept.to_pydict()
    assert sorted(one.dropped.to_pydict()["id"]) == sorted(many.dropped.to_pydict()["id"])
    assert (one.funnel, one.evidence, one.facts) == (many.funnel, many.evidence, many.facts)
    assert one.facts["documents"] == 250 - one.funnel[-1]["dropped"]


def test_nothing_but_results_is_left(tmp_path: Path) -> None:
    clean_files([gathered(tmp_path)], steps(*STEPS), folder=tmp_path, work=tmp_path / "work")
    left = {str(path.relative_to(tmp_path / "work")) for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert left == {
        "documents/part-00000.parquet",
        "dropped/pass-2-part-00000.parquet",
        "learned/1.boilerplate.parquet",
        "learned/3.deduplicate.parquet",
        "redacted/pass-1-part-00000.parquet",
    }


KILLED = """
import sys
from pathlib import Path
import steep.clean.parts, steep.records
steep.clean.parts.PART = 1
from steep.clean import clean_files
from steep.recipe.clean import CleanStep
folder = Path(sys.argv[1])
steps = [CleanStep.model_validate(name) for name in ("redact", {"function": {"call": "slow:slowly"}}, "deduplicate")]
clean_files([folder / "gathered.parquet"], steps, folder=folder, work=folder / "work")
"""
SLOW = """
import time
from pathlib import Path
def slowly(document):
    with (Path(__file__).parent / "calls").open("a") as calls:
        calls.write(document["url"] + "\\n")
    time.sleep(0.01)
    return document["text"]
"""


@pytest.mark.usefixtures("small_parts")
def test_after_kill_9_no_finished_part_is_cleaned_again(tmp_path: Path) -> None:
    gathered(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW, "utf-8")
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    child = subprocess.Popen(command, process_group=0)
    documents = tmp_path / "work/pass-0"
    deadline = time.monotonic() + 60
    while len(list(documents.glob(".*.json"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(0.2)
    parts = [documents / f"part-{tally.stem[1:]}.parquet" for tally in documents.glob(".*.json")]
    done = {url for part in parts for url in pq.read_table(part)["url"].to_pylist()}
    before = len((tmp_path / "calls").read_text().split())
    subprocess.run(command, check=True)
    again = (tmp_path / "calls").read_text().split()[before:]
    assert len(done) >= 50
    assert len(done) < 300
    assert not done & set(again)
    assert pq.read_table(tmp_path / "work/documents").num_rows == 250


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("error", "kind"), [("no_such", UsageError), ("fails", SteepError)])
def test_what_goes_wrong_in_a_process_reaches_the_user_as_it_was_said(
    tmp_path: Path, error: str, kind: type[SteepError]
) -> None:
    (tmp_path / "mine.py").write_text("def fails(document):\n    raise KeyError('tilt')\n", "utf-8")
    step = {"function": {"call": f"mine:{error}"}}
    with pytest.raises(kind, match=r"mine\.py") as raised:
        clean_files([gathered(tmp_path)], steps(step), folder=tmp_path, work=tmp_path / "work")
    assert type(raised.value) in (UsageError, SteepError)


RAY = """
import sys
from pathlib import Path
import steep.clean.parts
steep.clean.parts.PART = 1
import daft, ray, logging
if sys.argv[2] == "ray":
    ray.init("local", num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    daft.set_runner_ray(noop_if_initialized=True)
from steep.clean import clean_files
from steep.recipe.clean import CleanStep
folder = Path(sys.argv[1])
steps = [CleanStep.model_validate(name) for name in ("whitespace", "boilerplate", "redact", "deduplicate")]
work = folder / sys.argv[2]
clean_files([folder / "gathered.parquet"], steps, folder=folder, work=work)
"""


@pytest.mark.usefixtures("small_parts")
def test_a_ray_cluster_gives_the_same_files_as_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    gathered(tmp_path)
    for runner in ("native", "ray"):
        subprocess.run([sys.executable, "-c", RAY, str(tmp_path), runner], check=True)
    native, ray = tree(tmp_path / "native"), tree(tmp_path / "ray")
    assert native.keys() == ray.keys()
    assert all(native[name].equals(ray[name]) for name in native)

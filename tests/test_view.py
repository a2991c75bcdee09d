"""Looking at documents: in a real terminal by keys, into a pipe as plain text, never commanded by what they hold."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from rich.console import Console

from steep.errors import SteepError
from steep.records import Document, document_schema, example_schema, failure_schema, write_rows
from steep.view import view
from steep.view.shelf import open_shelf

STEEP = Path(sys.executable).with_name("steep")
EVIL = "\x1b[2J\x1b]0;owned\x07 and \x9b31m and \u202eback\u202c and \r over and \x7f."


def documents(*texts, **facts):
    return [Document(text, title=f"Title {number}", source="site", **facts) for number, text in enumerate(texts, 1)]


def write(path, found):
    write_rows(path, (document.row() for document in found), document_schema())
    return path


def write_dropped(path, document, reason):
    names = ("step", "reason")
    schema = document_schema()
    for name in names:
        schema = schema.append(pa.field(name, pa.string()))
    rows = [document.row() | dict(zip(names, ("length", reason), strict=True))] if document else []
    write_rows(path, rows, schema)


def write_run(folder, *stages):
    """A run whose stages hold a document each that names the stage."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"stages": {stage: {} for stage in stages}}))
    for stage in ("gather", "clean"):
        write(folder / stage / "documents" / "part-0.parquet", documents(f"what {stage} left"))
    write_dropped(folder / "clean" / "dropped" / "part-0.parquet", documents("two words")[0], "2 words, fewer than 3")
    return folder


@pytest.fixture
def shown(capsys):
    """What `steep view` writes into a pipe."""

    def look(path, **options):
        view(path, Console(highlight=False, soft_wrap=True), **options)
        return capsys.readouterr().out

    return look


# ------------------------------------------------------------------------------------------------------ into a pipe


def test_a_pipe_gets_each_document_whole_with_the_lines_that_it_has(shown, tmp_path):
    long = "word " * 2000 + "end"
    facts = {"url": "https://kettles.example/1", "licence": "cc0", "robots": "allowed", "meta": {"topic": "copper"}}
    published = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)
    first, second = documents(f"{long}\n\nSecond paragraph.", "Another.", published=published, **facts)
    out = shown(write(tmp_path / "some.parquet", [first, second]))
    assert out.split("\n")[:7] == [
        "── 1 of 2  Title 1",
        f"{first.id}  site  2026-03-14 15:09  cc0",
        "https://kettles.example/1",
        'robots: allowed  meta: {"topic": "copper"}',
        "",
        long,
        "",
    ]
    assert out.split("\n")[7:10] == ["Second paragraph.", "", "── 2 of 2  Title 2"]


def test_of_a_run_the_cleaned_documents_are_shown_or_else_the_gathered_ones(shown, tmp_path):
    assert "what clean left" in shown(write_run(tmp_path / "cleaned", "gather", "clean"))
    assert "what gather left" in shown(write_run(tmp_path / "begun again", "gather"))


def test_a_stage_a_folder_and_a_file_can_be_named(shown, tmp_path):
    run = write_run(tmp_path / "run", "gather", "clean")
    for path in (run / "gather", run / "gather" / "documents", run / "gather" / "documents" / "part-0.parquet"):
        assert "what gather left" in shown(path)


def test_what_was_dropped_is_shown_with_its_reason(shown, tmp_path):
    out = shown(write_run(tmp_path / "run", "gather", "clean"), dropped=True)
    assert "dropped by length: 2 words, fewer than 3\n\ntwo words\n" in out


def test_nothing_to_show_is_said(shown, tmp_path):
    run = write_run(tmp_path / "run", "gather", "clean")
    write_dropped(run / "clean" / "dropped" / "part-0.parquet", None, None)
    assert shown(run, dropped=True) == f"{run}: nothing was dropped\n"
    empty = write(tmp_path / "empty.parquet", [])
    assert shown(empty) == f"{empty}: no documents\n"


def test_failures_and_examples_are_shown_by_the_names_of_their_columns(shown, tmp_path):
    failed, examples = tmp_path / "failed.parquet", tmp_path / "train.parquet"
    write_rows(failed, [{"source": "site", "where": "a.html", "reason": "HTTP 500"}], failure_schema())
    example = {"prompt": "Title", "completion": "Text.", "document_id": "d1", "group": "g1", "source": "site"}
    write_rows(examples, [example], example_schema("completion"))
    assert "site\nwhere: a.html  reason: HTTP 500\n" in shown(failed)
    assert "document_id: d1  group: g1\nprompt:\nTitle\ncompletion:\nText.\n" in shown(examples)


def test_nothing_in_a_document_commands_the_terminal(shown, tmp_path):
    meta = {"note": EVIL}
    document = Document(EVIL, title=EVIL, source=EVIL, url=EVIL, owner=EVIL, licence=EVIL, meta=meta)
    out = shown(write(tmp_path / "evil.parquet", [document]))
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out) == []
    assert out.count("␛[2J␛]0;owned␇ and �31m and �back� and ␍ over and ␡.") == 6


def test_a_pipe_that_is_closed_early_is_no_error(tmp_path):
    path = write(tmp_path / "many.parquet", documents(*["word " * 1000] * 500))
    done = subprocess.run(f"{STEEP} view {path} | head -1", shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("── 1 of 500  Title 1\n", "")


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nothing", {}, r"nothing: no such file or folder"),
        (".", {}, r"no documents there; name the folder of a run .* There are runs in it: .*/run$"),
        ("run/clean", {}, r"run: the stage clean is not finished; run `steep clean RECIPE` first"),
        ("run/prepare", {}, r"run: the stage prepare is not finished"),
        ("run", {"dropped": True}, r"run/gather: only clean drops documents; name the folder of a cleaned run"),
        ("run/run.json", {}, r"run\.json: not a Parquet file, or a damaged one"),
        ("cut.parquet", {}, r"cut\.parquet: not a Parquet file, or a damaged one"),
    ],
)
def test_what_cannot_be_shown_is_explained(tmp_path, name, options, words):
    run = write_run(tmp_path / "run", "gather")
    whole = (run / "gather" / "documents" / "part-0.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    path = tmp_path / name
    if name == ".":
        (tmp_path / "cut.parquet").unlink()
    with pytest.raises(SteepError, match=words):
        open_shelf(path, **options)


# -------------------------------------------------------------------------------------------------------- searching


@pytest.fixture
def shelf(tmp_path):
    """Two files of two row groups of two rows each."""
    for file in range(2):
        rows = [row.row() for row in documents(*(f"Text {file * 4 + place}" for place in range(4)))]
        rows[1] |= {"title": f"Äpfel {file}"}
        table = pa.Table.from_pylist(rows, schema=document_schema())
        pq.write_table(table, tmp_path / f"part-{file}.parquet", row_group_size=2)
    return open_shelf(tmp_path)


@pytest.mark.parametrize(
    ("words", "start", "found"),
    [("text 0", 0, 0), ("TEXT 6", 0, 6), ("äpfel", 2, 5), ("Äpfel", 6, 1), ("text 3", 4, 3), ("text 0", 8, 0)],
)
def test_a_search_finds_the_next_in_any_column_and_whatever_its_case_and_begins_again_at_the_top(
    shelf, words, start, found
):
    assert shelf.search(words, start) == found


def test_a_search_for_what_is_nowhere_ends(shelf):
    assert shelf.search("pears", 3) is None
    assert shelf.search("(", 3) is None


# ------------------------------------------------------------------------------------------------------ in a terminal


class Terminal:
    """`steep view` in a terminal of some size."""

    def __init__(self, rows, columns, path):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.child = subprocess.Popen(
            [STEEP, "view", path],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
        )
        os.close(follower)
        self.raw = ""
        self.shown = self.read(r"q\s+quit\s")

    def read(self, until):
        """What is shown up to there, without colours; all that comes is in `raw`."""
        output = b""
        while not re.search(until, plain := re.sub(r"\x1b\[[\d;]*[mJH]", "", output.decode(errors="ignore"))):
            try:
                output += os.read(self.leader, 65536)
            except OSError:  # it has ended
                break
        self.raw += output.decode()
        return plain.replace("\r\n", "\n")

    def press(self, keys, until=r"q\s+quit\s"):
        os.write(self.leader, keys.encode())
        self.shown = self.read(until)
        return self.shown

    def end(self, keys):
        """The exit code, and what was still said."""
        said = self.press(keys, until="no such thing").replace("^C", "")
        return self.child.wait(timeout=10), said

    def body(self):
        """The lines above the foot."""
        return re.sub(r"(?:… more   )?space on.*", "", self.shown, flags=re.DOTALL).rstrip("\n").split("\n")


@pytest.fixture
def terminal():
    opened = []

    def begin(rows, columns, path):
        opened.append(Terminal(rows, columns, path))
        return opened[-1]

    yield begin
    for one in opened:
        one.child.kill()
        one.child.wait()
        os.close(one.leader)


@pytest.fixture
def many(tmp_path):
    long = "\n".join(f"line {number}" for number in range(60))
    return write(tmp_path / "many.parquet", documents("The first.", long, "The third.", f"{long}\nneedle here"))


def test_keys_lead_from_document_to_document(terminal, many):
    seen = terminal(24, 80, many)
    assert seen.body()[0] == "── 1 of 4  Title 1"
    assert seen.body()[-1] == "The first."
    assert seen.press("p").count("that is the first   space on") == 1
    for keys, number in (("n", 2), ("\x1b[C", 3), ("p", 2), ("nn", 4), ("\x1b[D", 3), ("x", 3)):
        seen.press(keys)
        assert seen.body()[0] == f"── {number} of 4  Title {number}", keys
    seen.press("n")
    assert "that is the last" in seen.press("n")
    assert seen.end("q") == (0, "")


def test_the_screens_of_a_long_document_hold_each_line_once_and_then_the_next_document_comes(terminal, many):
    seen = terminal(12, 80, many)
    seen.press("n")
    lines = [seen.body()]
    while lines[-1][0] != "── 3 of 4  Title 3":
        seen.press(" ")
        lines.append(seen.body())
    read = [line for screen in lines[:-1] for line in screen]
    assert [line for line in read if line.startswith("line ")] == [f"line {number}" for number in range(60)]
    assert all(len(screen) <= 10 for screen in lines)
    seen.press("p")
    seen.press("\x1b[B")
    seen.press("b")
    assert seen.body()[0] == "── 2 of 4  Title 2"


def test_a_document_is_shown_in_full_when_asked_for(terminal, many):
    seen = terminal(12, 80, many)
    assert "… more" in seen.press("n")
    assert seen.press("f").count("\nline ") == 60
    assert "… more" not in seen.shown


def test_a_number_leads_to_its_document_and_a_wrong_one_is_named(terminal, many):
    seen = terminal(24, 80, many)
    assert seen.press("g", until=": ").endswith("number (1 to 4): ")
    seen.press("3\n")
    assert "── 3 of 4" in seen.shown
    for wrong in ("0", "5", "three"):
        seen.press("g", until=": ")
        assert f"there is no {wrong}   space on" in seen.press(f"{wrong}\n")
        assert "── 3 of 4" in seen.shown


def test_a_search_shows_the_words_marked_on_the_screen_and_is_repeated_by_an_empty_one(terminal, many):
    seen = terminal(12, 80, many)
    seen.press("/", until="search: ")
    seen.press("LINE 31\n")
    assert "line 31" in seen.body()
    assert "\x1b[7mline 31\x1b[0m" in seen.raw
    seen.press("/", until="search: ")
    seen.press("\n")
    seen.press("p")
    assert "── 3 of 4" in seen.shown  # it was at the fourth
    seen.press("/", until="search: ")
    assert "nothing holds 'haystack'" in seen.press("haystack\n")
    assert "── 3 of 4" in seen.shown


@pytest.mark.parametrize("keys", ["\x03", "\x04", "\x1b"], ids=["Ctrl-C", "Ctrl-D", "Escape"])
def test_other_ways_to_quit_are_quiet_too(terminal, many, keys):
    assert terminal(24, 80, many).end(keys) == (0, "")


def test_ctrl_d_at_a_question_gives_no_answer(terminal, many):
    seen = terminal(24, 80, many)
    seen.press("/", until="search: ")
    assert "── 1 of 4" in seen.press("\x04")
    assert seen.end("q") == (0, "")


def test_wide_characters_and_long_words_stay_within_the_screen(terminal, tmp_path):
    wide = "茶壺が歌う。" * 40 + "🫖👩‍🍳é" * 20 + "\n\tTab\n" + "https://kettles.example/" + "whistle" * 40
    seen = terminal(14, 40, write(tmp_path / "wide.parquet", documents(wide, "Ende.")))
    for _ in range(30):
        lines = seen.shown.rstrip("\n").split("\n")
        assert len(lines) < 14
        assert max(map(cell_len, lines)) <= 40
        if "── 2 of 2" in seen.shown:
            return
        seen.press(" ")
    pytest.fail("the second document never came")


def test_nothing_in_a_document_commands_the_terminal_of_the_pager(terminal, tmp_path):
    seen = terminal(24, 80, write(tmp_path / "evil.parquet", [Document(EVIL, title=EVIL, source=EVIL, url=EVIL)]))
    assert seen.body()[-1].startswith("␛[2J␛]0;owned␇ and �31m and �back�")
    without_own = re.sub(r"\x1b\[[\d;]*m|\x1b\[2J\x1b\[H|\r\n", "", seen.raw)
    assert re.findall(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", without_own) == []

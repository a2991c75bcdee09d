"""The command line as its users meet it: what it prints, where, and how it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from conftest import steep
from steep import cli
from steep.demo import serve_site
from steep.runs import STAGES, Run, hold

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "daft", "transformers", "pyarrow", "scrapy", "numpy", "peft", "trl", "matplotlib", "datasets"]


@pytest.fixture
def told(small_recipe, copied_run):
    """The command line with a copy of the finished run; what is after the recipe can be given."""

    def run(verb, *arguments, **environment):
        return steep(verb, small_recipe, *arguments, "--runs", copied_run, cwd=copied_run, **environment)

    return run


def recipe(folder, text):
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


# ------------------------------------------------------------------------------------------------------ quick answers


@pytest.mark.parametrize("arguments", [["--help"], ["check", str(ROOT / "recipes" / "demo.yaml")], ["run", "--help"]])
def test_an_answer_that_needs_no_library_loads_none(arguments):
    code = (
        "import atexit, sys; from steep.cli import main\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        f"sys.argv[1:] = {arguments}; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_version(tmp_path):
    assert re.fullmatch(r"steep \d+\.\d+\.\d+\n", steep("--version", cwd=tmp_path).stdout)


def test_help_names_every_stage(tmp_path):
    text = steep("--help", cwd=tmp_path).stdout
    for stage in STAGES:
        assert stage in text


def test_schema_is_json(tmp_path):
    assert json.loads(steep("schema", cwd=tmp_path).stdout)["properties"]["gather"]


# ---------------------------------------------------------------------------------------------------- what a run prints


def test_a_first_run_tells_of_each_stage_as_it_begins_and_ends(small_run):
    lines = small_run.stdout.splitlines()
    assert lines[0].split() == ["gather", "…"]
    assert re.fullmatch(r"✓ gather +\d+\.\d s  40 documents, 960 words", lines[1])
    assert [line.split()[1] for line in lines[1:10:2]] == list(STAGES)


def test_a_run_ends_with_the_scores_two_samples_and_the_report(small_run):
    out = small_run.stdout
    assert re.search(r"^ +base +few-shot +tuned +difference +verdict *$", out, re.MULTILINE)
    assert re.search(r"^Perplexity +\d", out, re.MULTILINE)
    assert len(re.findall(r"^tuned ", out, re.MULTILINE)) == 2
    assert "Report: runs/small/report.html" in out
    assert 'Try it: steep generate runs/small "' in out


def test_a_run_without_a_terminal_prints_plain_lines_and_no_noise_beside_how_it_trains(small_run):
    assert re.findall(r"[\x00-\x09\x0b-\x1f]", small_run.stdout) == []
    assert re.fullmatch(r"attention: .+ \(.+\)\n([a-z0-9]+: .+ \(.+\)\n)+", small_run.stderr)


def test_a_second_run_says_unchanged_and_shows_the_same_result(told, small_run):
    lines = told("run").stdout.splitlines()
    assert [line.split()[:3] for line in lines[:5]] == [["=", stage, "unchanged"] for stage in STAGES]
    assert lines[5:-2] == small_run.stdout.splitlines()[10:-2]


def test_a_terminal_or_log_without_unicode_is_no_reason_to_stop(told):
    done = told("run", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "40 ? 40 documents" in done.stdout
    code = "from steep.terminal import accept_any_text; accept_any_text(); print('−0.5 … ✓ →')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    plain = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert plain == "-0.5 ... + ?\n", "the sign is not lost"


def test_a_narrow_terminal_breaks_lines_between_words(small_recipe, copied_run):
    text = in_terminal(40, "run", small_recipe, "--runs", copied_run, cwd=copied_run)
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert "= gather" in lines[0]
    paths = ("report.html", "steep generate")  # a broken path could not be copied
    assert [line for line in lines if len(line.rstrip()) > 40 and not any(path in line for path in paths)] == []
    assert "Report: " in text


def test_a_terminal_shows_nothing_but_what_steep_says(small_recipe, copied_run):
    text = in_terminal(80, "clean", small_recipe, "--runs", copied_run, cwd=copied_run)
    text = re.sub(r"[^\n]*\n\x1b\[\?25h\r\x1b\[1A\x1b\[2K", "", text)  # a progress bar, wiped when it is done
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|[^\n]*\r(?!\n)", "", text)  # no colours, nothing that was written over
    assert [line.split()[:2] for line in text.split("\r\n") if line][:-2] == [["=", "gather"], ["✓", "clean"]]


def in_terminal(columns, *arguments, cwd):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [Path(sys.executable).with_name("steep"), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = subprocess.Popen(command, cwd=cwd, env=environment, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    output = b""
    while True:
        try:
            output += os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
    os.close(leader)
    assert child.wait() == 0, output
    return output.decode()


# ------------------------------------------------------------------------------------------------------------- stages


def test_a_stage_verb_runs_that_stage_alone(told, copied_run):
    done = told("clean")
    assert [line.split()[:2] for line in done.stdout.splitlines()[:3]] == [
        ["=", "gather"],
        ["clean", "…"],
        ["✓", "clean"],
    ]
    assert set(Run(copied_run / "small").read()["stages"]) == {"gather", "clean"}


def test_a_stage_verb_says_which_stage_is_missing_before_it(small_recipe, tmp_path):
    done = steep("train", small_recipe, cwd=tmp_path)
    assert done.returncode == 2
    assert "train needs the stage gather" in done.stderr
    assert "`steep gather small.yaml` that stage alone" in done.stderr


@pytest.fixture(scope="module")
def look(small_recipe, tmp_path_factory):
    """A folder with a first look at five documents, gathered and cleaned."""
    folder = tmp_path_factory.mktemp("look")
    said = steep("gather", small_recipe, "--limit", "5", cwd=folder).stdout
    assert re.search(r"✓ gather .* 5 documents, .*\n\nReport: .*\nLook at the documents: steep view runs/small\n", said)
    for arguments, code, words in (
        (["view", "runs/small/clean"], 1, "small: the stage clean is not finished; run `steep clean RECIPE` first"),
        (
            ["clean", small_recipe],
            2,
            "clean needs the stage gather, .* It was gathered with --limit 5: give it here too",
        ),
        (["clean", small_recipe, "--limit", "5"], 0, ""),
    ):
        done = steep(*arguments, cwd=folder)
        assert done.returncode == code
        assert re.search(words, done.stderr)
    return folder


def test_a_first_look_shows_as_many_documents_of_each_source_as_asked_for(look):
    lines = steep("view", "runs/small/clean", cwd=look).stdout.splitlines()
    assert [line for line in lines if line.startswith("──")] == [f"── {number} of 5" for number in range(1, 6)]


def test_explain_tells_what_cleaning_did_to_one_of_them(small_recipe, look):
    id_ = steep("view", "runs/small/clean", cwd=look).stdout.split()[4]
    done = steep("clean", small_recipe, "--limit", "5", "--explain", id_, cwd=look)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{id_}\n\nwhitespace: unchanged\n\nlength: kept\n\nIt stays\.\n", done.stdout)
    unknown = steep("clean", small_recipe, "--limit", "5", "--explain", "nobody", cwd=look)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no document has the id or the address 'nobody'" in unknown.stderr


def test_a_first_look_does_not_replace_what_was_gathered_in_full(told, copied_run):
    before = (copied_run / "small" / "run.json").read_bytes()
    done = told("gather", "--limit", "5")
    assert done.returncode == 2
    assert "a limit would replace it: give the look a run of its own, name=small-look" in done.stderr
    assert (copied_run / "small" / "run.json").read_bytes() == before
    assert told("gather", "name=small-look", "--limit", "5").returncode == 0


def test_a_reason_in_brackets_is_no_markup_of_the_terminal(monkeypatch, capsys, tmp_path):
    write = (tmp_path / "gather").mkdir() or (tmp_path / "gather" / "summary.json").write_text
    write(json.dumps({"documents": 1, "words": 2, "failed": 1, "reasons": {"[red]no table[/]": 1}}))

    def told_of_gather(*args, note, **kwargs):
        note(tmp_path, "gather", "done", 1.0)
        return tmp_path

    monkeypatch.setattr("steep.pipeline.run_recipe", told_of_gather)
    cli.run(Path("any.yaml"), start=None, until="gather", force=False, limit=None, ray=None)
    assert "failed: [red]no table[/] 1" in capsys.readouterr().out


def test_show_prints_examples_and_writes_a_page(told, copied_run):
    done = told("show", "-n", "2", "--html", copied_run / "page.html")
    assert done.returncode == 0, done.stderr
    assert "</s>" in done.stdout
    assert "</s>" in (copied_run / "page.html").read_text().replace("&lt;/s&gt;", "</s>")


def test_generate_prints_the_answer_and_nothing_else(small_run):
    done = steep("generate", "runs/small", "The kettle", "--max-tokens", "5", "--temperature", "0", cwd=small_run.cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("name: x\ngather:\n  - files: a.txt\ntrian:\n  epochs: 1\n", 2, r"recipe\.yaml:4: .*did you mean `train`"),
        ("name: x\ngather:\n  - files: no.txt\n", 2, r"recipe\.yaml:3: gather\.0\.files: no file matches .no\.txt"),
        (
            "name: x\ngather:\n  - files: empty.txt\n",
            1,
            r"gather failed: nothing was gathered: 1 failed:\n.*empty file",
        ),
        (
            "name: x\ngather:\n  - files: short.txt\nclean:\n  - length: {min_words: 9}\n",
            1,
            r"clean failed: clean left no document: the step length dropped the last 1 (.*)\n.*dropped",
        ),
    ],
    ids=["unknown key", "missing file", "empty file", "nothing left"],
)
def test_bad_input_ends_in_a_clear_message(tmp_path, text, code, words):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("Three short words.")
    done = steep("run", recipe(tmp_path, text), cwd=tmp_path)
    assert done.returncode == code
    assert re.search(words, done.stderr)
    assert "Traceback" not in done.stderr


def test_a_missing_recipe_is_named(tmp_path):
    done = steep("run", "recpe.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "recpe.yaml: no such file\n")


def test_the_second_of_two_runs_at_a_time_says_who_holds_the_folder(told, copied_run):
    with hold(Run(copied_run / "small")):
        done = told("run")
    assert done.returncode == 1
    assert re.search(rf"small is in use by process {os.getpid()}, since \d{{4}}-", done.stderr)


def test_a_damaged_run_is_explained(told, copied_run):
    (copied_run / "small" / "run.json").write_text("{")
    done = told("run")
    assert done.returncode == 1
    assert "run.json is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_names_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = steep("demo", "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert f"port {port} of this machine is taken" in done.stderr


@pytest.mark.parametrize(
    ("runs", "said"), [(Path("runs"), "steep demo --port 0"), (Path("my runs"), "steep demo --port 0 --runs 'my runs'")]
)
def test_the_demo_is_repeated_by_its_own_command(monkeypatch, runs, said):
    given = []
    monkeypatch.setattr("steep.pipeline.run_recipe", lambda *args, **kwargs: given.append(kwargs["command"]) or runs)
    monkeypatch.setattr("steep.overview.print_result", lambda *args: None)
    cli.demo(port=0, runs=runs)
    assert given == [said]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a prompt, or --input FILE and --output FILE"),
        (["hello", "--input", "x"], "give a prompt, or --input FILE and --output FILE"),
        (["--input", "x"], "give a prompt, or --input FILE and --output FILE"),
        (["hello", "--top-p", "2"], "--top-p"),
        (["hello", "--max-tokens", "0"], "--max-tokens"),
    ],
)
def test_generate_refuses_wrong_arguments(tmp_path, arguments, words):
    done = steep("generate", "tiny", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_full_disk_is_explained(monkeypatch, capsys, tmp_path):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("steep.pipeline.run_recipe", full)
    assert end(monkeypatch, "run", "any.yaml") == 1
    assert capsys.readouterr().err == "no space left on the disk: free some, and the same command goes on from here\n"


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("steep.pipeline.run_recipe", interrupted)
    assert end(monkeypatch, "run", "any.yaml", "--force") == 130
    assert "What was finished is kept: the same command, without --force, goes on from here." in capsys.readouterr().err


def end(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["steep", *arguments])
    monkeypatch.setattr(cli, "accept_any_text", lambda: None)  # pytest's streams are its own
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return raised.value.code


def test_a_secret_of_the_environment_reaches_no_file_even_of_a_stage_that_failed(tmp_path):
    with serve_site(0) as address:
        text = (
            f"name: x\ngather:\n  - web: {address}/\n    max_pages: 2\n    user_agent: bot ${{STEEP_TEST_SECRET}}\n"
            "    include: [nothing like this]\n"
        )
        done = steep("run", recipe(tmp_path, text), cwd=tmp_path, STEEP_TEST_SECRET="hush-5f1c")
    assert "the stage gather failed: nothing was gathered" in done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"run.json", "crawl.log", "pages.jsonl"} <= {
        path.name for path in files
    }  # those of the crawl are there still
    assert Run(tmp_path / "runs" / "x").read()["recipe"]["gather"][0]["user_agent"] == "bot ${STEEP_TEST_SECRET}"
    assert [path for path in files if b"hush-5f1c" in path.read_bytes()] == []
    assert "hush-5f1c" not in done.stdout + done.stderr

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from steep.cli import app
from steep.errors import UsageError
from steep.scoring import Counting, score, score_files


@pytest.fixture
def files(tmp_path):
    """Writes the two files, whose names are given with their content."""

    def write(predictions, references):
        paths = []
        for kind, (name, content) in (("p", predictions), ("r", references)):
            paths.append(tmp_path / f"{kind}{name}")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
        return paths

    return write


def refused(paths):
    with pytest.raises(UsageError) as found:
        score_files(*paths, Counting())
    return str(found.value)


def command(paths, *options):
    """What `steep score` prints."""
    done = CliRunner().invoke(app, ["score", "--predictions", str(paths[0]), "--references", str(paths[1]), *options])
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_command_prints_a_table_and_as_json_the_same_figures(files):
    paths = files((".txt", "The cat and the dog.\n"), (".txt", "The cat is on the mat.\n"))
    table, found = command(paths), json.loads(command(paths, "--json"))
    assert ["ROUGE-1", "0.600", "0.500", "0.545"] in [line.split() for line in table.splitlines()]
    assert "bleu: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|" in table
    assert found["rouge"]["rouge2"]["precision"] == {"value": 0.25, "low": None, "high": None}
    assert found["settings"]["skip"] == 4


def test_a_negative_distance_on_the_command_line_is_any(files):
    paths = files((".txt", "a b c d e f g h"), (".txt", "a x x x x x x h"))
    assert json.loads(command(paths, "--json", "--skip", "-1"))["rouge"]["rougeS"]["f"]["value"] > 0
    assert json.loads(command(paths, "--json"))["rouge"]["rougeS"]["f"]["value"] == 0


def test_files_of_different_length_end_the_command_with_both_counts_as_a_wrong_command_line(files):
    paths = files((".txt", "a\nb\n"), (".txt", "a\n"))
    with pytest.raises(UsageError) as found:
        command(paths)
    assert str(found.value).startswith(f"{paths[0]} holds 2 texts and {paths[1]} holds 1: ")


def test_the_value_is_inside_of_its_interval():
    texts = [f"word {n} stands here" for n in range(30)]
    found = score(texts, [[f"word {n} stands {'here' if n % 2 else 'there and there'}"] for n in range(30)], Counting())
    for one in (found.corpus["bleu4"], found.corpus["chrf"], found.rouge["rougeL"]["f"]):
        assert one.low < one.value < one.high


def test_options_reach_what_they_are_for():
    texts, references = ["Connections BIND cats"], [["connected xx yy bind cats", "connected"]]
    found, plain = (
        score(texts, references, counting)
        for counting in (Counting(skip=None, stem=True, several="average", lowercase=True), Counting())
    )
    assert found.rouge["rouge1"]["precision"].value == pytest.approx(4 / 6)
    assert plain.rouge["rouge1"]["precision"].value == pytest.approx(2 / 3)
    assert found.rouge["rougeS"]["recall"].value == pytest.approx(3 / 10)
    assert found.corpus["bleu1"].value > plain.corpus["bleu1"].value
    assert found.signatures["rouge"].endswith("|stem:porter|refs:average|skip:any|mean:texts|as:ROUGE-1.5.5")
    assert found.signatures["bleu"].startswith("nrefs:2|case:lc|")


def test_plain_lines_keep_empty_texts_and_drop_what_windows_adds(files):
    found = score_files(*files((".txt", b"\xef\xbb\xbfa b\r\n\r\nc\r\n"), (".txt", "a b\nx\nc")), Counting())
    assert found.texts == 3
    assert found.rouge["rouge1"]["f"].value == pytest.approx(2 / 3)


def test_json_lines_are_strings_lists_and_objects_with_or_without_blank_lines_between(files):
    predictions = '"a"\n\n{"prediction": "b", "text": "x"}\n{"completion": "c"}\n{"text": "d\\ne"}\n'
    references = '["x", "a"]\n{"references": ["b"], "text": "x"}\n{"reference": "c"}\n"d\\ne"\n'
    found = score_files(*files((".jsonl", predictions), (".jsonl", references)), Counting())
    assert found.references == (1, 2)
    assert found.rouge["rouge1"]["f"].value == 1
    assert found.signatures["bleu"].startswith("nrefs:var|")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".txt", "", " is empty: write one text a line"),
        (".jsonl", "\n\n", " is empty: write one text a line"),
        (".txt", "a\nb".encode("utf-16"), ":1: not UTF-8; save the file as UTF-8"),
        (".txt", b"a\ncaf\xe9\n", ":2: not UTF-8; save the file as UTF-8"),
        (".jsonl", '"a"\n{"text": ', ":2: not JSON: Expecting value at column 10"),
        (".jsonl", "3", ':1: neither a string nor an object with a string "prediction", "completion" or "text"'),
    ],
)
def test_a_file_of_texts_that_cannot_be_used_is_named_with_its_line(files, name, content, message):
    paths = files((name, content), (".txt", "a"))
    assert refused(paths) == f"{paths[0]}{message}"


@pytest.mark.parametrize("line", ["[]", "null", '{"answer": "a"}', '["a", 3]'])
def test_references_that_are_none_are_named_with_their_line(files, line):
    paths = files((".txt", "a\nb"), (".jsonl", f'"a"\n{line}'))
    assert refused(paths).startswith(
        f"{paths[1]}:2: neither a string nor a list of strings, nor an object that has one"
    )


def test_of_many_bad_lines_the_first_are_named_and_the_others_counted(files):
    said = refused(files((".jsonl", "3\n" * 1030), (".txt", "a")))
    assert said.endswith("and 1,010 more lines")
    assert len(said.splitlines()) == 21


def test_a_file_that_is_missing_is_named(tmp_path):
    assert refused((tmp_path / "p", tmp_path / "r")) == f"cannot read {tmp_path / 'p'}: No such file or directory"

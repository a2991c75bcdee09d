"""A stage and the result of a run in a few lines of the terminal."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

import proofs
from steep.overview import print_result, stage_line
from steep.runs import Run
from steep.scores import Gate, Warning


@pytest.fixture
def run(tmp_path):
    funnel = [
        {"step": "whitespace", "before": 1199, "dropped": 0, "reasons": {}},
        {"step": "deduplicate", "before": 1199, "dropped": 9, "reasons": {"duplicate": 5, "near duplicate": 4}},
        {"step": "length", "before": 1190, "dropped": 4, "reasons": {"fewer than 8 words": 4}},
    ]
    redacted = [{"kind": "phone", "occurrences": 14}, {"kind": "email", "occurrences": 1021}]
    write(tmp_path, "clean", documents=1186, words=23891, funnel=funnel, evidence={"redact": redacted})
    return Run(tmp_path)


def write(folder, stage, **summary):
    (folder / stage).mkdir()
    (folder / stage / "summary.json").write_text(json.dumps(summary))


def test_clean_says_what_went_in_and_out_and_why(run):
    assert stage_line(run, "clean").split("\n") == [
        "1,199 → 1,186 documents, 23,891 words",
        "    redacted: email 1,021, phone 14",
        "    deduplicate −9: duplicate 5, near duplicate 4",
        "    length −4: fewer than 8 words 4",
    ]


def test_a_brief_line_is_one(run):
    assert stage_line(run, "clean", brief=True) == "1,199 → 1,186 documents, 23,891 words"


def test_gather_says_why_most_of_what_failed_did(tmp_path):
    reasons = {f"no such column as c{i}": 1 for i in range(9)} | {"empty text": 1200}
    write(tmp_path, "gather", documents=3, words=40, failed=1209, reasons=reasons)
    first, second = stage_line(Run(tmp_path), "gather").split("\n")
    assert first == "3 documents, 40 words, 1,209 failed"
    assert second.startswith("    failed: empty text 1,200, no such column as c0 1, ")
    assert second.endswith(" c3 1, and 5 more")


def test_a_reason_does_not_command_the_terminal(tmp_path):
    write(tmp_path, "gather", documents=3, words=40, failed=1, reasons={"\x1b[2Jgone": 1})
    assert "failed: ␛[2Jgone 1" in stage_line(Run(tmp_path), "gather")


# ----------------------------------------------------------------------------------------------------------- result


@pytest.fixture
def told(tmp_path):
    """What the terminal shows of an evaluated run."""

    def shown(scores, samples=(), width=110, **recipe):
        finished = {"fingerprint": "9f86d081", "seconds": 1.0, "finished": "2026-03-14T09:12:31Z"}
        stages = dict.fromkeys(("gather", "clean", "prepare", "train", "evaluate"), finished)
        (tmp_path / "run.json").write_text(json.dumps({"stages": stages, "recipe": recipe}))
        (tmp_path / "evaluate").mkdir(exist_ok=True)
        (tmp_path / "evaluate/scores.json").write_text(scores.model_dump_json())
        (tmp_path / "evaluate/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
        console = Console(width=width, file=io.StringIO(), highlight=False)
        print_result(Run(tmp_path), console)
        return console.file.getvalue()

    return shown


def test_the_result_has_each_model_the_difference_with_its_interval_and_the_verdict(told):
    text = told(proofs.scores())
    assert re.search(r"^ +base +few-shot +tuned +difference +verdict *$", text, re.MULTILINE)
    line = r"^Perplexity +[\d.]+ +[\d.]+ +[\d.]+ +−[\d.]+ \(−[\d.]+ to −[\d.]+\) +better *$"
    assert re.search(line, text, re.MULTILINE)
    assert "Bits per byte" not in text
    assert "Better than its base model, and better than prompting it with examples." in text


def test_a_failed_gate_comes_first_and_warnings_follow_the_verdict(told):
    gate = Gate(name="forgetting", value=0.3, limit=0.1, passed=False)
    doubt = Warning(kind="contamination", message="6 of 60 leaked")
    text = told(proofs.scores(gates=[gate], warnings=[doubt]))
    places = [text.index(said) for said in ("Failed: the rise", "Perplexity", "Better than", "test: 6 of 60 leaked")]
    assert places == sorted(places)


def test_two_samples_are_drawn_and_hold_no_personal_data(told):
    said = {"base": "Call +44 20 7946 0018.", "tuned": "Write to ada@brand-tea.example."}
    text = told(proofs.scores(), [proofs.sample(i, answers=said) for i in range(9)])
    assert text.count("Write to [EMAIL].") == text.count("Call [PHONE].") == 2
    assert "few-shot" not in text.partition("reference")[2]


def test_a_model_does_not_command_the_terminal(told):
    text = told(proofs.scores(), [proofs.sample(0, answers={"tuned": "\x1b[2Jgone [bold]"})])
    assert "␛[2Jgone [bold]" in text


def test_a_model_from_scratch_has_no_column_for_others(told):
    text = told(proofs.from_scratch(proofs.scores()))
    assert re.search(r"^ +tuned *$", text, re.MULTILINE)
    assert "There is no base model to compare with." in text


def test_the_result_fits_a_narrow_terminal(told):
    text = told(proofs.scores(), [proofs.sample(0)], width=80).partition("\nReport: ")[0]
    assert max(map(len, text.splitlines())) <= 80

"""A stage in a few lines of the terminal."""

from __future__ import annotations

import json

import pytest

from steep.overview import stage_line
from steep.runs import Run


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

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
    (tmp_path / "clean").mkdir()
    summary = {"documents": 1186, "words": 23891, "funnel": funnel}
    (tmp_path / "clean" / "summary.json").write_text(json.dumps(summary))
    return Run(tmp_path)


def test_clean_says_what_went_in_and_out_and_why(run):
    assert stage_line(run, "clean").split("\n") == [
        "1,199 → 1,186 documents, 23,891 words",
        "    deduplicate −9: duplicate 5, near duplicate 4",
        "    length −4: fewer than 8 words 4",
    ]


def test_a_brief_line_is_one(run):
    assert stage_line(run, "clean", brief=True) == "1,199 → 1,186 documents, 23,891 words"

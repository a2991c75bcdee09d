from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import monotonic

import pytest

from steep.errors import UsageError
from steep.evaluate.formats import format_rows
from steep.recipe.evaluate import Format

CLAIM = {
    "type": "object",
    "properties": {"label": {"enum": ["true", "false"]}, "sources": {"type": "array", "items": {"type": "string"}}},
    "required": ["label"],
}


def checked(*answers, **options):
    rows, reasons = format_rows(answers, Format(**options))
    assert rows["format"][:, 1].tolist() == [1] * len(answers)
    return rows["format"][:, 0].tolist(), reasons


def test_the_whole_answer_must_match_the_pattern_but_for_blanks_around_it():
    valid, reasons = checked(" yes\n", "yes, sir", "no", pattern="yes|no")
    assert valid == [1, 0, 1]
    assert reasons == {"does not match the pattern": 1}


def test_an_empty_answer_is_valid_only_where_the_pattern_says_so():
    assert checked("", pattern="(yes)?") == ([1], {})
    assert checked(" ", pattern="yes") == ([0], {"empty": 1})


def test_a_pattern_that_takes_forever_is_a_failure_and_does_not_stop_the_rest():
    begin = monotonic()
    valid, reasons = checked("a" * 60, "ab", pattern="(a|aa)+b")
    assert monotonic() - begin < 10
    assert valid == [0, 1]
    assert reasons == {"the pattern took longer than 1 s": 1}


def test_an_answer_must_be_json_that_fits_the_schema():
    assert checked('{"label": "true", "sources": ["a"]}', json_schema=CLAIM) == ([1], {})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("The label is true.", "not JSON: Expecting value"),
        ('```json\n{"label": "true"}\n```', "not JSON: Expecting value"),
        ('{"label": "true"} so it is', "not JSON: Extra data"),
        ('{"label": NaN}', "not JSON: NaN is no number of JSON"),
        ("[" * 100_000, "not JSON: nested too deeply"),
        ('{"sources": []}', "$: 'label' is a required property"),
        ('{"label": "perhaps"}', "$.label: breaks `enum`"),
        ('{"label": "true", "sources": ["a", 2]}', "$.sources.*: breaks `type`"),
        ("[]", "$: breaks `type`"),
    ],
)
def test_the_reason_of_a_failure_is_told_without_the_answers_own_words(answer, reason):
    assert checked(answer, json_schema=CLAIM) == ([0], {reason: 1})


def test_reasons_are_counted_the_most_frequent_first():
    _, reasons = checked("x", "[]", "y", json_schema=CLAIM)
    assert list(reasons.items()) == [("not JSON: Expecting value", 2), ("$: breaks `type`", 1)]


def test_definitions_inside_of_the_schema_are_followed():
    schema = {"$ref": "#/$defs/label", "$defs": {"label": {"enum": ["yes"]}}}
    assert checked('"yes"', '"no"', json_schema=schema)[0] == [1, 0]


def test_what_a_schema_refers_to_is_never_fetched():
    asked = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/label.json"
        with pytest.raises(UsageError, match=r"json_schema refers to 'http://.*label\.json', which is not in it"):
            checked("{}", json_schema={"$ref": address})
        server.shutdown()
    assert asked == []

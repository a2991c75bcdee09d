from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from steep.errors import UsageError
from steep.evaluate.general import forgetting, forgetting_gate, forgetting_warning, general_texts

# ---------------------------------------------------------------------------------------------------------- the texts


def test_about_eighty_passages_ship_of_the_length_of_a_paragraph() -> None:
    passages = general_texts()
    assert len(passages) == 80
    assert all(90 <= len(passage.text.split()) <= 160 for passage in passages)
    assert len({passage.id for passage in passages}) == 80


def test_no_two_passages_begin_alike_or_share_a_run_of_eight_words() -> None:
    texts = [re.findall(r"\w+", passage.text.lower()) for passage in general_texts()]
    assert max(Counter(tuple(words[:3]) for words in texts).values()) == 1
    runs = Counter(run for words in texts for run in {tuple(words[at : at + 8]) for at in range(len(words) - 7)})
    assert max(runs.values()) == 1


def test_the_passages_are_varied_and_bear_no_markup() -> None:
    passages = general_texts()
    assert len({passage.topic for passage in passages}) >= 40
    assert not [passage.id for passage in passages if re.search(r"[*_#<>\[\]{}|\n]|  ", passage.text)]


def test_a_file_of_json_lines_may_name_its_passages(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    lines = '{"id": "a", "topic": "sea", "text": "Waves."}\n\n{"text": "Hügel\u2028und Täler."}\n'
    path.write_bytes(gzip.compress(lines.encode()))
    assert [(one.id, one.topic, one.text) for one in general_texts(path)] == [
        ("a", "sea", "Waves."),
        ("line 3", "", "Hügel\u2028und Täler."),
    ]


def test_a_plain_file_has_a_passage_in_each_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("\ufeffOne line\nand another.\r\n \t\n\n\nThe second.\n", "utf-8")
    assert [one.text for one in general_texts(path)] == ["One line\nand another.", "The second."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "one"}\nnot json\n', r"a.jsonl:2 is not JSON: Expecting value"),
        ("a.jsonl", b'{"body": "one"}\n', r'a.jsonl:1 has no text: a line is {"text": "..."}$'),
        ("a.jsonl", b'["one"]', r"a.jsonl:1 has no text"),
        ("a.jsonl", b'{"text": "  "}', r"a.jsonl:1 has no text"),
        ("a.jsonl", b'{"text": 7}', r"a.jsonl:1 has no text"),
        ("a.txt", b"\n \n", r"a.txt holds no text$"),
        ("a.txt", b"", r"a.txt holds no text$"),
        ("a.txt", b"abc \xff", r"a.txt is not UTF-8: invalid start byte at byte 4$"),
        ("a.csv", b"text\none\n", r"a.csv is neither .jsonl nor .txt$"),
        ("a.txt.gz", b"not gzip", r"a.txt.gz cannot be read: Not a gzipped file"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_where(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"^general texts: .*{message}"):
        general_texts(tmp_path / name)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^general texts: .*none.txt cannot be read: No such file or directory$"):
        general_texts(tmp_path / "none.txt")


# --------------------------------------------------------------------------------------------------------- forgetting


def rows(factor: float, *, spread: float = 0.0) -> np.ndarray:
    """40 passages of 100 tokens whose perplexity is about 20 times the factor."""
    noise = np.random.default_rng(0).normal(0, spread, 40)
    return np.stack([100 * (np.log(20 * factor) + noise), np.full(40, 100.0)], axis=1)


NAMES = [f"p{number}" for number in range(40)]


def test_the_rise_is_that_of_the_perplexity_of_all_tokens() -> None:
    found = forgetting(NAMES, rows(1.0), rows(1.1))
    assert (found.base, found.tuned) == (pytest.approx(20), pytest.approx(22))
    assert (found.rise, found.low, found.high) == tuple(pytest.approx(0.1) for _ in range(3))
    assert (found.passages, found.tokens) == (40, 4000)


def test_a_long_passage_weighs_more_than_a_short_one() -> None:
    base, tuned = np.array([[100.0, 100], [900.0, 900]]), np.array([[200.0, 100], [900.0, 900]])
    assert forgetting(["a", "b"], base, tuned).rise == pytest.approx(np.expm1(0.1))


def test_the_interval_is_over_passages_that_differ() -> None:
    found = forgetting(NAMES, rows(1.0), rows(1.1, spread=0.1))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.rise < found.high
    assert found.high - found.low == pytest.approx(2 * 2.02 * 0.1 * 1.1 / np.sqrt(40), rel=0.25)


def test_the_passage_that_lost_most_is_named() -> None:
    tuned = rows(1.0)
    tuned[7, 0] += 5
    assert forgetting(NAMES, rows(1.0), tuned).worst == "p7"


def test_a_single_passage_has_no_interval_and_no_warning() -> None:
    found = forgetting(["a"], rows(1.0)[:1], rows(2.0)[:1])
    assert (found.rise, found.low, found.high) == (pytest.approx(1.0), None, None)
    assert forgetting_warning(found) is None


def test_models_with_other_tokens_do_not_compare() -> None:
    with pytest.raises(ValueError, match="different tokens"):
        forgetting(NAMES, rows(1.0), rows(1.0) + 1)


@pytest.mark.parametrize(("limit", "passed"), [(0.2, True), (0.05, False)])
def test_the_gate_fails_a_rise_beyond_its_limit(limit: float, passed: bool) -> None:
    gate = forgetting_gate(forgetting(NAMES, rows(1.0), rows(1.1)), limit)
    assert gate is not None
    assert (gate.name, gate.value, gate.limit, gate.passed) == ("forgetting", pytest.approx(0.1), limit, passed)


def test_without_a_limit_there_is_no_gate() -> None:
    assert forgetting_gate(forgetting(NAMES, rows(1.0), rows(1.1)), None) is None


def test_the_warning_says_by_how_much_and_where_most() -> None:
    message = forgetting_warning(forgetting(NAMES, rows(1.0), rows(1.1)))
    assert message == (
        "the tuned model is worse at general text than its base: perplexity 22.0 against 20.0, a rise of 10.0% "
        "(95 % interval 10.0% to 10.0%); most on p0"
    )


@pytest.mark.parametrize(("factor", "spread"), [(0.9, 0.0), (1.01, 0.3)])
def test_a_fall_or_a_rise_that_may_be_chance_is_no_warning(factor: float, spread: float) -> None:
    assert forgetting_warning(forgetting(NAMES, rows(1.0), rows(factor, spread=spread))) is None

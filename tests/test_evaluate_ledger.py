from __future__ import annotations

from steep.evaluate.ledger import Ledger


def test_what_was_written_is_known_after_a_new_start(tmp_path):
    Ledger(tmp_path / "base.jsonl").write("perplexity", {0: 1.5, 7: 2.25})
    Ledger(tmp_path / "base.jsonl").write("continuation", {0: {"token_ids": [1, 2]}})
    again = Ledger(tmp_path / "base.jsonl")
    assert again.known("perplexity") == {0: 1.5, 7: 2.25}
    assert again.known("continuation") == {0: {"token_ids": [1, 2]}}
    assert again.known("forgetting") == {}


def test_a_line_that_was_cut_is_forgotten_and_the_next_one_stands_whole(tmp_path):
    path = tmp_path / "base.jsonl"
    Ledger(path).write("perplexity", {0: 1.5, 1: 2.5})
    path.write_bytes(path.read_bytes()[:-4])
    again = Ledger(path)
    assert again.known("perplexity") == {0: 1.5}
    again.write("perplexity", {1: 2.5})
    assert Ledger(path).known("perplexity") == {0: 1.5, 1: 2.5}


def test_a_figure_comes_back_exactly(tmp_path):
    Ledger(tmp_path / "base.jsonl").write("perplexity", {0: 0.1 + 0.2})
    assert Ledger(tmp_path / "base.jsonl").known("perplexity")[0] == 0.1 + 0.2


def test_what_comes_after_a_damaged_line_is_computed_again(tmp_path):
    path = tmp_path / "base.jsonl"
    Ledger(path).write("perplexity", {0: 1.5, 1: 2.5, 2: 3.5})
    path.write_text(path.read_text().replace("2.5]", "2.", 1))
    assert Ledger(path).known("perplexity") == {0: 1.5}
    assert Ledger(path).known("perplexity") == {0: 1.5}


def test_what_another_version_of_steep_has_computed_is_not_gone_on_with(tmp_path, monkeypatch):
    path = tmp_path / "base.jsonl"
    Ledger(path).write("perplexity", {0: 1.5})
    monkeypatch.setattr("steep.evaluate.ledger.version", lambda package: "99.0")
    other = Ledger(path)
    assert other.known("perplexity") == {}
    other.write("perplexity", {1: 2.5})
    assert Ledger(path).known("perplexity") == {1: 2.5}

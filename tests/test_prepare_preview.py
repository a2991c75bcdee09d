"""Examples token by token, in the terminal and as a page."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from steep.prepare.preview import preview, read_pieces
from steep.records import example_schema
from steep.tokens import Fit, encode

ROW = {
    "prompt": "The kettle\n",
    "completion": "sings\t漢 <b>loud</b>",
    "document_id": "d1",
    "group": "g1",
    "source": "site",
}


@pytest.fixture
def pieces(tokenizer):
    def read(max_length: int | None = None, **row):
        return list(read_pieces(encode([row], tokenizer, max_length)[0], tokenizer))

    return read


@pytest.fixture
def page(tokenizer, tmp_path):
    def write(rows: list[dict], *fit, count: int = 3, form: str = "completion") -> str:
        path = tmp_path / "preview" / "examples.html"
        examples = pa.Table.from_pylist(rows, schema=example_schema(form))
        preview(examples, tokenizer, fit=Fit(*(fit or [64])), count=count, html=path)
        return path.read_text(encoding="utf-8")

    return write


def test_pieces_join_to_the_whole_text(pieces):
    text = "Ünïcode 👍🏽 and\n\n漢字,\tall � here!"
    assert "".join(piece.text for piece in pieces(text=text)) == f"<s>{text}</s>"


def test_pieces_keep_every_token_in_order(pieces, tokenizer):
    text = "Ünïcode 👍🏽 漢字"
    (encoded,) = encode([{"text": text}], tokenizer, None)
    assert [token for piece in pieces(text=text) for token in piece.ids] == encoded.input_ids


def test_a_character_of_several_tokens_is_one_piece(pieces):
    assert [(piece.text, len(piece.ids)) for piece in pieces(text="漢") if not piece.special] == [("漢", 3)]


def test_a_character_that_is_cut_by_max_length_is_shown_as_such(pieces):
    assert [piece.text for piece in pieces(text="漢", max_length=3)] == ["<s>", "�"]


def test_bos_is_masked_and_eos_is_trained_and_both_are_special(pieces):
    first, *_, last = pieces(prompt="The kettle", completion=" sings")
    assert (first.text, first.kind, last.text, last.kind) == ("<s>", "masked special", "</s>", "trained special")


def test_the_prompt_is_masked_and_the_completion_trained(pieces):
    read = [piece for piece in pieces(prompt="The kettle", completion=" sings") if not piece.special]
    assert "".join(piece.text for piece in read if piece.trained) == " sings"
    assert "".join(piece.text for piece in read if not piece.trained) == "The kettle"


def test_the_terminal_shows_white_space_and_counts(page, capsys):
    page([ROW])
    shown = capsys.readouterr().out
    assert "<s>The·kettle↵\nsings→漢·<b>loud</b></s>" in shown
    assert re.search(r"Example 1 .*\d+ tokens · \d+ trained · source site · document d1 · near-duplicate of g1", shown)
    assert "trained  the model learns to write it" in shown


def test_the_page_shows_the_same_and_escapes_it(page):
    text = re.sub("<[^>]+>", "", page([ROW]).split("</style>")[1])
    assert "The·kettle↵\nsings→漢3·&lt;b&gt;loud&lt;/b&gt;&lt;/s&gt;" in text


def test_the_page_needs_no_network_and_knows_dark_and_phones(page):
    html = page([ROW])
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_what_was_cut_off_is_said(page):
    assert re.search(r"8 tokens · .* cut off by max_length 8", page([ROW], 8))


def test_no_more_examples_than_asked_for(page):
    html = page([ROW] * 5, count=2)
    assert "Example 2" in html
    assert "Example 3" not in html


def test_the_two_answers_of_a_pair_are_shown_one_after_the_other(page, capsys):
    pair = {"prompt": "The kettle", "chosen": " sings.", "rejected": " falls."}
    html = page([{**ROW, **pair}], form="pair")
    out = capsys.readouterr().out
    for shown in (out, re.sub("<[^>]+>", "", html)):
        assert re.search(r"Example 1, chosen.*The·kettle·sings\..*Example 1, rejected.*The·kettle·falls\.", shown, re.S)


def test_every_turn_of_a_conversation_is_trained_or_masked(page):
    talk = [
        {"role": role, "content": text}
        for role, text in zip(["user", "assistant"] * 2, ["Who?", "Me.", "Why?", "So."], strict=True)
    ]
    html = page([{**ROW, "messages": talk}], 100, form="messages")
    kinds = re.findall(r'<span class="(\w+)[^"]*" title="[^"]*">([^<]*)', html)
    trained = "".join(text for kind, text in kinds if kind == "trained")
    assert trained == "Me.↵\n&lt;/s&gt;So.↵\n&lt;/s&gt;"


def test_the_parts_of_a_split_example_are_all_shown(page):
    html = page([{**ROW, "completion": "sings " * 20}], 24, "split")
    titles = re.findall(r"<h2>(.*)</h2>", html)
    assert titles == [f"Example 1, part {number} of {len(titles)}" for number in range(1, len(titles) + 1)]
    assert len(titles) > 1


def test_a_long_example_is_shown_cut_on_the_side_that_training_cuts(page):
    text = re.sub("<[^>]+>", "", page([{**ROW, "completion": "x"}], 5, "truncate", "left"))
    assert "kettle↵\nx&lt;/s&gt;" in text
    assert "The·kettle" not in text

from __future__ import annotations

import json

import pytest

from steep.answers import AT_ONCE, Settings, generate_file, read_prompts
from steep.errors import UsageError
from steep.generation import generate
from steep.tokens import encode_prompts

PROMPTS = ["Rain fell", {"prompt": "The kettle", "id": 7}, "numbers 1 2 3 and punctuation", {"prompt": "fox"}, "wall"]
SETTINGS = Settings(model="random", max_new_tokens=6, temperature=1.0, seed=3)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, PROMPTS)), encoding="utf-8")
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out" / "answers.jsonl"


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_stand_in_the_order_of_the_prompts_with_their_other_fields(tiny_model, tokenizer, prompts, output):
    assert generate_file(tiny_model, tokenizer, prompts, output, SETTINGS) == 5
    found = rows(output)
    texts = [prompt if isinstance(prompt, str) else prompt["prompt"] for prompt in PROMPTS]
    ids = encode_prompts(texts, tokenizer)
    expected = {
        a.index: a.text for a in generate(tiny_model, tokenizer, ids, max_new_tokens=6, temperature=1.0, seed=3)
    }
    assert [row["prompt"] for row in found] == texts
    assert [row["completion"] for row in found] == [expected[index] for index in range(5)]
    assert found[1]["id"] == 7


def test_an_interrupted_output_is_repaired_and_completed_to_the_same_bytes(tiny_model, tokenizer, prompts, output):
    generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    whole = output.read_bytes()
    output.write_bytes(whole[: whole.index(b"\n", whole.index(b"\n") + 1) + 20])  # two answers and a piece of the third
    assert generate_file(tiny_model, tokenizer, prompts, output, SETTINGS) == 3
    assert output.read_bytes() == whole


def test_a_finished_output_is_left_alone(tiny_model, tokenizer, prompts, output, monkeypatch):
    generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    monkeypatch.setattr("steep.answers.generate", None)
    assert generate_file(tiny_model, tokenizer, prompts, output, SETTINGS) == 0


def test_answers_are_written_while_the_rest_is_still_to_come(tiny_model, tokenizer, tmp_path, output, monkeypatch):
    path = tmp_path / "many.jsonl"
    path.write_text('"Rain"\n' * (AT_ONCE + 1), encoding="utf-8")

    on_disk = []

    def watched(*args, **options):
        on_disk.append(len(rows(output)))
        return generate(*args, **options)

    monkeypatch.setattr("steep.answers.generate", watched)
    generate_file(tiny_model, tokenizer, path, output, SETTINGS)
    assert on_disk == [0, AT_ONCE]


def test_other_settings_never_continue_an_output(tiny_model, tokenizer, prompts, output):
    generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    other = Settings(model="tuned", max_new_tokens=6, temperature=0.0, seed=3)
    message = r"answers.jsonl:1: .* model random instead of tuned, temperature 1.0 instead of 0.0; remove it"
    with pytest.raises(UsageError, match=message):
        generate_file(tiny_model, tokenizer, prompts, output, other)


def test_answers_to_other_prompts_are_never_continued(tiny_model, tokenizer, prompts, output):
    generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    prompts.write_text('"Rain fell"\n"Another"\n' + '"x"\n' * 3, encoding="utf-8")
    with pytest.raises(UsageError, match=r"answers.jsonl:2: this answers another prompt"):
        generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    prompts.write_text('"Rain fell"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="has 5 answers to 1 prompts"):
        generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)


def test_a_file_that_steep_did_not_write_is_not_touched(tiny_model, tokenizer, prompts, output):
    output.parent.mkdir()
    output.write_text("my notes\nand more", encoding="utf-8")
    with pytest.raises(UsageError, match=r"answers.jsonl:1: this is no answer of steep"):
        generate_file(tiny_model, tokenizer, prompts, output, SETTINGS)
    assert output.read_text(encoding="utf-8") == "my notes\nand more"


def test_the_prompts_are_never_overwritten(tiny_model, tokenizer, prompts):
    with pytest.raises(UsageError, match="the answers would overwrite the prompts"):
        generate_file(tiny_model, tokenizer, prompts, prompts, SETTINGS)


def test_every_bad_line_is_named_with_its_file_and_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'"fine"\n\n{"prompt": 3}\n{"prompt": "x"\n"caf\xe9"\n[1]\n')
    with pytest.raises(UsageError) as caught:
        read_prompts(path)
    assert str(caught.value).split("\n") == [
        f'{path}:3: neither a JSON string nor an object with a string "prompt"',
        f"{path}:4: not JSON: Expecting ',' delimiter at column 15",
        f"{path}:5: not UTF-8; save the file as UTF-8",
        f'{path}:6: neither a JSON string nor an object with a string "prompt"',
    ]


def test_half_of_a_surrogate_pair_is_no_text(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('"fine"\n"caf\\ud800"\n{"prompt": "x", "note": "\\udce9"}\n"\\ud83d\\ude00"\n', encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_prompts(path)
    assert str(caught.value).split("\n") == [
        f"{path}:{line}: the prompt is not valid text: it holds half of a surrogate pair" for line in (2, 3)
    ]


def test_of_very_many_bad_lines_the_first_are_named_and_the_rest_counted(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("oops\n" * 50, encoding="utf-8")
    with pytest.raises(UsageError, match=r":20: [^\n]*\nand 30 more lines$"):
        read_prompts(path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf"one"\r\n{"prompt": "two"}\r\n')
    assert [row["prompt"] for row in read_prompts(path)] == ["one", "two"]


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none.jsonl: No such file"):
        read_prompts(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match=r"empty.jsonl holds no prompt; write one a line"):
        read_prompts(tmp_path / "empty.jsonl")

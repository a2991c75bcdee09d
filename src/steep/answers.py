"""A file of prompts to a file of answers, in the same order, that goes on where it was interrupted.

Every answer carries the settings it was made with, so that no output mixes two models or two temperatures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import UsageError
from steep.generation import Generated, generate
from steep.terminal import progress
from steep.tokens import encode_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, Any]

AT_ONCE = 128
"""Prompts between two writes: an interruption costs at most their answers."""
SHOWN = 20
"""Bad lines named in one message."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an answer depends on besides its prompt; ``model`` is a name or folder, and of a run its training."""

    model: str
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def generate_file(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Path, output: Path, settings: Settings
) -> int:
    """Answer every prompt that ``output`` does not answer yet; returns how many these were.

    An answer is the prompt's row with ``completion``, ``finished`` and ``settings`` added.
    """
    if prompts.resolve() == output.resolve():
        raise UsageError(f"{output}: the answers would overwrite the prompts; give another output")
    rows = read_prompts(prompts)
    done = _answered(output, rows, settings)
    decoding = {name: value for name, value in asdict(settings).items() if name != "model"}
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a", encoding="utf-8") as file, progress("generate", total=len(rows)) as update:
        update(done)
        for start in range(done, len(rows), AT_ONCE):
            chunk = rows[start : start + AT_ONCE]
            ids = encode_prompts([row["prompt"] for row in chunk], tokenizer)
            answers = generate(model, tokenizer, ids, **decoding, indices=range(start, start + len(ids)))
            file.writelines(_lines(chunk, start, _counted(answers, update), settings))
            file.flush()
    return len(rows) - done


def _counted(answers: Iterator[Generated], update: Any) -> Iterator[Generated]:
    for answer in answers:
        update()
        yield answer


def _lines(chunk: Sequence[Row], start: int, answers: Iterator[Generated], settings: Settings) -> Iterator[str]:
    """The chunk's answers in the order of its prompts."""
    for answer in sorted(answers, key=lambda answer: answer.index):
        said = {"completion": answer.text, "finished": answer.finished, "settings": asdict(settings)}
        yield json.dumps(chunk[answer.index - start] | said, ensure_ascii=False) + "\n"


def read_prompts(path: Path) -> list[Row]:
    """Read a prompt a line: a JSON string, or an object with ``prompt``, whose other fields are carried along."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    rows, problems = [], []
    for number, line in enumerate(lines, 1):
        try:
            rows += [_prompt_row(line)] if line.strip() else []
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        more = [f"and {len(problems) - SHOWN} more lines"] if len(problems) > SHOWN else []
        raise UsageError("\n".join([*problems[:SHOWN], *more]))
    if not rows:
        raise UsageError(f'{path} holds no prompt; write one a line, as a JSON string or as {{"prompt": "..."}}')
    return rows


def _prompt_row(line: bytes) -> Row:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not is_text(json.dumps(value, ensure_ascii=False)):
        raise ValueError("the prompt is not valid text: it holds half of a surrogate pair")
    row = {"prompt": value} if isinstance(value, str) else value
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise ValueError('neither a JSON string nor an object with a string "prompt"')
    return row


def is_text(value: str) -> bool:
    """Whether UTF-8 can write it: half of a surrogate pair, as a byte that is not UTF-8 leaves it, cannot be read."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _answered(output: Path, rows: Sequence[Row], settings: Settings) -> int:
    """How many prompts ``output`` answers; a last line that was cut by an interruption is taken away."""
    if not output.exists():
        return 0
    content = output.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if len(lines) > len(rows):
        raise UsageError(f"{output} has {len(lines)} answers to {len(rows)} prompts; {_REMEDY}")
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), 1):
        _check_answer(f"{output}:{number}", line, row, settings)
    if len(whole) < len(content):
        with output.open("r+b") as file:
            file.truncate(len(whole))
    return len(lines)


_REMEDY = "remove it or give another output"


def _check_answer(where: str, line: bytes, row: Mapping[str, Any], settings: Settings) -> None:
    try:
        answer = json.loads(line)
        prompt, made_with = answer["prompt"], answer["settings"]
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{where}: this is no answer of steep; {_REMEDY}") from None
    if prompt != row["prompt"]:
        raise UsageError(f"{where}: this answers another prompt than the input has there; {_REMEDY}")
    now = asdict(settings)
    changed = [
        f"{name} {made_with.get(name)} instead of {now[name]}" for name in now if made_with.get(name) != now[name]
    ]
    if changed:
        raise UsageError(f"{where}: the answers there were made with {', '.join(changed)}; {_REMEDY}")

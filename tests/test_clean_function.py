from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from steep.clean.function import function_step
from steep.clean.rows import Batch
from steep.errors import SteepError, UsageError
from steep.paths import function_file
from steep.recipe.clean import Function

PUBLISHED = datetime(2024, 5, 1, tzinfo=UTC)
FACTS: dict[str, list[Any]] = {
    "id": ["00aa", "00bb"],
    "source": ["blog", "blog"],
    "url": ["https://x.org/1", None],
    "published": [PUBLISHED, None],
    "owner": ["tea", None],
    "licence": ["cc0", None],
    "row": [0, 1],
}


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """What a test imports from beside a recipe is forgotten again."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def documents() -> Batch:
    return Batch(["One.", "Two."], ["First", None], ['{"n": 1}', None], FACTS)


def applied(code: str, folder: Path, call: str = "mine:shorten") -> Batch:
    (folder / "mine.py").write_text(code)
    batch = documents()
    function_step(Function(call=call), folder)(batch)
    return batch


def error_of(code: str, folder: Path, call: str = "mine:shorten") -> tuple[type, str]:
    with pytest.raises(SteepError) as error:
        applied(code, folder, call)
    return error.type, str(error.value)


def test_a_function_beside_the_recipe_returns_the_new_text(tmp_path: Path) -> None:
    batch = applied("def shorten(document):\n    return document['text'][:2]", tmp_path)
    assert batch.text == ["On", "Tw"]
    assert batch.drops == [None, None]


def test_a_document_for_which_it_returns_none_goes(tmp_path: Path) -> None:
    batch = applied("def shorten(document):\n    return None if document['title'] else 'kept'", tmp_path)
    assert batch.text[1] == "kept"
    assert [drop and (drop.reason, drop.cause) for drop in batch.drops] == [
        ("mine:shorten returned None", "mine:shorten returned None"),
        None,
    ]


def test_it_is_given_all_that_is_known_of_a_document(tmp_path: Path) -> None:
    applied("seen = []\ndef shorten(document):\n    seen.append(document)\n    return 'x'", tmp_path)
    first, second = sys.modules["mine"].seen
    assert first == {
        "text": "One.",
        "title": "First",
        "source": "blog",
        "url": "https://x.org/1",
        "published": PUBLISHED,
        "owner": "tea",
        "licence": "cc0",
        "meta": {"n": 1},
    }
    assert (second["title"], second["published"], second["meta"]) == (None, None, {})


def test_a_function_may_change_what_it_is_given_without_harm(tmp_path: Path) -> None:
    batch = applied("def shorten(document):\n    document.clear()\n    return 'x'", tmp_path)
    assert (batch.title, batch.meta) == (documents().title, documents().meta)


def test_it_may_import_its_neighbours_at_once_and_later(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("END = '!'")
    (tmp_path / "later.py").write_text("END = '?'")
    code = "import neighbour\ndef shorten(d):\n    import later\n    return neighbour.END + later.END"
    assert applied(code, tmp_path).text == ["!?", "!?"]


def test_a_function_may_be_in_a_package_or_installed(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "__init__.py").write_text("from steps.short import cut as shorten")
    (tmp_path / "steps" / "short.py").write_text("def cut(document):\n    return 'cut'")
    for call in ("steps:shorten", "steps.short:cut"):
        assert applied("", tmp_path, call).text == ["cut", "cut"]
    batch = documents()
    function_step(Function(call="json:dumps"), tmp_path / "elsewhere")(Batch([], [], [], {"id": []}))
    assert batch.text == documents().text


def test_an_edited_function_is_read_again(tmp_path: Path) -> None:
    assert applied("def shorten(d):\n    return 'before'", tmp_path).text[0] == "before"
    assert applied("def shorten(d):\n    return 'the new one'", tmp_path).text[0] == "the new one"


def test_the_file_of_a_function_is_found_for_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    assert function_file("mine:a", tmp_path) == tmp_path / "mine.py"
    assert function_file("pack:a", tmp_path) == tmp_path / "pack" / "__init__.py"
    assert function_file("json:dumps", tmp_path) is None


# ------------------------------------------------------------------------------------------------------------- mistakes


def test_a_module_that_is_not_there_says_where_to_put_it(tmp_path: Path) -> None:
    kind, message = error_of("", tmp_path, "mien:shorten")
    assert (kind, message) == (
        UsageError,
        f"clean: function: there is no module 'mien': write {tmp_path}/mien.py, or install the package that holds it",
    )


def test_a_function_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    code = "def shorter(d): ...\ndef _own(d): ..."
    assert error_of(code, tmp_path) == (
        UsageError,
        f"clean: function: {tmp_path}/mine.py has no function 'shorten': it has shorter",
    )
    assert error_of("shorten = 3", tmp_path)[1].endswith("has no function 'shorten': it has none at all")


@pytest.mark.parametrize("name", ["json", "numpy"])
def test_a_file_that_is_called_like_another_module_must_be_renamed(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("def shorten(d):\n    return 'x'")
    kind, message = error_of("", tmp_path, f"{name}:shorten")
    assert kind is UsageError
    assert message.startswith(f"clean: function: {tmp_path}/{name}.py is called like another module (")
    assert message.endswith("): rename it")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found' ({file}:1: `import"),
        ("x = 1\nint('x')", "ValueError: invalid literal for int() with base 10: 'x' ({file}:2: `int('x')`)"),
        ("def shorten(d:\n    pass", "({file}:1)"),
    ],
)
def test_a_module_that_fails_is_told_with_the_line(tmp_path: Path, code: str, told: str) -> None:
    kind, message = error_of(code, tmp_path)
    assert kind is UsageError
    assert message.startswith("clean: function: mine:shorten cannot be imported: ")
    assert told.format(file=tmp_path / "mine.py") in message


def test_an_exception_is_told_with_the_document_and_the_line_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("import json\ndef cut(text):\n    return json.loads(text)")
    code = "from neighbour import cut\ndef shorten(d):\n    return cut('x') if d['title'] is None else 'x'"
    kind, message = error_of(code, tmp_path)
    assert kind is SteepError
    assert message == (
        "clean: function: mine:shorten failed on document 00bb: "
        "JSONDecodeError: Expecting value: line 1 column 1 (char 0) "
        f"({tmp_path}/neighbour.py:3: `return json.loads(text)`)"
    )


@pytest.mark.parametrize(("value", "kind"), [("3", "int"), ("b'x'", "bytes"), ("False", "bool"), ("d", "dict")])
def test_anything_but_text_and_none_is_a_mistake(tmp_path: Path, value: str, kind: str) -> None:
    assert error_of(f"def shorten(d):\n    return {value}", tmp_path) == (
        UsageError,
        f"clean: function: mine:shorten returned a value of type {kind} for document 00aa: "
        "it must return the new text, or None to drop the document",
    )


def test_finding_the_file_of_a_function_imports_nothing_heavy() -> None:
    code = "import sys, steep.paths; print({'daft', 'numpy', 'pyarrow', 'torch'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"

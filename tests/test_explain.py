"""`steep clean --explain`: what each step did to one document."""

from __future__ import annotations

import io
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from steep.clean import clean_files
from steep.config import read_recipe
from steep.errors import RunError, UsageError
from steep.explain import Change, explain, find, print_changes
from steep.records import Document, document_schema
from steep.runs import Run

RECIPE = """
name: explained
gather:
  - files: nothing.txt
clean:
  - whitespace
  - boilerplate: {min_documents: 5, min_share: 0.5}
  - redact: [email]
  - deduplicate
  - length: {min_words: 4}
"""
FOOTER = "Subscribe to the Steam Letter, four times a year."
BODIES = (
    "The kettle sings when the water is ready, and the tin roof answers it.\nWrite to letter@kettles.example today.",
    "A heron stood on the slip all morning and would not be moved by anything we said.",
    "We hammer the copper thin, and thinner, until the light comes through it like tea.",
    "Old Margaret turned four spouts before noon and did not look up once, not even for cake.",
    "The harbourmaster  took a sandwich that was not his, and the cat saw him do it.",
    "Nobody ever wept over a plug, said Dot, and put the telephone back in its drawer.",
)
DOCUMENTS = [
    *(Document(f"{body}\n{FOOTER}", source="site", url=f"https://k.example/{n}") for n, body in enumerate(BODIES)),
    Document(BODIES[2], source="posts", url="https://posts.example/copy"),
    Document("Too\tshort.", source="posts", url="https://posts.example/short", title="Short"),
    Document("Twice the address, with the first of two texts.", source="posts", url="https://posts.example/twice"),
    Document("Twice the address, and this is what it says later.", source="posts", url="https://posts.example/twice"),
]


def write(path, found):
    """In row groups of four."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [document.row() for document in found]
    pq.write_table(pa.Table.from_pylist(rows, schema=document_schema()), path, row_group_size=4)
    return path


def clean(folder, text, found):
    """A cleaned run with its recipe."""
    (folder / "recipe.yaml").write_text(text)
    recipe = read_recipe(folder / "recipe.yaml")
    run = Run(folder / "explained")
    gathered = write(run.folder / "gather" / "documents" / "part-0.parquet", found)
    clean_files([gathered], recipe.recipe.clean, folder=folder, work=run.folder / "clean")
    run.write({"stages": {"gather": {}, "clean": {}}, "recipe": recipe.stored})
    return run, recipe


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    return clean(tmp_path_factory.mktemp("explain"), RECIPE, DOCUMENTS)


@pytest.fixture
def told(cleaned):
    """What is printed of a document, into a pipe."""
    run, recipe = cleaned
    return lambda which: printed(*explain(run, recipe.recipe, recipe.folder, which))


def printed(document, changes, **options):
    out = io.StringIO()
    print_changes(document, changes, Console(file=out, highlight=False, **({"soft_wrap": True} | options)))
    return out.getvalue()


def shown(before, after, **options):
    """Only the lines of the diff."""
    document = {"id": "d", "title": None, "url": None}
    return printed(document, [Change("step", before, after, {}, False, None)], **options).split("\n")[3:-3]


def test_each_step_says_what_it_did_and_shows_it(told):
    assert told("https://k.example/0") == (
        f"{DOCUMENTS[0].id}  https://k.example/0\n"
        "\nwhitespace: unchanged\n"
        "\nboilerplate: 1 changed, 1 removed\n"
        "  - Write to letter@kettles.example today.⏎\n"
        "  + Write to letter@kettles.example today.\n"
        f"  - {FOOTER}\n"
        "\nredact: 1 changed (email 1)\n"
        "  - Write to letter@kettles.example today.\n"
        "  + Write to [EMAIL] today.\n"
        "\ndeduplicate: kept\n"
        "\nlength: kept\n"
        "\nIt stays.\n"
    )


def test_what_cannot_be_seen_has_a_sign(told):
    assert "  - The harbourmaster··took a sandwich" in told("https://k.example/4")
    assert "whitespace: 1 changed\n  - Too→short.\n  + Too short.\n" in told("https://posts.example/short")


def test_the_step_that_dropped_a_document_ends_the_story_with_its_reason(told):
    copy, short = told("https://posts.example/copy"), told("https://posts.example/short")
    assert copy.endswith(f"\ndeduplicate: dropped\n\ndeduplicate drops it: duplicate of {DOCUMENTS[2].id}\n")
    assert short.endswith("\nlength: dropped\n\nlength drops it: 2 words, fewer than 4\n")
    assert short.startswith(f"{DOCUMENTS[7].id}  Short  https://posts.example/short\n")


def test_a_document_is_found_by_its_id_or_the_beginning_of_it(told):
    id_ = DOCUMENTS[5].id
    assert told(id_) == told(id_[:8]) == told("https://k.example/5")


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("zz", r"explained: no document has the id or the address 'zz'; `steep view` shows them"),
        ("https://posts.example/twice", r"'https://posts\.example/twice' may be any of 2 documents: \w{16}, \w{16}$"),
        ("", r"'' may be any of 10 documents: (\w{16}, ){4}\w{16} and 5 more$"),
    ],
)
def test_a_document_that_is_not_there_or_not_the_only_one_is_said(told, which, words):
    with pytest.raises(UsageError, match=words):
        told(which)


def test_a_run_that_is_not_cleaned_is_told_what_to_do(cleaned, tmp_path):
    _, recipe = cleaned
    with pytest.raises(RunError, match=r"the stage clean is not finished; run `steep clean RECIPE` first"):
        explain(Run(tmp_path), recipe.recipe, recipe.folder, "any")


def test_steps_that_were_changed_since_explain_nothing(cleaned):
    run, recipe = cleaned
    changed = read_recipe(recipe.path, ["clean.4.length.min_words=3"])
    with pytest.raises(UsageError, match=r"explained was cleaned by other steps than the recipe now says"):
        explain(run, changed.recipe, changed.folder, DOCUMENTS[0].id)


def test_the_place_of_a_document_is_counted_over_all_files(tmp_path):
    run = Run(tmp_path)
    run.write({"stages": {"gather": {}}})
    for number, part in enumerate((DOCUMENTS[:6], DOCUMENTS[6:])):
        write(tmp_path / "gather" / "documents" / f"part-{number}.parquet", part)
    for place, document in enumerate(DOCUMENTS):
        (found,) = find(run, document.id).to_pylist()
        assert (found["row"], found["text"]) == (place, document.text)


def test_a_document_of_which_a_step_leaves_nothing_is_dropped_by_it(tmp_path):
    documents = [Document(text) for text in ("<br><hr>", "Some words that stay where they are.")]
    run, recipe = clean(tmp_path, RECIPE.partition("clean:")[0] + "clean:\n  - markup\n  - length\n", documents)
    text = printed(*explain(run, recipe.recipe, tmp_path, documents[0].id))
    assert text.endswith("markup: dropped\n  - <br><hr>\n\nmarkup drops it: nothing is left of it\n")


# ------------------------------------------------------------------------------------------------------------ the diff


def test_pieces_that_became_each_other_stand_together():
    before = ["## Kettles\n", "They sing.\n", "{{< menu >}}\n", "## Herons, and what they want\n", "They stand.\n"]
    after = ["Kettles\n", "They sing.\n", "Herons, and what they want\n", "They stand.\n"]
    assert shown(before, after) == [
        *("  - ## Kettles⏎", "  + Kettles⏎"),
        "  - {{< menu >}}⏎",
        *("  - ## Herons, and what they want⏎", "  + Herons, and what they want⏎"),
    ]


def test_in_a_terminal_the_words_that_differ_are_marked_and_long_lines_are_indented():
    before, after = "See [the kettle](https://k.example) and the cat. ", "See the kettle and the dog. "
    lines = shown([before], [after], force_terminal=True, width=40, soft_wrap=False)
    marked = [re.findall(r"\x1b\[7;3[12]m([^\x1b]*)", line) for line in lines]
    assert marked == [["[", "](https://k.example)"], ["cat"], ["dog"]]
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    assert [line[:4] for line in plain] == ["  - ", "    ", "  + "]
    assert max(map(len, plain)) <= 40


def test_words_are_not_marked_where_it_is_another_text():
    lines = shown(["The kettle sings."], ["Nobody, wept over; plugs"], force_terminal=True, width=80)
    assert not any("\x1b[7" in line for line in lines)


def test_a_long_passage_that_differs_throughout_is_shown_in_time():
    before, after = ([f"{word} {number}.\n" for number in range(3000)] for word in ("old", "new"))
    assert len(shown(before, after)) == 6000


def test_nothing_in_a_document_commands_the_terminal():
    evil = "\x1b[2J\x9b31m\u202e"
    document = {"id": "d", "title": evil, "url": evil}
    out = printed(document, [Change("function", [evil], ["text"], {}, False, evil)])
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out) == []
    assert out.count("␛[2J�31m�") == 4

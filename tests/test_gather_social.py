"""Apify exports: only posts of the owner, and never what others wrote."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from steep.gather import gather_documents
from steep.gather.social import social_documents
from steep.recipe.gather import SocialSource
from steep.records import Document, Failure

PLANTED = "zzstranger"
"""Stands in every field that holds others: no document may hold it."""
COMMENT = {"id": "9", "text": f"Lovely, says {PLANTED}", "ownerUsername": PLANTED, "owner": {"username": PLANTED}}
TAGGED = {"id": "8", "username": PLANTED, "full_name": PLANTED, "profile_pic_url": f"https://example.com/{PLANTED}"}


def instagram(owner: str, caption: str | None) -> dict[str, Any]:
    return {
        "inputUrl": f"https://example.com/{PLANTED}",
        "id": "1",
        "shortCode": "abc",
        "caption": caption,
        "url": "https://example.com/p/abc/",
        "timestamp": "2023-11-10T14:35:14.000Z",
        "ownerUsername": owner,
        "ownerFullName": "Hollow Oak",
        "alt": f"Photo tagging @{PLANTED}",
        "locationName": f"House of {PLANTED}",
        "mentions": [PLANTED],
        "firstComment": COMMENT["text"],
        "latestComments": [COMMENT | {"replies": [COMMENT]}, COMMENT],
        "childPosts": [instagram_child()],
        "taggedUsers": [TAGGED],
        "coauthorProducers": [TAGGED],
        "musicInfo": {"artist_name": PLANTED},
    }


def instagram_child() -> dict[str, Any]:
    return {"id": "2", "shortCode": "abd", "caption": f"A child by {PLANTED}", "ownerUsername": PLANTED}


def facebook(name: str, text: str, user_id: str = "7", page: str = "Hollow Oak") -> dict[str, Any]:
    return {
        "postId": "3",
        "facebookId": "7",
        "pageName": page,
        "url": "https://example.com/posts/3",
        "time": "2022-03-08T12:47:20.000Z",
        "text": text,
        "user": {"id": user_id, "name": name, "profileUrl": f"https://example.com/{name.lower().replace(' ', '')}"},
        "collaborators": [{"name": PLANTED, "url": f"https://example.com/{PLANTED}"}],
        "topComments": [COMMENT],
        "comments": 1,
        "sharedPost": {"text": f"What {PLANTED} shared,\nin two lines", "user": {"name": PLANTED}},
        "media": [{"owner": {"name": PLANTED}, "ocrText": f"May be an image of {PLANTED}"}],
        "previewTitle": f"A page by {PLANTED}",
    }


INSTAGRAM_COMMENT = {"postUrl": "https://example.com/p/abc/", "commentUrl": "https://example.com/c/1", **COMMENT}
FACEBOOK_COMMENT = {
    "postId": "3",
    "pageName": "Hollow Oak",
    "commentUrl": "https://example.com/3?c=1",
    "profileName": PLANTED,
    "text": "A comment",
}


def flattened(value: Any, key: str = "") -> dict[str, Any]:
    """As in Apify's CSV: `user/name`, `latestComments/0/text`."""
    if isinstance(value, Mapping):
        pairs: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return {key: value}
    return {name: inner for part, deep in pairs for name, inner in flattened(deep, f"{key}/{part}".lstrip("/")).items()}


def table(items: list[Any]) -> str:
    rows = [flattened(item) for item in items]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(column for row in rows for column in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


FORMATS: dict[str, Callable[[list[Any]], str]] = {
    "json": json.dumps,
    "jsonl": lambda items: "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items),
    "csv": table,
}


def read(
    folder: Path, content: Any, owner: str | list[str], suffix: str = "json", **options: Any
) -> tuple[list[Document], list[str]]:
    """``content``: the items of the export, or the text or bytes of the file."""
    path = folder / f"posts.{suffix}"
    content = FORMATS[suffix](content) if isinstance(content, list) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    failures: list[Failure] = []
    source = SocialSource(social=path.name, owner=owner, **options)
    documents = list(social_documents(source, folder=folder, on_failure=failures.append))
    return documents, [failure.reason for failure in failures]


def test_an_instagram_post_becomes_a_document(tmp_path: Path) -> None:
    (document,), failures = read(tmp_path, [instagram("hollowoak", "Mind the whistle. 🐈")], "@HollowOak")
    assert not failures
    assert document == Document(
        text="Mind the whistle. 🐈",
        source="posts.json",
        url="https://example.com/p/abc/",
        published=datetime(2023, 11, 10, 14, 35, 14, tzinfo=UTC),
        owner="hollowoak",
        meta={"network": "instagram", "post": "1"},
    )


def test_a_facebook_post_becomes_a_document(tmp_path: Path) -> None:
    (document,), _ = read(tmp_path, [facebook("Hollow Oak", "Low cloud this morning.")], "hollow oak")
    assert (document.text, document.owner) == ("Low cloud this morning.", "Hollow Oak")
    assert document.published == datetime(2022, 3, 8, 12, 47, 20, tzinfo=UTC)
    assert document.meta == {"network": "facebook", "post": "3"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_that_others_wrote_is_kept(tmp_path: Path, suffix: str) -> None:
    shared = "What zzstranger shared, in two lines"
    items = [
        instagram("hollowoak", "Ours."),
        instagram(PLANTED, "Not ours, @hollowoak, who is a co-author."),
        instagram("", "By nobody."),
        facebook("Hollow Oak", "Ours, too."),
        facebook("Hollow Oak", f"Our words.\n\n{shared}"),
        facebook("Hollow Oak", shared),
        facebook(PLANTED, "A visitor's post on our page.", user_id="8"),
        INSTAGRAM_COMMENT,
        FACEBOOK_COMMENT,
    ]
    documents, failures = read(tmp_path, items, ["hollowoak", "Hollow Oak"], suffix)
    assert [document.text for document in documents] == ["Ours.", "Ours, too.", "Our words."]
    assert not failures
    assert PLANTED not in str([document.row() for document in documents]).lower()


def test_the_words_of_a_post_that_ends_like_the_one_it_shares_are_kept(tmp_path: Path) -> None:
    post = facebook("Hollow Oak", "Nothing beats tea") | {"sharedPost": {"text": "tea"}}
    assert [document.text for document in read(tmp_path, [post], "Hollow Oak")[0]] == ["Nothing beats tea"]


def test_the_three_formats_give_the_same_documents(tmp_path: Path) -> None:
    text = 'Five lines,\n"quoted", 👩🏽‍🌾 🇮🇳 #️⃣ and ½ a cup; all\tthere\n\nचाय #tea'
    items = [instagram("hollowoak", text), instagram("hollowoak", None), facebook("Hollow Oak", text)]
    found = [read(tmp_path, items, ["hollowoak", "Hollow Oak"], suffix, name="posts")[0] for suffix in FORMATS]
    assert len(found[0]) == 2
    assert [document.text for document in found[0]] == [text] * 2
    assert found[0] == found[1] == found[2]


def test_a_page_may_be_named_by_its_handle(tmp_path: Path) -> None:
    documents, _ = read(tmp_path, [facebook("Hollow Oak", "Ours.", page="hollow.oak.7")], "hollow.oak.7")
    assert len(documents) == 1


@pytest.mark.parametrize(
    ("profile", "owner"),
    [
        ("https://www.facebook.com/hollow.oak?__tn__=-UC", "hollow.oak"),
        ("https://www.facebook.com/profile.php?id=100", "100"),
        ("https://www.facebook.com/hollow.oak/", "hollow.oak"),
    ],
)
def test_a_page_may_be_named_as_its_address_does(tmp_path: Path, profile: str, owner: str) -> None:
    post = facebook("Hollow Oak Ltd", "Ours.", page="Other") | {
        "user": {"name": "Hollow Oak Ltd", "profileUrl": profile}
    }
    assert len(read(tmp_path, [post], owner)[0]) == 1


def test_a_name_is_the_same_however_its_letters_are_stored(tmp_path: Path) -> None:
    assert len(read(tmp_path, [facebook("Cafe\u0301 Oak", "Ours.")], "CAFÉ Oak")[0]) == 1


def test_a_visitor_without_a_name_is_not_taken_for_the_page(tmp_path: Path) -> None:
    posts = [facebook("x", "Ours.") | {"user": None}, facebook("x", "A visitor's.") | {"user": {"id": "8"}}]
    assert [document.text for document in read(tmp_path, posts, "Hollow Oak")[0]] == ["Ours."]


def test_posts_without_text_are_no_failures(tmp_path: Path) -> None:
    items = [instagram("hollowoak", caption) for caption in ("Text.", "", None, " ", "#tea #chai")]
    documents, failures = read(tmp_path, items, "hollowoak", hashtags="strip")
    assert (len(documents), failures) == (1, [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "Hi @hollow_oak @kettle_club\n\n#GoodTea"),
        ({"hashtags": "split"}, "Hi @hollow_oak @kettle_club\n\nGood Tea"),
        ({"hashtags": "strip"}, "Hi @hollow_oak @kettle_club"),
        ({"mentions": "split"}, "Hi @hollow_oak kettle club\n\n#GoodTea"),
        ({"mentions": "strip"}, "Hi @hollow_oak\n\n#GoodTea"),
    ],
)
def test_tags_are_treated_as_the_recipe_says(tmp_path: Path, options: dict[str, str], expected: str) -> None:
    posts = [instagram("hollow_oak", "Hi @hollow_oak @kettle_club\n\n#GoodTea")]
    assert read(tmp_path, posts, "hollow_oak", **options)[0][0].text == expected


def test_a_page_that_is_mentioned_by_the_name_it_shows_is_the_owner(tmp_path: Path) -> None:
    post = facebook("Hollow Oak", "@HollowOak @Visitor") | {"user": {"name": "Hollow Oak"}}
    (document,), _ = read(tmp_path, [post], "hollow oak", mentions="strip")
    assert document.text == "@HollowOak"


def test_an_owner_without_posts_is_met_with_the_names_that_there_are(tmp_path: Path) -> None:
    items = [instagram("hollowoak", "Ours."), instagram("influencer", "Theirs.")]
    _, (reason,) = read(tmp_path, items, "holowoak")
    assert reason == (
        "no post with text by 'holowoak'; there are posts by hollowoak, influencer; did you mean 'hollowoak'?"
    )


def test_visitors_are_not_named_among_them(tmp_path: Path) -> None:
    _, (reason,) = read(tmp_path, [facebook(PLANTED, "A visitor's.", user_id="8")], "brand")
    assert reason == "no post with text by 'brand'; there are posts by Hollow Oak"


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        ("json", "", "empty file"),
        ("json", "[{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"),
        ("json", '{"error": "x"}', "not an Apify export: a list of posts is expected"),
        ("json", "[]", "no posts in it"),
        ("json", '[1, "x", null]', "no posts in it"),
        ("json", b"\x00\x01\x02\x03" * 9, "binary, not text"),
        (
            "json",
            random.Random(0).randbytes(400).translate(None, bytes(range(128))),
            "in no encoding that is known; save",
        ),
        ("jsonl", "", "no posts in it"),
        ("csv", "", "no posts in it"),
        ("csv", "postId,text\n", "no posts in it"),
        (
            "csv",
            "postId;text\n1;Tea\n",
            "no column of posts (caption, pageName, postId, shortCode); there is postId;text",
        ),
        ("xlsx", b"PK\x03\x04", ".xlsx is no export that can be read: JSON, JSONL or CSV"),
        ("json.gz", gzip.compress(b"[1, 2, 3]" * 99, mtime=0)[:-9], "broken .gz file"),
    ],
)
def test_an_export_that_cannot_be_read_is_reported(
    tmp_path: Path, suffix: str, content: str | bytes, reason: str
) -> None:
    documents, (said,) = read(tmp_path, content, "hollowoak", suffix)
    assert not documents
    assert said.startswith(reason)


def test_only_the_broken_lines_are_lost(tmp_path: Path) -> None:
    line = json.dumps(instagram("hollowoak", "Ours."))
    documents, failures = read(tmp_path, f"{line}\n{{oops\n\n[1]\n{line}", "hollowoak", "jsonl")
    assert len(documents) == 2
    assert [reason.partition(":")[0] for reason in failures] == ["not JSON", "a JSON list, not an object"]


def test_only_the_broken_rows_are_lost(tmp_path: Path) -> None:
    rows = "shortCode,caption,ownerUsername\n1,Ours.,oak\n2,Torn\n\n3,Ours.,oak\n"
    documents, failures = read(tmp_path, rows, "oak", "csv")
    assert (len(documents), failures) == (2, ["2 cells where the header has 3"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_the_encoding_is_found_out(tmp_path: Path, suffix: str, encoding: str) -> None:
    text = "Crème brûlée – déjà vu, été à Genève, naïve œuvre. " * 9
    exported = json.dumps([instagram("oak", text)], ensure_ascii=False) if suffix == "json" else None
    content = exported or FORMATS[suffix]([instagram("oak", text)])
    (document,), _ = read(tmp_path, content.encode(encoding), "oak", suffix)
    assert document.text == text


def test_what_is_compressed_is_read_as_well(tmp_path: Path) -> None:
    content = gzip.compress(table([instagram("oak", "Ours.")]).encode())
    assert len(read(tmp_path, content, "oak", "csv.gz")[0]) == 1


def test_a_huge_cell_is_read(tmp_path: Path) -> None:
    (document,), _ = read(tmp_path, [instagram("oak", "Tea. " * 100_000)], "oak", "csv")
    assert len(document.text) == 500_000


def test_a_table_of_few_columns_is_enough(tmp_path: Path) -> None:
    facebook_rows = "pageName,text\nHollow Oak,Ours.\n"
    assert len(read(tmp_path, facebook_rows, "Hollow Oak", "csv")[0]) == 1
    instagram_rows = "ownerUsername,caption\noak,Ours.\n"
    assert len(read(tmp_path, instagram_rows, "oak", "csv")[0]) == 1


def test_what_the_export_itself_calls_an_error_is_reported(tmp_path: Path) -> None:
    items = [{"error": "not_found", "errorDescription": "Post does not exist"}, instagram("hollowoak", "Ours.")]
    for suffix in FORMATS:
        documents, failures = read(tmp_path, items, "hollowoak", suffix)
        assert (len(documents), failures) == (1, ["Apify says: Post does not exist"])


def test_fields_of_unexpected_types_are_no_text(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"text": ["x"], "user": "Hollow Oak", "sharedPost": [1], "url": {}, "time": 5, "postId": 3}
    documents, _ = read(tmp_path, [facebook("x", "Ours.") | odd, facebook("Hollow Oak", "Ours.")], "Hollow Oak")
    assert [document.text for document in documents] == ["Ours."]


def test_the_licence_is_kept_by_its_identifier(tmp_path: Path) -> None:
    assert read(tmp_path, [instagram("oak", "Ours.")], "oak", licence="CC BY 4.0")[0][0].licence == "cc-by-4.0"


def test_a_post_that_is_exported_twice_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([instagram("oak", "Ours.")] * 2))
    (tmp_path / "b.csv").write_text(table([instagram("oak", "Ours.")]))
    source = SocialSource(social=["a.json", "b.csv"], owner="oak")
    assert len(list(gather_documents([source], folder=tmp_path, state=tmp_path, on_failure=print))) == 1


@pytest.mark.skipif("STEEP_DATA" not in os.environ, reason="STEEP_DATA is not set")
@pytest.mark.parametrize("suffix", FORMATS)
def test_real_field_names_are_understood(steep_data: Path, tmp_path: Path, suffix: str) -> None:
    texts, owners, comments = [], ["Brand Tea", "brand_tea"], "mail me at jo@example.org"
    for path in sorted((steep_data / "social").glob("*.json")):
        content = path.read_text("utf-8")
        assert ("instagram" in path.name) == (comments in content)
        documents, failures = read(tmp_path, json.loads(content), owners, suffix)
        assert not failures
        assert all(document.published and document.url for document in documents)
        texts.append([document.text for document in documents])
        row = str([document.row() for document in documents])
        assert not any(name in row for name in ("user_", "influencer", comments))
    assert [len(found) for found in texts] == [12, 3]

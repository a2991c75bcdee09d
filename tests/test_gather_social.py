"""Apify exports: only posts of the owner, and never what others wrote."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from steep.gather import gather_documents
from steep.gather.social import social_documents
from steep.recipe.gather import SocialSource
from steep.records import Document, Failure

COMMENT = {"id": "9", "text": "Lovely, says a stranger", "ownerUsername": "stranger"}


def instagram(owner: str, caption: str | None) -> dict[str, Any]:
    return {
        "id": "1",
        "shortCode": "abc",
        "caption": caption,
        "url": "https://example.com/p/abc/",
        "timestamp": "2023-11-10T14:35:14.000Z",
        "ownerUsername": owner,
        "ownerFullName": "Hollow Oak",
        "firstComment": COMMENT["text"],
        "latestComments": [COMMENT],
        "childPosts": [{"id": "2", "shortCode": "abd", "caption": "of the same post"}],
    }


def facebook(name: str, text: str, user_id: str = "7", page: str = "Hollow Oak") -> dict[str, Any]:
    return {
        "postId": "3",
        "facebookId": "7",
        "pageName": page,
        "url": "https://example.com/posts/3",
        "time": "2022-03-08T12:47:20.000Z",
        "text": text,
        "user": {"id": user_id, "name": name, "profileUrl": f"https://example.com/{name.lower().replace(' ', '')}"},
        "topComments": [COMMENT],
        "sharedPost": {"text": "what a stranger shared"},
    }


def read(folder: Path, items: Any, owner: str | list[str]) -> tuple[list[Document], list[str]]:
    (folder / "posts.json").write_text(items if isinstance(items, str) else json.dumps(items))
    (folder / "zz.json").write_text(json.dumps([instagram("zz", "Always there.")]))
    failures: list[Failure] = []
    sources = [SocialSource(social="posts.json", owner=owner), SocialSource(social="zz.json", owner="zz")]
    documents = list(gather_documents(sources, folder=folder, state=folder, on_failure=failures.append))
    return documents[:-1], [failure.reason for failure in failures]


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


def test_nothing_that_others_wrote_is_kept(tmp_path: Path) -> None:
    items = [
        instagram("hollowoak", "Ours."),
        instagram("influencer", "Not ours, @hollowoak."),
        facebook("Hollow Oak", "Ours, too."),
        facebook("Visitor", "A visitor's post on our page.", user_id="8"),
        {"postUrl": "https://example.com/p/abc/", **COMMENT},
        {"postId": "3", "commentUrl": "https://example.com/3?c=1", "profileName": "Stranger", "text": "A comment"},
    ]
    documents, _ = read(tmp_path, items, ["hollowoak", "Hollow Oak"])
    assert [document.text for document in documents] == ["Ours.", "Ours, too."]
    assert "stranger" not in str([document.row() for document in documents]).lower()


def test_a_page_may_be_named_by_its_handle(tmp_path: Path) -> None:
    documents, _ = read(tmp_path, [facebook("Hollow Oak", "Ours.", page="hollow.oak.7")], "hollow.oak.7")
    assert len(documents) == 1


def test_posts_without_text_are_no_failures(tmp_path: Path) -> None:
    items = [instagram("hollowoak", caption) for caption in ("Text.", "", None, " ")]
    documents, failures = read(tmp_path, items, "hollowoak")
    assert (len(documents), failures) == (1, [])


def test_an_owner_without_posts_is_met_with_the_names_that_there_are(tmp_path: Path) -> None:
    items = [instagram("hollowoak", "Ours."), instagram("influencer", "Theirs.")]
    _, (reason,) = read(tmp_path, items, "holowoak")
    assert reason == (
        "no post with text by 'holowoak'; there are posts by hollowoak, influencer; did you mean 'hollowoak'?"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty file"),
        ("[{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"),
        ('{"error": "x"}', "not an Apify export: a list of posts is expected"),
        ("[]", "no post with text by 'hollowoak'"),
    ],
)
def test_an_export_that_cannot_be_read_is_reported(tmp_path: Path, content: str, reason: str) -> None:
    assert read(tmp_path, content, "hollowoak") == ([], [reason])


def test_what_the_export_itself_calls_an_error_is_reported(tmp_path: Path) -> None:
    items = [{"error": "not_found", "errorDescription": "Post does not exist"}, instagram("hollowoak", "Ours.")]
    documents, failures = read(tmp_path, items, "hollowoak")
    assert (len(documents), failures) == (1, ["the export says: Post does not exist"])


@pytest.mark.skipif("STEEP_DATA" not in os.environ, reason="STEEP_DATA is not set")
def test_real_field_names_are_understood(steep_data: Path) -> None:
    source = SocialSource(social="social/*.json", owner=["Brand Tea", "brand_tea"])
    documents = list(social_documents(source, folder=steep_data, on_failure=print))
    assert [document.meta["network"] for document in documents] == ["facebook"] * 12 + ["instagram"] * 3
    assert all(document.published and document.url for document in documents)

"""Posts from Apify's JSON exports of Facebook pages and Instagram.

Only what the named owner wrote: posts of others on the same page, reposts and comments are personal data of people
who were not asked, so nothing but the post's own text, address and date is read. A post without text (a picture) is
no document and no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable, find_encoding, open_text, readable
from steep.gather.rows import parse_json
from steep.paths import as_text, matching_files
from steep.recipe.gather import SocialSource
from steep.records import Document, Failure

OWNERS_SHOWN = 5


def social_documents(
    source: SocialSource, *, folder: Path, on_failure: Callable[[Failure], None]
) -> Iterator[Document]:
    for path in matching_files(source.social, folder):
        name = source.name or as_text(path.name)
        try:
            with readable(path):
                items = _items(path)
            for number, item in enumerate(items, 1):
                if isinstance(item, Mapping) and "error" in item:  # how Apify says that it got nothing
                    reason = item.get("errorDescription") or item["error"]
                    on_failure(Failure(name, f"{path}:item {number}", f"the export says: {reason}"))
            yield from _posts(items, source, name)
        except Unreadable as error:
            on_failure(Failure(name, str(path), str(error)))


def _items(path: Path) -> list[Any]:
    with open_text(path, find_encoding(path)) as stream:
        text = stream.read()
    if not text.strip():
        raise Unreadable("empty file")
    try:
        items = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    if not isinstance(items, list):
        raise Unreadable("not an Apify export: a list of posts is expected")
    return items


def _posts(items: list[Any], source: SocialSource, name: str) -> Iterator[Document]:
    owners = {_plain(owner) for owner in ([source.owner] if isinstance(source.owner, str) else source.owner)}
    others: dict[str, None] = {}
    found = False
    for item in items:
        post = _post(item, name)
        if post is None:
            continue
        names, document = post
        if owners.isdisjoint(map(_plain, names)):
            others.update(dict.fromkeys(names))
        elif document.text.strip():
            found = True
            yield document
    if not found:
        raise Unreadable(_no_posts(source.owner, list(others)))


def _no_posts(owner: str | list[str], others: list[str]) -> str:
    wanted = owner if isinstance(owner, str) else ", ".join(owner)
    near = get_close_matches(wanted, others, n=1)
    more = ", …" if len(others) > OWNERS_SHOWN else ""
    there = f"; there are posts by {', '.join(others[:OWNERS_SHOWN])}{more}" if others else ""
    return f"no post with text by {wanted!r}{there}" + (f"; did you mean {near[0]!r}?" if near else "")


def _post(item: Any, name: str) -> tuple[list[str], Document] | None:
    """The names that a post's author goes by, and the post; None for whatever else an export holds."""
    if not isinstance(item, Mapping):
        return None
    if "shortCode" in item and item.get("ownerUsername"):
        names, fields = [str(item["ownerUsername"])], ("instagram", "caption", "timestamp", "id")
    elif "postId" in item:
        names, fields = _facebook_names(item), ("facebook", "text", "time", "postId")
    else:
        return None
    network, text, time, key = fields
    return names, Document(
        text=str(item.get(text) or ""),
        source=name,
        url=item.get("url") or None,
        published=parse_date(item.get(time)),
        owner=names[0] if names else None,
        meta={"network": network, "post": item.get(key)},
    )


def _facebook_names(post: Mapping[str, Any]) -> list[str]:
    """The page's name is the author's only where the page itself wrote; visitors write on it, too."""
    user = post.get("user")
    user = user if isinstance(user, Mapping) else {}
    names = [user.get("name"), str(user.get("profileUrl") or "").rstrip("/").rpartition("/")[2]]
    if not user.get("name") or user.get("id") == post.get("facebookId"):
        names.append(post.get("pageName"))
    return [str(name) for name in names if name]


def _plain(owner: str) -> str:
    return owner.strip().removeprefix("@").casefold()

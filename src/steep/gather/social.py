"""Posts of Facebook pages and Instagram as Apify exports them: JSON, JSONL and CSV.

Only what the named owner wrote: posts of others on the same page, comments, tagged people and reshared text are of
people who were not asked. So an item is not searched for text: a document is made of the post's own text, address,
date and number, in fields that are named here, and whatever else an export holds is never looked at. A post without
text (a picture) is no document and no failure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from steep.gather.dates import parse_date
from steep.gather.decoding import Unreadable, find_encoding, readable
from steep.gather.rows import Report, Row, Rows, csv_rows, jsonl_rows, parse_json
from steep.gather.tags import rewrite
from steep.licences import licence_id
from steep.paths import as_text, kind_of, matching_files, open_text
from steep.recipe.gather import ApifySource, SocialSource
from steep.records import Document, Failure

OWNERS_SHOWN = 5
FIELDS = (
    *("error", "errorDescription", "inputUrl", "commentUrl", "profileName", "url"),
    *("id", "shortCode", "caption", "timestamp", "ownerUsername"),
    *("postId", "facebookId", "pageName", "user", "text", "time", "sharedPost"),
)
"""Of an item, all that is read: of any, of Instagram, of Facebook."""
NESTED = ("user", "sharedPost")
OF_A_POST = {"shortCode", "caption", "postId", "pageName"}


@dataclass(frozen=True, slots=True)
class Post:
    network: str
    number: str
    text: str
    published: str
    names: list[str]
    """What its author goes by."""
    account: str
    """Whose page it is from: may be told to the user where the author, maybe a visitor, may not."""


def social_documents(
    source: SocialSource, *, folder: Path, on_failure: Callable[[Failure], None]
) -> Iterator[Document]:
    for path in matching_files(source.social, folder):
        yield from _file_documents(path, source, on_failure)


def _file_documents(path: Path, source: SocialSource, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    name = source.name or as_text(path.name)

    def report(where: str, reason: str) -> None:
        on_failure(Failure(name, f"{path}:{where}", reason))

    try:
        with readable(path):
            yield from owned_posts(_items(path, report), source, name, report)
    except Unreadable as error:
        reason = str(error).replace("set `encoding`", "save it as UTF-8")
        on_failure(Failure(name, str(path), reason))


def _items(path: Path, report: Report) -> Rows:
    match kind_of(path):
        case ".json":
            return _array(path)
        case ".jsonl" | ".ndjson":
            return jsonl_rows(path, find_encoding(path), report)
        case ".csv" | ".tsv":
            return map(_nested, csv_rows(path, None, report))
    raise Unreadable(f"{path.suffix or 'a file without a suffix'} is no export that can be read: JSON, JSONL or CSV")


def _array(path: Path) -> Rows:
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
    return ((f"item {number}", item) for number, item in enumerate(items, 1) if isinstance(item, Mapping))


def _nested(numbered: tuple[str, Row]) -> tuple[str, Row]:
    """A row of CSV as the item that it was: Apify writes `user/name` for the name within `user`."""
    where, row = numbered
    if not OF_A_POST & row.keys():
        raise Unreadable(f"no column of posts ({', '.join(sorted(OF_A_POST))}); there is {', '.join(row)}")
    item: dict[str, Any] = {field: row[field] for field in FIELDS if field in row}
    for outer in NESTED:
        item[outer] = {key.removeprefix(f"{outer}/"): row[key] for key in row if key.startswith(f"{outer}/")}
    return where, item


def owned_posts(
    items: Iterable[tuple[str, Row]], source: SocialSource | ApifySource, name: str, report: Report
) -> Iterator[Document]:
    """The owner's posts as documents; `Unreadable` at the end where there was none with text."""
    named = [source.owner] if isinstance(source.owner, str) else source.owner
    owners = set(map(_plain, named))
    others: dict[str, None] = {}
    where, found = "", False
    for where, item in items:
        if item.get("error"):  # how Apify says that it got nothing
            report(where, f"Apify says: {item.get('errorDescription') or item['error']}")
        post = _post(item)
        if post is None:
            continue
        if owners.isdisjoint(map(_plain, post.names)):
            others[post.account] = None
            continue
        document = _document(post, item, source, name, owners)
        if document.text.strip():
            found = True
            yield document
    if not found:
        raise Unreadable(_no_posts(named, [other for other in others if other]) if where else "no posts in it")


def _no_posts(named: list[str], others: list[str]) -> str:
    wanted = ", ".join(named)
    near = get_close_matches(wanted, others, n=1)
    more = ", …" if len(others) > OWNERS_SHOWN else ""
    there = f"; there are posts by {', '.join(others[:OWNERS_SHOWN])}{more}" if others else ""
    return f"no post with text by {wanted!r}{there}" + (f"; did you mean {near[0]!r}?" if near else "")


def _document(post: Post, item: Row, source: SocialSource | ApifySource, name: str, owners: set[str]) -> Document:
    own = {known.replace(" ", "") for known in {*owners, *map(_plain, post.names)}}
    return Document(
        text=rewrite(post.text, hashtags=source.hashtags, mentions=source.mentions, own=own),
        source=name,
        url=_text(item, "url") or None,
        published=parse_date(post.published),
        owner=post.names[0],
        licence=licence_id(source.licence),
        meta={"network": post.network, "post": post.number},
    )


def _post(item: Row) -> Post | None:
    """None for whatever else an export holds."""
    if _text(item, "commentUrl") or _text(item, "profileName"):
        return None
    if _text(item, "shortCode") or _text(item, "caption"):
        author = _text(item, "ownerUsername")
        number, text, published = (_text(item, field) for field in ("id", "caption", "timestamp"))
        return Post("instagram", number, text, published, [author] if author else [], author)
    if _text(item, "postId") or _text(item, "pageName"):
        number, published, page = (_text(item, field) for field in ("postId", "time", "pageName"))
        return Post("facebook", number, _own_words(item), published, _facebook_names(item), page)
    return None


def _facebook_names(post: Row) -> list[str]:
    """The page's name is the author's only where the page itself wrote; visitors write on it, too."""
    user = _inner(post, "user")
    number, profile = _text(user, "id"), _text(user, "profileUrl")
    names = [_text(user, "name"), _handle(profile)]
    if not any((*names, number)) or number == _text(post, "facebookId"):
        names.append(_text(post, "pageName"))
    return [name for name in names if name]


def _handle(profile: str) -> str:
    """`brand.tea` of facebook.com/brand.tea, and the number of facebook.com/profile.php?id=1."""
    try:
        parts = urlsplit(profile)
    except ValueError:
        return ""
    return parse_qs(parts.query).get("id", [""])[0] or parts.path.rstrip("/").rpartition("/")[2]


def _own_words(post: Row) -> str:
    """The text of a post but for that of the one it shares, where that follows in lines of its own."""
    text, shared = _text(post, "text"), _text(_inner(post, "sharedPost"), "text")
    if not shared.strip():
        return text
    follows = r"\s+".join(map(re.escape, shared.split()))
    return re.sub(rf"(?:\A|\n)\s*{follows}\s*\Z", "", text)


def essence(item: Row) -> dict[str, Any]:
    """What there is to keep of an item until documents are made of it: nothing that is never read."""
    kept = {field: item[field] for field in FIELDS if field in item and field != "sharedPost"}
    return {**kept, "text": _own_words(item)} if "text" in item else kept


def _inner(item: Row, field: str) -> Row:
    value = item.get(field)
    return value if isinstance(value, Mapping) else {}


def _text(item: Row, field: str) -> str:
    value = item.get(field)
    return str(value) if isinstance(value, str | int) else ""


def _plain(owner: str) -> str:
    return unicodedata.normalize("NFKC", owner).strip().removeprefix("@").casefold()

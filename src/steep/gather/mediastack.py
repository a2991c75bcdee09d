"""The REST API of mediastack: pages of articles, and what its errors mean to the one who has to act on them.

Every request counts against a monthly quota that is paid for (100 requests on the free plan), so each page that came
is kept on disk and asked for once. The access key travels in the address; it is added below httpx, which logs and
reports addresses, by a transport: nothing above it ever holds an address with the key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, Self
from urllib.parse import quote, quote_plus, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from steep.errors import SourceError
from steep.gather.decoding import Unreadable
from steep.gather.http import Client, Kept, Reply, passing
from steep.gather.rows import parse_json
from steep.recipe.gather import NewsSource

PAGE = 100
"""Articles of a request, at most; all requests cost the same."""
SHORTEST_KEY = 8
"""A key below is no word that could be taken out of what the service says; real ones have 32 letters."""
LISTS = ("keywords", "categories", "countries", "languages", "sources")
MOST_SAID = 500
PASSING = ("rate_limit_reached", "internal_error")
USED_UP = {
    "usage_limit_reached": "the monthly quota of the access key is used up: it is renewed every month, and larger with "
    "another plan",
    "rate_limit_reached": "the service wants longer pauses between requests than steep makes",
}
ADVICE = {
    "invalid_access_key": "the access key in {variable} is not valid: copy it again from mediastack.com/dashboard",
    "missing_access_key": "the access key in {variable} did not arrive: is `address` ({address}) the service's own?",
    "inactive_user": "the account of the access key in {variable} is not active: see mediastack.com/dashboard",
    "https_access_restricted": "the plan of this access key has no HTTPS: set `address` to http://…, and know that "
    "the key then travels unencrypted",
    "function_access_restricted": "the plan of this access key does not include this: {function}",
    "invalid_api_function": "there is no such service at {address}: correct `address`",
    "404_not_found": "there is no such service at {address}: correct `address`",
    "validation_error": "it does not accept {values}: {said}",
}
BY_STATUS = {401: "invalid_access_key", 404: "404_not_found"}
"""What an answer means that has no words."""
RECIPE_KEYS = {"date": "since` and `until", "limit": "limit", "offset": "limit"}
"""Of parameters that the recipe calls otherwise."""


class UsedUp(SourceError):
    """No more articles for now; those that came are good."""


@dataclass(frozen=True, slots=True)
class Articles:
    """One page of them, as the service gives them."""

    rows: list[Any]
    last: bool
    fetched: datetime


class Refusal(NamedTuple):
    code: str
    said: str = ""
    parameters: Sequence[str] = ()


class Mediastack:
    """Close it by `with`."""

    def __init__(self, source: NewsSource, kept: Kept) -> None:
        self.address = f"{source.address.rstrip('/')}/news"
        self._source = source
        self._kept = kept
        self._query = query(source)
        self._key = _access_key(source.access_key)
        self._http = Client(
            timeout=source.timeout, user_agent=source.user_agent, transport=WithKey(self.address, self._key)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._http.__exit__(*raised)

    def page(self, offset: int) -> Articles:
        """`UsedUp` at the end of the quota; `SourceError` where the recipe, the key or the service is at fault."""
        reply = self._kept.once(f"offset {offset}", lambda: self._ask(offset))
        content = _content(reply)
        rows = content["data"]
        pagination = content.get("pagination")
        told = pagination if isinstance(pagination, Mapping) else {}
        # a plan may have shorter pages than asked for; the total may be too small, so a full page is never the last
        full = len(rows) >= min(int(self._query["limit"]), _number(told.get("limit")) or PAGE)
        more = offset + len(rows) < _number(told.get("total"))
        return Articles(rows, not rows or not (full or more), reply.fetched)

    def _ask(self, offset: int) -> Reply:
        try:
            reply = self._http.get(self.address, {**self._query, "offset": str(offset)}, again=_again)
        except Unreadable as error:
            raise self._stopped(offset, str(error)) from None
        reply = replace(reply, body=self._without_key(reply.body))
        refusal = _refusal(reply)
        if refusal.code in USED_UP or reply.status == 429:
            raise UsedUp(USED_UP.get(refusal.code, USED_UP["rate_limit_reached"]))
        if refusal.code and refusal.code not in PASSING:
            raise SourceError(f"mediastack: {self._advice(refusal)}")
        if reply.redirect:
            raise SourceError(self._elsewhere(reply.redirect))
        if reply.status != 200:
            raise self._stopped(offset, refusal.said or f"HTTP {reply.status}")
        if not isinstance(_content(reply).get("data"), list):
            raise self._stopped(offset, "the answer holds no articles" if reply.body.strip() else "an empty answer")
        return reply

    def _stopped(self, offset: int, why: str) -> SourceError:
        """Of what may be over in an hour. The pages so far are paid for, so nothing goes on without the rest."""
        before = f" after {offset:,} articles, which are kept" if offset else ""
        return SourceError(f"{self.address} stopped{before}: {why}. The same command goes on where it was")

    def _advice(self, refusal: Refusal) -> str:
        past = "articles of the past need another plan; leave out `since` and `until`"
        values = (f"`{RECIPE_KEYS.get(name, name)}`" for name in refusal.parameters)
        return ADVICE.get(refusal.code, "{code}: {said}").format(
            code=refusal.code,
            said=refusal.said,
            variable=self._source.access_key,
            address=self._source.address,
            function=past if self._source.since else refusal.said,
            values=", ".join(values) or "a value of the recipe",
        )

    def _elsewhere(self, to: str) -> str:
        address = urlsplit(to)._replace(query="", fragment="").geturl().removesuffix("/news")
        return f"{self.address} sends its callers to {address}: set `address` to it if you trust it with the access key"

    def _without_key(self, body: bytes) -> bytes:
        """What the service repeats of a request must not come into a message or a file."""
        if len(self._key) >= SHORTEST_KEY:
            for form in {self._key, quote(self._key, safe=""), quote_plus(self._key)}:
                body = body.replace(form.encode(), b"***")
        return body


class WithKey(httpx.BaseTransport):
    """Adds the key to each request on its way out, through the proxy that the environment names."""

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        self._inner = httpx.HTTPTransport(proxy=proxy if not proxy or "://" in proxy else f"http://{proxy}")
        self._key = key

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_add_param("access_key", self._key)
        return self._inner.handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )

    def close(self) -> None:
        self._inner.close()


def _access_key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SourceError(f"{variable} is not set: export {variable}=… with the access key of mediastack")
    return key


def query(source: NewsSource) -> dict[str, str]:
    """What the recipe asks for, in the parameters of the API: with a date it is the historical search."""
    asked = {key: ",".join(values) for key in LISTS if (values := getattr(source, key))}
    if source.since:
        asked["date"] = f"{source.since},{source.until}" if source.until else f"{source.since}"
    return {**asked, "sort": source.sort, "limit": str(min(PAGE, source.limit))}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _content(reply: Reply) -> Mapping[str, Any]:
    try:
        content = parse_json(reply.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _refusal(reply: Reply) -> Refusal:
    """Its code is empty where there is none."""
    error = _content(reply).get("error")
    if not isinstance(error, Mapping):
        return Refusal(BY_STATUS.get(reply.status, ""))
    context = error.get("context") or {}
    said = [str(error.get("message") or ""), json.dumps(context, ensure_ascii=False) if context else ""]
    parameters = list(context) if isinstance(context, Mapping) else []
    return Refusal(str(error.get("code") or "unknown"), " ".join(filter(None, said))[:MOST_SAID], parameters)


def _again(reply: Reply) -> bool:
    """A spent quota comes as 429, too, and asking again does not help; an empty or broken answer may come right."""
    code = _refusal(reply).code
    if code:
        return code in PASSING
    return passing(reply) or (reply.status == 200 and "data" not in _content(reply))

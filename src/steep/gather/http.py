"""HTTP for sources that are no crawl: an API, feeds, and the pages that they link to.

A request that fails in passing (429, 5xx, no answer) is made up to 5 times, after 1, 3, 9 and 27 seconds or as long
as the server asks for, up to 2 minutes: long enough for most limits by the minute, and a server that is gone costs
40 s. Reasons are put in words here; httpx's own exceptions, which hold addresses, end in this module.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Self
from urllib.parse import urljoin

import httpx

from steep.gather.decoding import Unreadable

# at these levels they log addresses and headers
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

TRIES = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 120.0
MAX_BYTES = 10_000_000
MOST_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
CODINGS = ("", "identity", "gzip", "deflate")
"""Of answers. With others 64 kB can unpack to more than memory holds before any limit sees it."""


@dataclass(frozen=True, slots=True)
class Reply:
    url: str
    """As asked for, without added parameters."""
    status: int
    headers: Mapping[str, str]
    """With small letters."""
    body: bytes
    fetched: datetime
    robots: str | None = None
    """What robots.txt said of the address, where it was asked."""

    @property
    def kind(self) -> str:
        """The media type: `text/html`."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def redirect(self) -> str | None:
        location = self.headers.get("location")
        with suppress(ValueError):  # an address that is none
            return urljoin(self.url, location) if location and self.status in REDIRECTS else None
        return None

    def good(self) -> Reply:
        """Itself; `Unreadable` where the status tells of an error."""
        if not 200 <= self.status < 300:
            raise Unreadable(f"HTTP {self.status}")
        return self


def passing(reply: Reply) -> bool:
    """Whether the same request may well succeed a little later."""
    return reply.status == 429 or reply.status >= 500


class Client:
    """GET requests without cookies, each within ``timeout`` seconds and `MAX_BYTES`; close it by `with`."""

    def __init__(
        self, *, timeout: float, user_agent: str, tries: int = TRIES, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._timeout = timeout
        self._tries = tries
        self._http = httpx.Client(
            headers={b"User-Agent": user_agent.encode(), b"Accept-Encoding": b"gzip, deflate"},
            timeout=timeout,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._http.close()

    def get(self, url: str, params: Mapping[str, str] | None = None, again: Callable[[Reply], bool] = passing) -> Reply:
        """The last answer, whatever its status, redirects not followed; `Unreadable` where there was none."""
        for tried in range(1, self._tries + 1):
            answer = self._try(url, params)
            if isinstance(answer, Reply) and not again(answer):
                return answer
            wait = _asked_to_wait(answer)
            if wait is None:
                wait = FIRST_WAIT * 3 ** (tried - 1)
            if tried == self._tries or wait > LONGEST_WAIT:
                break
            time.sleep(wait)
        if isinstance(answer, Reply):
            return answer
        raise Unreadable(f"{answer}, tried {tried} times")

    def _try(self, url: str, params: Mapping[str, str] | None) -> Reply | str:
        """The answer, or why there is none this time; `Unreadable` where there will never be one."""
        end = time.monotonic() + self._timeout
        try:
            with self._http.stream("GET", url, params=params) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = self._body(response, end)
                return Reply(url, response.status_code, headers, body, datetime.now(UTC))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise Unreadable(f"not a web address that can be asked for: {error}") from None
        except httpx.TimeoutException:
            return f"no complete answer within {self._timeout:g} s"
        except httpx.DecodingError:
            return "compressed in a way that cannot be undone"
        except httpx.TransportError as error:
            return _reason(error)

    def _body(self, response: httpx.Response, end: float) -> bytes:
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in CODINGS:
            raise Unreadable(f"compressed as {coding}, which was not asked for")
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise Unreadable(f"larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > end:  # a drop now and then never times out by itself
                raise httpx.ReadTimeout("")
        return bytes(body)


def follow(url: str, get: Callable[[str], Reply]) -> Reply:
    """The answer at the end of redirects, whatever its status; `Unreadable` where they have none."""
    trail = [url]
    while to := (reply := get(trail[-1])).redirect:
        if to in trail or len(trail) > MOST_REDIRECTS:
            raise Unreadable(f"redirect loop: {' -> '.join([*trail, to])}")
        trail.append(to)
    return reply


def _asked_to_wait(answer: Reply | str) -> float | None:
    return retry_after(answer.headers.get("retry-after", "")) if isinstance(answer, Reply) else None


def retry_after(text: str) -> float | None:
    """Seconds to wait by a header of that name, which holds them or a moment."""
    try:
        if text.isdecimal():
            return float(text)
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _reason(error: httpx.TransportError) -> str:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 5:
        causes.append(cause)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "host name not found"
    if isinstance(error, httpx.ProxyError | httpx.ConnectError):
        return f"no connection ({error})"
    return "connection lost"


class Kept:
    """Answers on disk, so that none is fetched twice: a file each, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def once(self, key: str, fetch: Callable[[], Reply]) -> Reply:
        """The answer of that key; fetched, and kept, only where it is not here yet."""
        path = self._folder / sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
        if path.exists():
            with suppress(ValueError):  # empty after a power cut
                return _unpacked(path.read_bytes())
        reply = fetch()
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(_packed(reply))
        part.replace(path)
        return reply


def _packed(reply: Reply) -> bytes:
    """A line of JSON, then the body. Of the headers only the type: others may hold what is nobody's business."""
    facts = [reply.url, reply.status, reply.headers.get("content-type", ""), reply.fetched.isoformat(), reply.robots]
    return json.dumps(facts).encode() + b"\n" + reply.body


def _unpacked(kept: bytes) -> Reply:
    line, _, body = kept.partition(b"\n")
    url, status, kind, fetched, robots = json.loads(line)
    return Reply(url, status, {"content-type": kind}, body, datetime.fromisoformat(fetched), robots)

"""A mediastack on loopback: real HTTP, the API's parameters, paging, plans, quota and errors, and all kinds of trouble.

Made from the shape of the public API; the articles are made up.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0fa1ce0fa1ce0fa1ce0fa1ce0fa1ce42"
VARIABLE = "TEST_MEDIASTACK_KEY"
LISTS = ("keywords", "categories", "countries", "languages", "sources")
FIELDS = {"categories": "category", "countries": "country", "languages": "language", "sources": "source"}
SORTS = ("published_desc", "published_asc", "popularity")
MESSAGES = {
    "invalid_access_key": (401, "You have not supplied a valid API Access Key."),
    "missing_access_key": (401, "You have not supplied an API Access Key."),
    "inactive_user": (401, "The account is inactive."),
    "https_access_restricted": (403, "Access Restricted - The Subscription Plan does not support HTTPS Encryption."),
    "function_access_restricted": (403, "The Subscription Plan does not support this API Function."),
    "invalid_api_function": (404, "The requested API endpoint does not exist."),
    "usage_limit_reached": (429, "The monthly usage limit has been reached."),
    "rate_limit_reached": (429, "The rate limit has been reached."),
    "validation_error": (422, "Validation error"),
    "internal_error": (500, "An internal error occurred."),
}

Answer = tuple[int, Mapping[str, str], bytes]
Trouble = Answer | Callable[[BaseHTTPRequestHandler], None]


def article(number: int, **fields: Any) -> dict[str, Any]:
    """The higher the number, the earlier it came out."""
    moment = datetime(2024, 5, 6, 12) - timedelta(hours=number)
    return {
        "author": f"Author {number % 7}",
        "title": f"Kettle {number} is on the boil",
        "description": f"The harbour reports that kettle {number} was heard as far as the lighthouse this morning.",
        "url": f"https://news.example.com/{number}",
        "source": "Harbour News",
        "image": None,
        "category": "general",
        "language": "en",
        "country": "gb",
        "published_at": f"{moment:%Y-%m-%dT%H:%M:%S}+00:00",
        **fields,
    }


def error(code: str, headers: Mapping[str, str] | None = None, context: Any = None) -> Answer:
    status, message = MESSAGES[code]
    inner = {"code": code, "message": message, **({"context": context} if context else {})}
    return status, headers or {}, json.dumps({"error": inner}).encode()


def slow(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that comes too late."""
    return lambda handler: time.sleep(seconds)


def dripping(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that never stops coming: a byte now and then."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(int(seconds / 0.05)):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    return drip


@dataclass
class Mediastack:
    articles: Sequence[Mapping[str, Any]]
    paid: bool = True
    """Other plans have neither HTTPS nor articles of the past."""
    quota: int | None = None
    """Requests that are left."""
    page: int = 100
    """The most that a request gets, whatever it asks for."""
    total: int | None = None
    """What it says that there is, where that is not the truth."""
    trouble: list[Trouble] = field(default_factory=list)
    """What the next requests get in place of an answer."""
    always: Trouble | None = None
    """What all requests get when there is no other trouble."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """Parameters of each, without the key."""
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    address: str = ""
    certificate: Path | None = None

    @property
    def offsets(self) -> list[int]:
        return [int(request["offset"]) for request in self.requests]

    def answer(self, path: str, asked: dict[str, str], key: str | None) -> Answer:
        if path != "/v1/news":
            return error("invalid_api_function")
        if key != KEY:
            return error("invalid_access_key" if key else "missing_access_key")
        if self.certificate and not self.paid:
            return error("https_access_restricted")
        if "date" in asked and not self.paid:
            return error("function_access_restricted")
        if wrong := list(_wrong(asked)):
            return error("validation_error", context={name: ["NO_SUCH_CHOICE_ERROR"] for name in wrong})
        if self.quota is not None:
            if not self.quota:
                return error("usage_limit_reached")
            self.quota -= 1
        return 200, {}, json.dumps(self.found(asked)).encode()

    def found(self, asked: Mapping[str, str]) -> dict[str, Any]:
        matching = [article for article in self.articles if _matches(article, asked)]
        matching.sort(key=lambda article: article["published_at"], reverse=asked.get("sort") != "published_asc")
        offset, limit = int(asked.get("offset", 0)), min(int(asked.get("limit", 25)), self.page)
        rows = matching[offset : offset + limit]
        total = len(matching) if self.total is None else self.total
        return {"pagination": {"limit": limit, "offset": offset, "count": len(rows), "total": total}, "data": rows}


def _wrong(asked: Mapping[str, str]) -> Iterator[str]:
    if asked.get("sort", SORTS[0]) not in SORTS:
        yield "sort"
    if not 1 <= int(asked.get("limit", 25)) <= 100:
        yield "limit"
    categories = [name.removeprefix("-") for name in asked.get("categories", "general").split(",")]
    if not {*categories} <= {"general", "business", "entertainment", "health", "science", "sports", "technology"}:
        yield "categories"
    try:
        [date.fromisoformat(day) for day in asked.get("date", "2024-01-01").split(",")]
    except ValueError:
        yield "date"


def _matches(article: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    days = asked.get("date", "0001-01-01,9999-12-31").split(",")
    if not days[0] <= str(article["published_at"])[:10] <= days[-1]:
        return False
    text = f"{article['title']} {article['description']}".lower()
    for name in LISTS:
        for value in filter(None, asked.get(name, "").split(",")):
            word = value.removeprefix("-").lower()
            there = word in text if name == "keywords" else word == str(article[FIELDS[name]]).lower()
            if there == value.startswith("-"):
                return False
    return True


@contextmanager
def serving(server: Mediastack, *, tls: Path | None = None) -> Iterator[Mediastack]:
    """``tls``: over HTTPS, with a certificate that is written to this folder."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            key = asked.pop("access_key", None)
            server.keys.append(key)
            server.requests.append(asked)
            server.times.append(time.monotonic())
            answer = server.trouble.pop(0) if server.trouble else server.always
            if callable(answer):
                self.close_connection = True
                answer(self)
                return
            status, headers, body = answer or server.answer(parts.path, asked, key)
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": f"{len(body)}",
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client hung up
                super().handle()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    if tls:
        server.certificate = write_certificate(tls)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    server.address = f"http{'s' if tls else ''}://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def write_certificate(folder: Path) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=2)).not_valid_after(now + timedelta(days=2))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path

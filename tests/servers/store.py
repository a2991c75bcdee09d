"""An object store on loopback that speaks as S3 does: objects, their parts, and lists of them; also a plain web server.

An object under `private/` is refused, one under `short/` ends in its middle, one under `busy/` answers 503.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Store(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        """``objects``: content by bucket and key, as `tea/posts/a.jsonl`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = dict(objects)
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(objects: Mapping[str, bytes]) -> Iterator[Store]:
    with Store(objects) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        path, asked = unquote(parts.path).strip("/"), parse_qs(parts.query)
        if "list-type" in asked:
            self.answer(200, self.listing(path, asked))
        elif "private" in path:
            self.answer(403)
        elif "busy" in path:
            self.answer(503)
        elif path not in self.server.objects:
            self.answer(404)
        else:
            self.answer_object(self.server.objects[path], cut="short" in path)

    def listing(self, bucket: str, asked: Mapping[str, list[str]]) -> bytes:
        prefix = asked.get("prefix", [""])[0]
        keys = [key.removeprefix(f"{bucket}/") for key in self.server.objects if key.startswith(f"{bucket}/{prefix}")]
        here = [key for key in keys if "/" not in key.removeprefix(prefix)]
        folders = {prefix + key.removeprefix(prefix).partition("/")[0] + "/" for key in keys if key not in here}
        found = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in here)
        found += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    def answer_object(self, content: bytes, *, cut: bool) -> None:
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(len(content))}
        if cut:
            self.close_connection = True
            self.answer(200, content[: len(content) // 2], headers)
        elif asked := self.headers.get("Range"):
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            span = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self.answer(206, part, {"Content-Range": span})
        else:
            self.answer(200, content, headers)

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

"""The Hugging Face hub on loopback: facts, trees and files of the data sets in a folder, as its client asks for them.

`gated` in a data set's name makes it gated, `busy` gives 503.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[tuple[str, str | None]] = []
        """Path and authorization of each."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    with Hub(root) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Authorization")))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[0] == "api"
        name, rest = "/".join(parts[2:4] if api else parts[1:3]), parts[4:] if api else parts[3:]
        self.folder = self.server.root / name
        if "busy" in name:
            self.answer(503)
        elif not self.folder.is_dir():
            self.answer(401, error="RepoNotFound")
        elif len(rest) > 1 and rest[1] not in ("main", COMMIT):
            self.answer(404, error="RevisionNotFound")
        elif "gated" in name and (not api or rest == ["auth-check"]):
            self.answer(401, error="GatedRepo")
        elif api:
            self.answer_facts(name, rest)
        else:
            self.answer_file(self.folder.joinpath(*rest[2:]))

    def answer_facts(self, name: str, rest: list[str]) -> None:
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": str(path.relative_to(self.folder))} for path in files]
            gated = "gated" in name and "auto"
            self.answer(200, {"id": name, "sha": COMMIT, "siblings": siblings, "gated": gated, "tags": []})
        elif rest[0] == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}
            self.answer(200, {"branches": [main], "tags": [{**main, "name": "v1"}], "converts": []})
        elif rest[0] == "tree":
            self.answer(200, [self.entry(path) for path in files])
        else:
            self.answer(200, [self.entry(path) for path in files if path.name in self.asked["paths"]])

    def entry(self, path: Path) -> dict[str, Any]:
        oid = hashlib.sha1(path.read_bytes()).hexdigest()
        return {"type": "file", "oid": oid, "size": path.stat().st_size, "path": str(path.relative_to(self.folder))}

    def answer_file(self, path: Path) -> None:
        if not path.is_file():
            self.answer(404, error="EntryNotFound")
            return
        content, length = path.read_bytes(), path.stat().st_size
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last or length) + 1]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{length}"
        self.answer(206 if asked else 200, content, headers=headers)

    def answer(self, status: int, body: Any = b"", error: str = "", headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        facts = {"Content-Type": kind, "Content-Length": str(len(content)), "X-Error-Code": error, **(headers or {})}
        self.send_response(status)
        for key, value in facts.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

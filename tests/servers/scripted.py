"""A web server on loopback that answers as told, address by address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Mapping[str, str], bytes]
Script = Answer | Callable[[BaseHTTPRequestHandler], None]


def page(body: str | bytes, kind: str = "text/html; charset=utf-8") -> Answer:
    return 200, {"Content-Type": kind}, body.encode() if isinstance(body, str) else body


def status(code: int, **headers: str) -> Answer:
    return code, {name.replace("_", "-"): value for name, value in headers.items()}, b""


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, Location=to)


@dataclass
class Server:
    answers: dict[str, Script | list[Script]]
    """Of several, each is given once, and the last from then on."""
    hits: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    delay: float = 0.0
    """Seconds before each answer."""

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self, path: str) -> Script:
        answer = self.answers.get(path, status(404))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


@contextmanager
def serving(answers: Mapping[str, Script | list[Script]], *, delay: float = 0.0, port: int = 0) -> Iterator[Server]:
    server = Server(dict(answers), delay=delay)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.hits.append(f"POST {self.path}")
            self.send_error(405)

        def do_GET(self) -> None:
            server.hits.append(self.path)
            server.times.append(time.monotonic())
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(server.delay)
            answer = server.next(self.path)
            if callable(answer):
                answer(self)
                return
            code, headers, body = answer
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client hung up
                super().handle()

    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    server.port = http.server_port
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()

"""The demo: a made-up company whose website lies in the package, served on this machine only and crawled for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from steep.errors import UsageError

FOLDER = Path(__file__).parent / "data" / "demo"
RECIPE = FOLDER / "demo.yaml"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def _past_proxies() -> Iterator[None]:
    """A proxy of the environment cannot reach this machine's loopback; child processes inherit the exception."""
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    exceptions = ",".join(filter(None, dict.fromkeys([*before.values(), "127.0.0.1"])))
    os.environ.update(dict.fromkeys(before, exceptions))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def serve_site(port: int) -> Iterator[str]:
    """Serve the company's website on the loopback address; yields where. Raises UsageError where the port is taken."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(FOLDER / "site")))
    except OSError as error:
        problem = f"port {port} of this machine is taken ({error.strerror})"
        raise UsageError(f"{problem}: choose another with --port") from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with _past_proxies():
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""A Ray cluster as the place where Daft works."""

from __future__ import annotations

import logging
import socket
from urllib.parse import urlsplit

from steep.errors import SteepError

PATIENCE = 10
"""Seconds for an answer; Ray itself would wait for many minutes."""


def join(address: str) -> None:
    """Let Daft work on a Ray cluster. Raises SteepError where that cannot be reached."""
    import daft

    try:
        import ray
    except ImportError:
        raise SteepError("`cluster` needs Ray: pip install 'steep[ray]'") from None
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise SteepError(f"no Ray cluster answers at {address!r} ({error}): start it, or leave out `cluster`") from None
    daft.set_runner_ray(noop_if_initialized=True)


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port``; other addresses are names that Ray knows."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), PATIENCE).close()

"""A Ray cluster as the place where Daft works."""

from __future__ import annotations

import logging

from steep.errors import SteepError


def join(address: str) -> None:
    """Let Daft work on a Ray cluster. Raises SteepError where that cannot be reached."""
    import daft

    try:
        import ray
    except ImportError:
        raise SteepError("`cluster` needs Ray: pip install 'steep[ray]'") from None
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
        raise SteepError(f"no Ray cluster answers at {address!r} ({error}): start it, or leave out `cluster`") from None
    daft.set_runner_ray(noop_if_initialized=True)

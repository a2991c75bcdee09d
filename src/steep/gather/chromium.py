"""Which browser renders pages, and how it is started: without windows, and without talking to anyone but the site.

The sandbox stays on unless the user is root, under whom Chromium refuses to start with it.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Any

from steep.errors import SourceError

VARIABLE = "STEEP_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
)


def chromium() -> str:
    """The path of the browser; `SourceError` where there is none, or no way to drive it."""
    if find_spec("scrapy_playwright") is None:
        raise SourceError("`render` needs scrapy-playwright: pip install 'steep[web]'")
    named = os.environ.get(VARIABLE)
    if named:
        if shutil.which(named) is None:
            raise SourceError(f"{VARIABLE} names {named!r}, which is no program")
        return named
    found = next(filter(None, map(shutil.which, NAMES)), None) or _playwrights_own()
    if found is None:
        raise SourceError(
            "`render` needs Chromium: install it (apt install chromium, or playwright install chromium), or name it in"
            f" the environment variable {VARIABLE}"
        )
    return found


def launch_options(path: str) -> dict[str, Any]:
    return {
        "executable_path": path,
        "headless": True,
        "chromium_sandbox": not is_root(),
        "args": list(FLAGS),
        "handle_sigint": False,  # Ctrl-C is the crawler's business
    }


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.access(path, os.X_OK) else None

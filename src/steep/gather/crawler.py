"""The crawler, run as ``python -m steep.gather.crawler FOLDER`` because Scrapy's reactor cannot start twice.

What to crawl comes as a line of JSON on standard input, so that a secret in it reaches no file. Standard output tells
the parent how far it is, one JSON object a line. When standard input closes the crawler ends between two pages: so it
does when the parent wants it to, and when the parent dies.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scrapy.crawler import CrawlerProcess

from steep.gather.manners import Patience, Redirects, Robots
from steep.gather.spider import Site, tell


def settings(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The pace: one request under way, so that a server that answers in 0.1 s gets 10 a second, and never over 50."""
    return {
        "USER_AGENT": plan["user_agent"],
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": 0.2,
        "AUTOTHROTTLE_TARGET_CONCURRENCY": 1.0,
        "DOWNLOAD_DELAY": 0.02,
        "DOWNLOAD_DELAY_JITTER": 0,  # a Crawl-delay is a minimum
        "CONCURRENT_REQUESTS_PER_DOMAIN": 4,
        "CONCURRENT_ITEMS": 1,  # for each answer Scrapy starts so many tasks; 100 of them took a sixth of the time
        "DOWNLOAD_TIMEOUT": plan["timeout"],
        "DOWNLOAD_MAXSIZE": plan["max_bytes"],
        "DOWNLOAD_WARNSIZE": 0,
        "METAREFRESH_MAXDELAY": 5,  # a page that reloads itself every minute is no redirect
        "DOWNLOADER_MIDDLEWARES": {Redirects: 50, Robots: 100, Patience: 560},
        "COOKIES_ENABLED": False,
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,  # a port that runs any code sent to it
        "LOG_FILE": str(folder / "crawl.log"),
        "LOG_LEVEL": "INFO",
        **(_browser() if plan["render"] != "never" else {}),
    }


def _browser() -> dict[str, Any]:
    from steep.gather import chromium, rendering

    return rendering.settings(chromium.chromium())


def end_with_parent(call_from_thread: Callable[..., Any]) -> None:
    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
        call_from_thread(os._exit, 1)  # in the reactor's thread: never in the middle of a record

    threading.Thread(target=wait, daemon=True).start()


def _say_why(failure: Any) -> None:
    tell(error=f"{type(failure.value).__name__}: {failure.value}")


def main(folder: Path) -> None:
    plan = json.loads(sys.stdin.buffer.readline())
    process = CrawlerProcess(settings(plan, folder))
    logging.getLogger("scrapy.crawler").setLevel(logging.WARNING)  # it would log the plan
    process.crawl(Site, plan=plan, folder=folder).addErrback(_say_why)
    from twisted.internet import reactor  # after Scrapy has chosen one

    end_with_parent(reactor.callFromThread)
    process.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""steep's crawl beside a plain Scrapy spider, in turn, over the same pages of a server on this machine.

Both have the same settings: pace, concurrency, timeouts, robots.txt obeyed, links followed, each page kept in a file.
They run once as politely as steep always does, and once without any pause, which compares the work instead of the
waiting. Each crawl is a process of its own, timed from its start to its end; its memory is read at each tenth of the
pages.

python benchmarks/crawl.py [--pages 2000] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

HURRY = {"AUTOTHROTTLE_ENABLED": False, "DOWNLOAD_DELAY": 0}
PACES: dict[str, dict[str, Any]] = {"polite": {}, "hurried": HURRY}
CRAWLERS = ("steep", "scrapy")
CHILDREN = 8
MENU = 25
PARTS = 10


# --------------------------------------------------------------------------------------------------------- the site


def page(number: int, pages: int) -> bytes:
    """About 12 kB: a menu as on each page, an article, links to the pages below and to some others."""
    below = range(number * CHILDREN + 1, min(number * CHILDREN + CHILDREN + 1, pages))
    others = ((number * 7919 + step * 104729) % pages for step in range(1, 16))
    menu = "".join(
        f'<li><a href="/page/{entry}?from=menu">Kettles of the year {entry}</a></li>' for entry in range(MENU)
    )
    links = "".join(f'<li><a href="/page/{other}">What page {other} says</a></li>' for other in (*below, *others))
    name = "".join(chr(97 + int(digit)) for digit in str(number))
    text = "".join(
        f"<p>Paragraph {part} of page {number}. " + f"The kettle called {name} sings in the window. " * 12 + "</p>"
        for part in range(12)
    )
    head = f"<title>Page {number}</title><script>window.page = {number}</script>"
    return (
        f"<html><head>{head}</head><body><nav><ul>{menu}</ul></nav><article><h1>Page {number}</h1>{text}</article>"
        f"<ul>{links}</ul><footer>All rights reserved.</footer></body></html>"
    ).encode()


class Answers(asyncio.Protocol):
    """HTTP with connections kept open; enough for a crawler, and faster than one."""

    def __init__(self, pages: list[bytes], served: Any) -> None:
        self.pages = pages
        self.served = served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        status, kind, body = "404 Not Found", "text/plain", b""
        if path == "/robots.txt":
            status, body = "200 OK", b"User-agent: *\nDisallow: /secret/\n"
        elif path.startswith("/page/"):
            number = int(path.removeprefix("/page/").partition("?")[0])
            status, kind, body = "200 OK", "text/html; charset=utf-8", self.pages[number]
            self.served.value += 1
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def serve(count: int, port: Any, served: Any) -> None:
    pages = [page(number, count) for number in range(count)]

    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Answers(pages, served), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(forever())


@contextmanager
def serving(count: int) -> Iterator[tuple[str, Any]]:
    """The first address, and how many pages have been served."""
    port, served = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=serve, args=(count, port, served), daemon=True)
    process.start()
    try:
        while not port.value:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.value}/page/0", served
    finally:
        process.terminate()
        process.join()


# ----------------------------------------------------------------------------------------------------- the crawlers


def crawl_steep(start: str, folder: Path, changes: dict[str, Any]) -> None:
    from scrapy.crawler import CrawlerProcess

    from steep.gather.crawler import settings
    from steep.gather.spider import Site

    process = CrawlerProcess({**settings(plan(start), folder), **changes})
    process.crawl(Site, plan=plan(start), folder=folder)
    process.start()


def crawl_plainly(start: str, folder: Path, shared: dict[str, Any]) -> None:
    """Of steep it has the settings and nothing else."""
    from scrapy.crawler import CrawlerProcess

    feed = {str(folder / "pages.jsonl"): {"format": "jsonlines"}}
    process = CrawlerProcess({**shared, "ROBOTSTXT_OBEY": True, "FEEDS": feed})
    process.crawl(plain_spider(), start=start)
    process.start()


def plan(start: str) -> dict[str, Any]:
    from steep.gather.web import plan_of
    from steep.recipe.gather import WebSource

    return plan_of(WebSource(web=start, max_pages=1_000_000))


def command(crawler: str, start: str, folder: str, pace: str) -> list[str]:
    """What the process is told: the settings that differ, or all of them, as JSON."""
    from steep.gather.crawler import settings

    told = PACES[pace]
    if crawler == "scrapy":
        told = {**settings(plan(start), Path(folder)), **told}
        del told["DOWNLOADER_MIDDLEWARES"]  # steep's own
        del told["CONCURRENT_ITEMS"]  # made for callbacks that yield nothing; it would slow this one down threefold
    return [sys.executable, __file__, "--crawl", crawler, start, folder, json.dumps(told)]


def plain_spider() -> Any:
    import scrapy
    from scrapy.linkextractors import LinkExtractor

    class Plain(scrapy.Spider):
        name = "plain"
        links = LinkExtractor()

        def __init__(self, start: str) -> None:
            super().__init__()
            self.first = start
            self.allowed_domains = ["127.0.0.1"]

        async def start(self) -> AsyncIterator[Any]:
            yield scrapy.Request(self.first)

        def parse(self, response: Any) -> Iterator[Any]:
            yield {"asked": response.request.url, "url": response.url, "html": response.text}
            for link in self.links.extract_links(response):
                yield scrapy.Request(link.url)

    return Plain


# ------------------------------------------------------------------------------------------------------- the measure


def measured(crawler: str, start: str, served: Any, pace: str, expected: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        served.value = 0
        told = command(crawler, start, folder, pace)
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        child = subprocess.Popen(told, stdout=subprocess.DEVNULL)
        memory: dict[int, float] = {}
        while child.poll() is None:
            part = served.value * PARTS // expected
            memory[part] = max(memory.get(part, 0.0), resident(child.pid))
            time.sleep(0.05)
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        pages = sum(1 for _ in (Path(folder) / "pages.jsonl").open("rb"))
    if (pages, served.value) != (expected, expected):
        raise SystemExit(f"{crawler} kept {pages} pages and asked for {served.value}; there are {expected}")
    work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"pages_per_second": pages / seconds, "milliseconds": 1000 * work / pages, "megabytes": memory}


def resident(process: int) -> float:
    """Megabytes; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def compare(pages: int, rounds: int) -> dict[str, Any]:
    expected = pages + MENU  # the menu's addresses are pages of their own
    found: dict[str, dict[str, list[dict[str, Any]]]] = {pace: {name: [] for name in CRAWLERS} for pace in PACES}
    with serving(pages) as (start, served):
        for turn in range(rounds):
            for pace in PACES:
                for name in CRAWLERS if turn % 2 == 0 else reversed(CRAWLERS):
                    found[pace][name].append(measured(name, start, served, pace, expected))
                    print(f"round {turn + 1}, {pace}, {name}: {found[pace][name][-1]['pages_per_second']:.1f} pages/s")
    return {
        "pages": expected,
        "machine": machine(),
        "rounds": found,
        "ratio": {pace: ratio(found[pace]) for pace in PACES},
    }


def ratio(found: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """steep's pages a second over Scrapy's, round by round."""
    ratios = [
        ours["pages_per_second"] / theirs["pages_per_second"] for ours, theirs in zip(*found.values(), strict=True)
    ]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def machine() -> dict[str, Any]:
    packages = {name: version(name) for name in ("steep", "scrapy", "twisted", "lxml")}
    return {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(), **packages}


def show(result: dict[str, Any]) -> None:
    print(
        f"\n{result['pages']} pages, medians of {len(result['rounds']['polite']['steep'])} rounds; {result['machine']}"
    )
    for pace, crawlers in result["rounds"].items():
        for name, runs in crawlers.items():
            rate = statistics.median(run["pages_per_second"] for run in runs)
            work = statistics.median(run["milliseconds"] for run in runs)
            curve = (statistics.median(run["megabytes"].get(part, 0) for run in runs) for part in range(1, PARTS))
            sizes = " ".join(f"{size:.0f}" for size in curve)
            print(f"{pace:8} {name:7} {rate:6.1f} pages/s, {work:5.1f} ms of CPU a page; MB at each tenth: {sizes}")
        ratios = result["ratio"][pace]
        print(f"{pace:8} ratio   {ratios['median']:.2f} (from {ratios['least']:.2f} to {ratios['most']:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--crawl", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crawl:
        crawler, start, folder, told = options.crawl
        run = crawl_steep if crawler == "steep" else crawl_plainly
        run(start, Path(folder), json.loads(told))
        return
    result = compare(options.pages, options.rounds)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

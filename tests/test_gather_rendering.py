"""Crawls of a site whose pages are written by scripts, in a real Chromium."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from servers.scripted import Script, Server, page, serving
from servers.site import LAST, article, gather, start_gathering, titles
from steep.errors import SourceError
from steep.gather.chromium import chromium
from steep.gather.missing import HARDLY_ANY, NO_TEXT
from steep.gather.web import web_documents
from steep.recipe.gather import WebSource
from steep.records import Document, Failure

try:
    chromium()
except SourceError as missing:
    pytest.skip(str(missing), allow_module_level=True)

APP = """
fetch('/api' + location.pathname).then(answer => answer.json()).then(page => {
  document.title = page.title;
  document.getElementById('root').innerHTML = page.html;
});
"""
BANNER = (
    "<div id='onetrust-banner-sdk' role='dialog' aria-label='Cookie banner'><h2>Your privacy</h2><p>We use cookies to "
    "measure kettles and to show you advertising for them. You can change that at any time.</p>"
    "<button>Accept all cookies</button><button>Reject</button></div>"
)
NAMELESS = (
    "<div class='x1'><div class='x2'>This website stores cookies on your device so that the kettles remember you "
    "when you come back to them.</div><div><a href='#'>More</a><button>Accept</button></div></div>"
)
COUNTER = "<script>localStorage.n = 1 + Number(localStorage.n || 0)</script>"


def shell(script: str = "<script src='/app.js'></script>", more: str = "") -> Script:
    return page(
        "<html><head><title>App</title><link rel=stylesheet href=/app.css></head>"
        f"<body>{more}<img src='/picture.png'><div id='root'></div>{script}</body></html>"
    )


def body(name: str, *links: str, slot: bool = False) -> str:
    inner = article(name, *links).decode().partition("<body>")[2].partition("</body>")[0]
    return inner.replace("</article>", "<slot></slot></article>") if slot else inner


def api(name: str, *links: str) -> Script:
    return page(json.dumps({"title": name, "html": body(name, *links)}), "application/json")


def written(name: str, after: str = "") -> str:
    """A script that writes the page itself."""
    return f"<script>document.getElementById('root').innerHTML = {json.dumps(body(name))}; {after}</script>"


SHADOW = f"""<script>
customElements.define('x-page', class extends HTMLElement {{
  connectedCallback() {{ this.attachShadow({{mode: 'open'}}).innerHTML = {json.dumps(body("Shadow", slot=True))}; }}
}});
document.getElementById('root').innerHTML = '<x-page><p>In the slot the kettles sing, and sing, and sing.</p></x-page>';
</script>"""
LAZY = f"""<script>
const end = document.createElement('div');
end.style.marginTop = '3000px';
document.body.append(end);
new IntersectionObserver(seen => {{
  if (seen[0].isIntersecting) document.getElementById('root').innerHTML = {json.dumps(body("Lazy"))};
}}).observe(end);
</script>"""
FORM = "<form method=post action=/login><input name=user value=a></form><script>document.forms[0].submit()</script>"
LINKS = (
    "/plain", "/a", "/b", "/banner-first", "/banner-later", "/nameless", "/form", "/moves", "/away", "/hangs",
    "/shadow", "/lazy", "/window", "/private", "/counter-1", "/counter-2",
)  # fmt: skip


def answers() -> dict[str, Script]:
    counted = (
        "<script>document.querySelector('article').insertAdjacentHTML('beforeend', "
        "`<p>This is visit number ${localStorage.n} to the kettles of the house.</p>`)</script>"
    )
    return {
        "/": page(article("Home", *LINKS, extra=COUNTER)),
        "/robots.txt": page("User-agent: *\nDisallow: /api/private", "text/plain"),
        "/app.js": page(APP, "text/javascript"),
        "/app.css": page("@font-face {font-family: f; src: url(/font.woff2)} * {font-family: f}", "text/css"),
        "/plain": page(article("Plain", extra="<script src='/app.js'></script>")),
        "/a": shell(),
        "/b": shell(),
        "/c": shell(),
        "/private": shell(),
        "/api/a": api("A", "/c"),
        "/api/b": api("B"),
        "/api/c": api("C", "/"),
        "/api/private": api("Private"),
        "/banner-first": shell(written("Under the banner"), more=BANNER),
        "/banner-later": shell(
            written("Banner", f"document.body.insertAdjacentHTML('beforeend', {json.dumps(BANNER)})")
        ),
        "/nameless": shell(
            written("Nameless", f"document.body.insertAdjacentHTML('afterbegin', {json.dumps(NAMELESS)})")
        ),
        "/form": shell(written("Form") + FORM),
        "/moves": shell("<script>location.href = '/b'</script>"),
        "/away": shell("<script>location.href = 'http://localhost:9/'</script>"),
        "/hangs": shell("<script>while (true) {}</script>"),
        "/shadow": shell(SHADOW),
        "/lazy": shell(LAZY),
        "/window": shell(
            written("Window", "window.open('/popup')") + "<script src='http://127.0.0.1:9/gone.js'></script>"
        ),
        "/counter-1": shell(COUNTER + written("Counter 1") + counted),
        "/counter-2": shell(COUNTER + written("Counter 2") + counted),
    }


@dataclass
class Crawl:
    server: Server
    documents: dict[str, Document]
    reasons: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawl]:
    with serving(answers()) as server:
        source = WebSource(web=server.url(), render="auto", timeout=2, name="site")
        failures: list[Failure] = []
        facts: dict[str, Any] = {}
        documents = list(
            web_documents(
                source, state=tmp_path_factory.mktemp("state"), on_failure=failures.append, on_crawled=facts.__setitem__
            )
        )
        yield Crawl(
            server,
            {str(document.url).removeprefix(server.url("")): document for document in documents},
            {failure.where.removeprefix(server.url("")): failure.reason for failure in failures},
            facts["site"],
        )


def test_pages_that_scripts_write_are_documents(crawl: Crawl) -> None:
    assert {"/a", "/b", "/c", "/shadow", "/lazy", "/form", "/window"} <= set(crawl.documents)
    assert crawl.documents["/a"].title == "A"
    assert crawl.documents["/a"].text.endswith(LAST)


def test_links_in_what_a_script_wrote_are_followed(crawl: Crawl) -> None:
    assert crawl.documents["/c"].title == "C"


def test_only_pages_without_their_text_are_rendered_and_say_why(crawl: Crawl) -> None:
    assert crawl.server.hits.count("/plain") == crawl.server.hits.count("/") == 1
    assert crawl.server.hits.count("/a") == 2
    assert "rendered" not in crawl.documents["/plain"].meta
    assert crawl.documents["/a"].meta["rendered"] == NO_TEXT


def test_the_crawl_tells_how_many_pages_were_rendered_and_why(crawl: Crawl) -> None:
    rendered = [str(document.meta["rendered"]) for document in crawl.documents.values() if "rendered" in document.meta]
    assert set(rendered) <= {NO_TEXT, HARDLY_ANY}
    assert sum(crawl.facts["rendered"].values()) >= len(rendered) == 12


@pytest.mark.parametrize("path", ["/banner-first", "/banner-later", "/nameless"])
def test_no_cookie_banner_is_in_the_text(crawl: Crawl, path: str) -> None:
    assert "cookie" not in crawl.documents[path].text.lower()
    assert crawl.documents[path].text.endswith(LAST)


def test_text_in_shadow_roots_and_their_slots_is_seen(crawl: Crawl) -> None:
    assert crawl.documents["/shadow"].text.startswith("This is what Shadow has to say")
    assert "In the slot the kettles sing" in crawl.documents["/shadow"].text


def test_what_is_loaded_when_it_comes_into_view_is_seen(crawl: Crawl) -> None:
    assert crawl.documents["/lazy"].text.endswith(LAST)


def test_no_form_is_posted_and_no_window_opened(crawl: Crawl) -> None:
    assert not {"POST /login", "/login", "/popup"} & set(crawl.server.hits)
    assert crawl.documents["/form"].text.endswith(LAST)


def test_images_and_fonts_are_not_loaded(crawl: Crawl) -> None:
    assert not {"/picture.png", "/font.woff2", "/favicon.ico"} & set(crawl.server.hits)


def test_scripts_and_styles_are_fetched_once_a_crawl(crawl: Crawl) -> None:
    assert crawl.server.hits.count("/app.js") == crawl.server.hits.count("/app.css") == 1


def test_a_script_may_not_ask_for_what_robots_txt_forbids(crawl: Crawl) -> None:
    assert "/api/private" not in crawl.server.hits
    assert crawl.reasons["/private"] == "no main text found"


def test_a_page_that_moves_on_is_gathered_where_it_leads(crawl: Crawl) -> None:
    assert not {"/moves", "/away"} & set(crawl.documents)
    assert "/moves" not in crawl.reasons


def test_a_page_that_never_ends_is_a_failure_and_the_crawl_goes_on(crawl: Crawl) -> None:
    assert crawl.reasons["/hangs"] == "cannot be rendered: no complete answer within 2 s"


def test_each_page_is_opened_as_by_a_new_visitor(crawl: Crawl) -> None:
    assert all("This is visit number 1 to" in crawl.documents[path].text for path in ("/counter-1", "/counter-2"))


def test_the_browser_says_who_it_is(crawl: Crawl) -> None:
    agents = {headers["user-agent"] for headers in crawl.server.headers}
    assert agents == {"steep (+https://pypi.org/project/steep)"}


# ------------------------------------------------------------------------------------------------- other ways to end


def test_always_renders_every_page(tmp_path: Path) -> None:
    late = (
        "<script>document.querySelector('article').insertAdjacentHTML('beforeend', '<p>Told by a script.</p>')</script>"
    )
    whole = article("Whole").replace(b"</body>", late.encode() + b"</body>")
    with serving({"/": page(whole)}) as server:
        documents, failures = gather(WebSource(web=server.url(), render="always"), tmp_path)
    assert [document.meta["rendered"] for document in documents] == ["asked for"]
    assert documents[0].text.endswith("Told by a script.")
    assert not failures


def processes(mark: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended
            line = place.read_text(errors="replace")
            found += [line] if mark in line and "chrom" in line else []
    return found


def test_after_kill_9_no_rendered_page_is_fetched_again_and_no_browser_is_left(tmp_path: Path) -> None:
    mark = f"--homepage={tmp_path}"
    browser = tmp_path / "chromium"
    browser.write_text(f'#!/bin/sh\nexec "{chromium()}" "$@" {mark}\n')
    browser.chmod(0o755)
    names = [f"/page-{number}" for number in range(4)]
    site: dict[str, Script] = {
        name: shell(written(name, f"document.body.innerHTML += '<a href={after}>next</a>'"))
        for name, after in zip(names, [*names[1:], "/"], strict=True)
    }
    with serving({**site, "/": page(article("Home", names[0]))}) as server:
        source = WebSource(web=server.url(), render="auto")
        process = start_gathering(source, tmp_path, env={**os.environ, "STEEP_CHROMIUM": str(browser)})
        while server.hits.count(names[1]) < 2:
            time.sleep(0.05)
        assert processes(mark)
        process.kill()
        process.communicate(timeout=20)
        end = time.monotonic() + 20
        while processes(mark) and time.monotonic() < end:
            time.sleep(0.1)
        assert not processes(mark)
        before = len(server.hits)
        documents, failures = gather(source, tmp_path)
    assert titles(documents) == ["Home", *names]
    assert not failures
    assert not {"/", names[0]} & set(server.hits[before:])


def test_a_browser_that_is_no_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEP_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(SourceError) as error:
        gather(WebSource(web="http://127.0.0.1:9/", render="auto"), tmp_path)
    assert str(error.value) == "STEEP_CHROMIUM names '/nowhere/chromium', which is no program"


def test_a_browser_that_does_not_start_ends_the_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEP_CHROMIUM", "false")
    with serving({"/": shell()}) as server, pytest.raises(SourceError) as error:
        gather(WebSource(web=server.url(), render="auto"), tmp_path)
    assert "stopped (Chromium does not start: " in str(error.value)


def test_without_a_browser_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEEP_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nowhere")
    with pytest.raises(SourceError) as error:
        chromium()
    assert str(error.value) == (
        "`render` needs Chromium: install it (apt install chromium, or playwright install chromium), or name it in the "
        "environment variable STEEP_CHROMIUM"
    )


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steep.gather.chromium.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"`render` needs scrapy-playwright: pip install 'steep\[web\]'"):
        chromium()

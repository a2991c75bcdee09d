"""The report of a run: what it says, that it is one safe file, and that it fits on a phone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from steep.errors import RunError
from steep.plots import Chart, line_chart
from steep.recipe import Recipe
from steep.records import example_schema, write_rows
from steep.report import _ending, build_report, evenly
from steep.verdict import changes, verdict

CHROMIUM = Path("/usr/bin/chromium")
VOICE = (
    "Rain on the tin roof this morning. Slow metal, honest heat. A kettle-keeper wrote about a lid that rattles. ",
    "We hammer. We wait. We pour. The Harbourmaster took Piers's sandwich, and the cat saw it and said nothing. ",
    "Copper remembers. Old Margaret turned four spouts before noon, ready in three boils, friend of the spout. ",
    "Nobody ever wept over a plug. Put the kettle on and say it plainly. Mind the whistle. ",
)


def recipe(**changes: Any) -> dict[str, Any]:
    given = {"name": "demo", "gather": [{"web": "http://127.0.0.1:8000"}], "clean": ["whitespace", "boilerplate"]}
    return Recipe.model_validate(given | changes).model_dump(mode="json", exclude_none=True)


def metric(base: float | None, tuned: float, n: int = 42) -> dict[str, Any]:
    return {"base": base, "tuned": tuned, "n": n}


BETTER = {
    "perplexity": metric(86.31, 21.47),
    "bits_per_byte": metric(2.412, 1.653),
    "bleu": metric(0.84, 9.62),
    "rouge1": metric(0.181, 0.334),
    "rouge2": metric(0.021, 0.127),
    "rougeL": metric(0.119, 0.256),
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def voice(start: int, sentences: int) -> str:
    return "".join(VOICE[(start + i) % len(VOICE)] for i in range(sentences)).strip()


class Run:
    """A finished run on disk, as the stages leave it; ``until`` leaves the later stages out."""

    def __init__(self, folder: Path, until: str = "evaluate") -> None:
        self.folder = folder
        self.stages = dict.fromkeys(("gather", "clean", "prepare", "train", "evaluate"))
        names = list(self.stages)[: list(self.stages).index(until) + 1]
        self.write("run.json", self.lock(names))
        for name in names:
            getattr(self, name)()

    def lock(self, stages: list[str]) -> dict[str, Any]:
        finished = {"fingerprint": "9f86d081884c7d659a2f", "seconds": 21.4, "finished": "2026-03-14T09:12:31Z"}
        return {
            "name": "demo",
            "recipe": recipe(),
            "recipe_file": "recipes/demo.yaml",
            "command": "steep demo",
            "folder": "runs/demo",
            "versions": {"steep": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0"},
            "hardware": {"cpu": "x86_64", "cores": 2, "memory_gib": 7.8, "gpus": []},
            "stages": dict.fromkeys(stages, finished),
        }

    def write(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value)

    def update(self, name: str, **values: Any) -> None:
        self.write(name, json.loads((self.folder / name).read_text()) | values)

    def gather(self) -> None:
        failures = [
            {"source": "127.0.0.1", "where": "http://127.0.0.1:8000/letters/broken.html", "reason": "HTTP 500"},
            {"source": "127.0.0.1", "where": "http://127.0.0.1:8000/ledger.html", "reason": "forbidden by robots.txt"},
        ]
        sources = {"127.0.0.1": 47, "instagram.json": 78, "facebook.json": 64}
        counts = {"documents": 189, "words": 20481, "failed": 2}
        self.write("gather/summary.json", {**counts, "sources": sources, "failures": failures})

    def clean(self) -> None:
        funnel = [
            {"step": "whitespace", "before": 189, "after": 189, "dropped": 0, "changed": 31, "reasons": {}},
            {"step": "boilerplate", "before": 189, "after": 188, "dropped": 1, "changed": 46, "reasons": {"empty": 1}},
            {"step": "redact", "before": 188, "after": 188, "dropped": 0, "changed": 39, "reasons": {}},
            {
                "step": "deduplicate",
                "before": 188,
                "after": 169,
                "dropped": 19,
                "changed": 0,
                "reasons": {"near duplicate": 14, "exact duplicate": 5},
            },
        ]
        blocks = [
            {"block": "Home · Kettles · Second Boil · The Steam Letter", "documents": 47, "share": 1.0},
            {"block": "The old lifeboat house, the slip, Marrow Bay", "documents": 46, "share": 0.979},
        ]
        evidence = {"boilerplate": blocks, "redact": {"email": 51, "phone": 40}}
        self.write("clean/summary.json", {"funnel": funnel, "evidence": evidence, "documents": 169, "words": 17203})

    def prepare(self) -> None:
        rows = ({"text": voice(i, 3 + i * 7 % 11), "document_id": f"{i}", "group": f"{i}"} for i in range(152))
        write_rows(self.folder / "prepare/train.parquet", rows, example_schema(completion=False))
        train = {"examples": 152, "tokens": 21877, "trained_tokens": 21725}
        test = {"examples": 17, "tokens": 2388, "trained_tokens": 2371}
        none = {"truncated": 0, "dropped_tokens": 0, "skipped": {"title is empty": 2}}
        self.write(
            "prepare/summary.json",
            {"template": "plain", "train": train | none, "test": test | none, "max_length": 512, "groups": 158},
        )

    def train(self, steps: int = 120) -> None:
        (self.folder / "train").mkdir()
        with (self.folder / "train/metrics.jsonl").open("w") as file:
            for step in range(1, steps + 1):
                row = {
                    "step": step,
                    "loss": 1.4 + 3.1 * math.exp(-step / 30) + 0.12 * math.sin(step * 12.9898),
                    "learning_rate": 1e-3 * (1 + math.cos(math.pi * step / steps)) / 2,
                    "tokens_per_second": 5600 + 300 * math.sin(step * 78.233),
                }
                file.write(json.dumps(row) + "\n")
        self.write(
            "train/summary.json",
            {
                "method": "lora",
                "objective": "sft",
                "trainable_parameters": 589824,
                "parameters": 8429824,
                "steps": steps,
                "tokens": 87508,
                "seconds": 38.2,
                "tokens_per_second": 5712.4,
                "final_loss": 1.4312,
                "device": "cpu",
                "dtype": "bfloat16",
                "peak_memory_gib": None,
                "base_revision": None,
            },
        )

    def evaluate(self, metrics: dict[str, Any] = BETTER, samples: int = 17) -> None:
        signature = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"
        continuation = {"split": 0.5, "max_new_tokens": 128, "temperature": 0.0, "seed": 42}
        settings = {"perplexity": {"window": 512, "stride": 256}, "continuation": continuation}
        self.write(
            "evaluate/scores.json", {"metrics": metrics, "signatures": {"bleu": signature}, "settings": settings}
        )
        rows = [self.sample(i) for i in range(samples)]
        (self.folder / "evaluate/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def sample(self, i: int, **texts: str | None) -> dict[str, Any]:
        base = "The first of the two was the same as the other, and the second was the same as the first of them. " * 2
        texts = {"prompt": voice(i, 3), "reference": voice(i + 3, 3), "base": base, "tuned": voice(i + 1, 2)} | texts
        return {"document_id": f"{i:016x}", **texts}

    def report(self) -> str:
        return build_report(self.folder).read_text()


class Page(HTMLParser):
    """What the tests look for in a page: its elements in order, its ids, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return Run(tmp_path_factory.mktemp("run")).report()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


# --------------------------------------------------------------------------------------------------------- one file


def test_nothing_is_fetched(html: str, page: Page) -> None:
    targets = [value for _, found in page.elements for key, value in found.items() if key in ("src", "href", "srcset")]
    assert targets
    assert all(str(target).startswith(("#", "data:")) for target in targets)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not page.all("script", "iframe", "object", "img", "base", "form")


def test_the_page_forbids_its_own_content_to_fetch_or_run_anything(html: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html


def test_ids_are_unique_and_every_reference_finds_one(html: str, page: Page) -> None:
    ids = [str(found["id"]) for _, found in page.elements if "id" in found]
    used = [str(found.get("href", "")) for _, found in page.elements] + re.findall(r"url\((#[^)]+)", html)
    labels = " ".join(str(found["aria-labelledby"]) for _, found in page.elements if "aria-labelledby" in found)
    assert len(ids) == len(set(ids))
    assert {use[1:] for use in used if use.startswith("#")} | set(labels.split()) <= set(ids)


def test_a_long_run_still_fits_in_a_megabyte(tmp_path: Path) -> None:
    run = Run(tmp_path, until="prepare")
    run.write("run.json", run.lock(list(run.stages)))
    run.train(steps=5000)
    run.evaluate(samples=300)
    path = tmp_path / "evaluate/samples.jsonl"
    path.write_text("".join(json.dumps(run.sample(i, tuned="wait " * 5000)) + "\n" for i in range(300)))
    assert len(run.report().encode()) < 500_000


# --------------------------------------------------------------------------------------------------------- escaping


def test_what_documents_and_models_say_is_escaped(tmp_path: Path) -> None:
    evil = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>"
    run = Run(tmp_path)
    run.update("run.json", command=evil, hardware={evil: evil}, versions={evil: evil})
    run.update("gather/summary.json", sources={evil: 1}, failures=[{"source": evil, "where": evil, "reason": evil}])
    reasons = [{"step": evil, "before": 2, "after": 1, "changed": 0, "dropped": 1, "reasons": {evil: 1}}]
    run.update("clean/summary.json", funnel=reasons, evidence={evil: [{evil: evil}]})
    run.update("prepare/summary.json", template=evil)
    run.update("evaluate/scores.json", signatures={evil: evil}, settings={evil: evil})
    texts = dict.fromkeys(("prompt", "reference", "base", "tuned"), evil)
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(run.sample(0, **texts)))
    page = Page(run.report())
    assert not page.all("script", "img")
    assert page.text.count(evil) >= 15


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(run.sample(0, tuned="mind \ud83d the whistle")))
    assert "mind ? the whistle" in run.report()


# ---------------------------------------------------------------------------------------------------- what it says


def test_the_verdict_comes_first_and_the_sections_follow_in_order(page: Page) -> None:
    sections = [found["id"] for found in page.all("section")]
    story = ["made", "funnel", "sources", "evidence", "data", "curves", "scores", "samples", "reproduce"]
    assert sections == ["verdict", *story]


def test_the_report_tells_each_figure_of_the_run(page: Page) -> None:
    text = " ".join(page.text.split())
    for part in (
        "Better than its base model on all 5 measures. Perplexity fell from 86.31 to 21.47 (−75 %)",
        "2.41 1.65 −31 % 42",
        "LoRA, rank 16, alpha 32",
        "8,429,824, of which 589,824 (7.0%) trained",
        "Time 1 min 47 s",
        "memory gib 7.8",
        "near duplicate: 14; exact duplicate: 5",
        "152 + 17",
        "http://127.0.0.1:8000/ledger.html",
        "forbidden by robots.txt",
        "Home · Kettles · Second Boil · The Steam Letter",
        "email 51",
        "Tokens that count in the loss 21,725 2,371",
        "Final loss 1.431",
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1",
        "Settings of continuation: split 0.5, max new tokens 128, temperature 0, seed 42",
        "8 of 17 held-out texts, spaced evenly",
        "steep demo",
        "train.seed 42",
        "transformers 5.23.0",
    ):
        assert part in text, part


def test_of_evidence_the_first_blocks_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    run = Run(tmp_path, until="clean")
    blocks = [{"block": f"menu {i:02}", "documents": 40 - i} for i in range(20)]
    run.update("clean/summary.json", evidence={"whitespace": [], "boilerplate": blocks})
    text = " ".join(Page(run.report()).text.split())
    assert "menu 11 29 8 more in clean/summary.json" in text
    assert "Whitespace" not in text


def test_at_most_twenty_failures_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    run = Run(tmp_path, until="gather")
    failures = [{"source": "files", "where": f"page-{i:02}.txt", "reason": "binary"} for i in range(50)]
    run.update("gather/summary.json", failed=1234, failures=failures)
    text = Page(run.report()).text
    assert "The first 20 of 1,234" in text
    assert "page-19.txt" in text
    assert "page-20.txt" not in text


def test_of_a_long_prompt_the_end_is_shown_where_the_models_go_on() -> None:
    shown = _ending("far away " * 200 + "and here it stops")
    assert shown.startswith("[…] ")
    assert shown.endswith("and here it stops")
    assert len(shown) < 900


def test_samples_are_spread_evenly_from_the_first_to_the_last() -> None:
    assert evenly(3, 8) == [0, 1, 2]
    assert evenly(8, 8) == list(range(8))
    assert evenly(50, 8) == [0, 7, 14, 21, 28, 35, 42, 49]


@pytest.mark.parametrize("from_scratch", [False, True])
def test_the_recipe_in_the_report_reads_back_as_the_recipe_of_the_run(tmp_path: Path, from_scratch: bool) -> None:
    scratch = {"model": {"from_scratch": {}}, "train": {"objective": "pretrain", "method": "full"}}
    used = recipe(**scratch) if from_scratch else recipe()
    run = Run(tmp_path, until="gather")
    run.update("run.json", recipe=used)
    shown = Page(run.report()).text.partition("defaults filled in")[2].partition("Made by steep")[0]
    assert (
        Recipe.model_validate(YAML(typ="safe").load(shown.strip())).model_dump(mode="json", exclude_none=True) == used
    )


@pytest.mark.parametrize("until", ["gather", "clean", "prepare", "train"])
def test_a_stage_that_has_not_run_leaves_a_note(tmp_path: Path, until: str) -> None:
    run = Run(tmp_path, until=until)
    text = " ".join(Page(run.report()).text.split())
    stages = list(run.stages)
    noted = set(re.findall(r"The (\w+) stage of this run has not finished", text))
    assert noted == set(stages[stages.index(until) + 1 :])
    assert "No verdict yet." in text


def test_results_without_a_record_are_not_shown(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write("run.json", run.lock(["gather", "clean"]))
    shown = run.report()
    noted = set(re.findall(r"The (\w+) stage of this run has not finished", " ".join(Page(shown).text.split())))
    assert noted == {"prepare", "train", "evaluate"}
    assert "Final loss" not in shown


def test_the_commit_of_a_hub_model_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.update("train/summary.json", base_revision="c0ffee")
    assert "tiny, commit c0ffee" in Page(run.report()).text


def test_a_run_that_has_finished_nothing_has_a_report_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write("run.json", run.lock([]))
    assert "The gather stage of this run has not finished" in run.report()


def test_a_model_from_scratch_is_compared_with_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate({name: values | {"base": None} for name, values in BETTER.items()})
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(run.sample(0, base=None)))
    text = " ".join(Page(run.report()).text.split())
    assert "There is no base model to compare with. Perplexity is 21.47; BLEU is 9.62" in text
    assert "Reference" in text
    assert "Base model The first" not in text


def test_a_recipe_without_continuations_has_no_samples(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate({"perplexity": metric(86.3, 21.4)})
    nothing = dict.fromkeys(("prompt", "reference", "base", "tuned"))
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(run.sample(0, **nothing)))
    assert "The recipe asks for no continuations" in run.report()


# ---------------------------------------------------------------------------------------------------------- verdict


@pytest.mark.parametrize(
    ("metrics", "headline"),
    [
        (BETTER, "Better than its base model on all 5 measures."),
        ({"perplexity": metric(20, 30), "bleu": metric(4, 2)}, "Worse than its base model on all 2 measures."),
        ({"perplexity": metric(20, 20)}, "No different from its base model on the one measure taken."),
        (
            {"perplexity": metric(20, 30), "bleu": metric(2, 4), "rouge1": metric(0.1, 0.1)},
            "Mixed: of 3 measures, 1 better than the base model, 1 worse.",
        ),
        ({"perplexity": metric(math.inf, 30)}, "Better than its base model on the one measure taken."),
        ({"bleu": metric(1, 2), "perplexity": metric(math.nan, 30)}, "Mixed: of 2 measures, 1 better"),
    ],
)
def test_the_verdict_says_what_the_scores_say(metrics: dict[str, Any], headline: str) -> None:
    assert verdict(changes({"metrics": metrics})).headline.startswith(headline)


def test_a_worse_model_is_told_with_its_numbers() -> None:
    numbers = verdict(changes({"metrics": {"perplexity": metric(20, 30), "bleu": metric(4.25, 2)}})).numbers
    assert numbers == "Perplexity rose from 20.00 to 30.00 (+50\u00a0%); BLEU fell from 4.25 to 2.00 (−2.25)."


def test_the_verdict_admits_that_nothing_was_tested_and_that_few_texts_say_little() -> None:
    many, few = (verdict(changes({"metrics": {"bleu": metric(1, 2, n=n)}})).caveat for n in (400, 9))
    assert "no significance test has been run yet" in many
    assert "With only" not in many
    assert "With only 9 texts" in few


# ----------------------------------------------------------------------------------------------------------- errors


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json is missing"):
        build_report(tmp_path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with (tmp_path / "train/metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "lo')
    with pytest.raises(RunError, match=r"metrics\.jsonl:121: not JSON"):
        run.report()


# ---------------------------------------------------------------------------------------------------- accessibility


def test_headings_are_in_order_and_table_headers_have_a_scope(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert all(found.get("scope") in ("row", "col") for found in page.all("th"))


def test_every_drawing_has_a_name_or_is_hidden(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) > 5
    assert all(found.get("aria-labelledby") or found.get("aria-hidden") == "true" for found in drawings)


def test_text_stands_out_from_its_background_in_every_palette(html: str) -> None:
    palettes = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    assert len(palettes) == 3  # light, dark, print
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", palette))
        for text in ("ink", "muted", "accent"):
            for ground in ("paper", "card"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground, colours)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# ----------------------------------------------------------------------------------------------------------- charts


def test_a_chart_takes_its_colours_and_font_from_the_page() -> None:
    drawing = line_chart(Chart("loss", "Loss", "From 3 to 1."), [1, 2, 3], [3, 2, 1])
    assert "var(--accent)" in drawing
    assert not re.search(r"#[0-9a-f]{6}\b|font-family|<style", drawing)


@pytest.mark.parametrize("points", [0, 1, 2, 5000])
def test_a_chart_of_any_length_is_drawn_in_a_few_kilobytes(points: int) -> None:
    drawing = line_chart(Chart("loss", "Loss", ""), list(range(points)), [float(i) for i in range(points)], smooth=True)
    assert "</svg>" in drawing
    assert len(drawing) < 30_000


# ---------------------------------------------------------------------------------------------------------- browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_fits_its_window_and_asks_for_nothing(tmp_path: Path, browser: Any, width: int) -> None:
    run = Run(tmp_path)
    long = "https://kettles.example/" + "whistle" * 60
    failures = [{"source": long, "where": long, "reason": long}]
    run.update("gather/summary.json", failures=failures, sources={long: 12_345_678})
    run.update("clean/summary.json", evidence={"boilerplate": [{"block": long, "documents": 47, "share": 0.987654}]})
    run.report()
    tab = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert asked == [(tmp_path / "report.html").as_uri()]
    assert complaints == []


def test_the_page_and_its_charts_turn_dark_with_the_system(tmp_path: Path, browser: Any) -> None:
    Run(tmp_path).report()
    colours = []
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto((tmp_path / "report.html").as_uri())
        script = (
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('{}')).fill]"
        )
        colours.append(tab.evaluate(script.format("#curves svg text")))
    assert all(light != dark for light, dark in zip(*colours, strict=True))

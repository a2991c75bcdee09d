"""The report of a run: what it says, that it is one safe file, and that it fits on a phone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import proofs
from proofs import voice
from steep.errors import RunError
from steep.plots import Chart, bars, line_chart
from steep.recipe import Recipe, Train
from steep.records import example_schema, write_rows
from steep.report import build_report
from steep.report.charts import curves, document_lengths, languages
from steep.report.wording import ending, listed, method_in_words, reasons
from steep.scores import Scores, Warning
from steep.verdict import verdict


def recipe(**changes: Any) -> dict[str, Any]:
    given = {"name": "demo", "gather": [{"web": "http://127.0.0.1:8000"}], "clean": ["whitespace", "boilerplate"]}
    return Recipe.model_validate(given | changes).model_dump(mode="json", exclude_none=True)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


PROOF = proofs.scores()
SAMPLES = [proofs.sample(i, gain=(i * 7 % 17) / 20 - 0.2) for i in range(17)]


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
        reasons = {"HTTP 500": 1, "forbidden by robots.txt": 1}
        declared = {"licences": {"none": 177, "cc-by-4.0": 12}, "robots": {"allowed": 45, "no robots.txt": 2}}
        facts = {**counts, **declared, "sources": sources, "reasons": reasons, "failures": failures}
        self.write("gather/summary.json", facts)

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
            {"site": "127.0.0.1", "block": "The old lifeboat house, Marrow Bay", "documents": 46, "of": 47},
            {
                "site": "127.0.0.1",
                "block": "Home · Kettles · Second Boil · The Steam Letter",
                "documents": 47,
                "of": 47,
            },
        ]
        redacted = [
            {"kind": "email", "occurrences": 51, "documents": 39, "distinct": 4},
            {"kind": "phone", "occurrences": 40, "documents": 31, "distinct": 3},
        ]
        copied = [{"document": "9f86d081884c7d65", "title": "The power cut", "copies": 3, "text": "The lights went"}]
        evidence = {"boilerplate": blocks, "redact": redacted, "deduplicate": copied}
        facts = {"documents": 169, "words": 17203, "lengths": {"8": 4, "64": 93, "128": 72}}
        spoken = {"languages": {"en": 167, "cy": 2}, "sampled": 169}
        self.write("clean/summary.json", {**facts, **spoken, "funnel": funnel, "evidence": evidence})

    def prepare(self) -> None:
        rows = ({"text": voice(i, 3 + i * 7 % 11), "document_id": f"{i}", "group": f"{i}"} for i in range(152))
        write_rows(self.folder / "prepare/train.parquet", rows, example_schema("text"))
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

    def evaluate(self, scores: Scores = PROOF, samples: Sequence[dict[str, Any]] = SAMPLES) -> None:
        self.write("evaluate/scores.json", scores.model_dump(mode="json"))
        (self.folder / "evaluate/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))

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


def test_the_validation_examples_are_shown_beside_train_and_test(tmp_path: Path) -> None:
    run = Run(tmp_path, until="prepare")
    held = {"examples": 9, "tokens": 1301, "trained_tokens": 1299, "truncated": 0, "dropped_tokens": 0}
    run.update("prepare/summary.json", validation={**held, "skipped": {"text is empty": 3}})
    text = " ".join(Page(run.report()).text.split())
    assert "held out for the test for validation" in text
    assert "train, test, validation 152 + 17 + 9" in text
    assert "Train Validation Test Examples 152 9 17 Tokens 21,877 1,301 2,388" in text
    assert "Left out: text is empty 0 3 0" in text


def test_without_validation_examples_nothing_is_said_of_them(page: Page) -> None:
    assert "train and test 152 + 17" in " ".join(page.text.split())
    assert "alidation" not in page.text.split("Data set")[0]


def test_a_long_run_still_fits_in_a_megabyte(tmp_path: Path) -> None:
    run = Run(tmp_path, until="prepare")
    run.write("run.json", run.lock(list(run.stages)))
    run.train(steps=5000)
    run.evaluate()
    path = tmp_path / "evaluate/samples.jsonl"
    long = dict.fromkeys(("base", "few_shot", "tuned"), "wait " * 5000)
    path.write_text("".join(json.dumps(proofs.sample(i, answers=long)) + "\n" for i in range(300)))
    assert len(run.report().encode()) < 500_000


# --------------------------------------------------------------------------------------------------------- escaping


def test_what_documents_and_models_say_is_escaped(tmp_path: Path) -> None:
    evil = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>"
    run = Run(tmp_path)
    run.update("run.json", command=evil, hardware={evil: evil}, versions={evil: evil})
    failures = [{"source": evil, "where": evil, "reason": evil}]
    run.update("gather/summary.json", sources={evil: 1}, failures=failures, licences={evil: 1}, reasons={evil: 1})
    run.update("gather/summary.json", crawls={evil: {"fetched": 2, "rendered": {evil: 1}}}, robots={evil: 1})
    reasons = [{"step": evil, "before": 2, "after": 1, "changed": 0, "dropped": 1, "reasons": {evil: 1}}]
    run.update("clean/summary.json", funnel=reasons, evidence={evil: [{evil: evil}]}, languages={evil: 1})
    run.update("prepare/summary.json", template=evil)
    doubts = [Warning(kind="skipped", message=evil)]
    odd = {"models": dict.fromkeys(proofs.MODELS, evil), "signatures": {evil: evil}, "settings": {evil: {evil: evil}}}
    checks = {evil: {evil: evil, "rows": [{evil: evil}], "by name": {evil: {evil: evil}}}}
    run.evaluate(PROOF.model_copy(update={"warnings": doubts, "checks": checks, "details": {"tuned": checks}, **odd}))
    answers = dict.fromkeys(proofs.MODELS, evil)
    row = proofs.sample(0, answers=answers, prompt=evil, reference=evil, document_id=evil, step=evil)
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(row))
    page = Page(run.report())
    assert not page.all("script", "img")
    assert page.text.count(evil) >= 20


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path: Path) -> None:
    run = Run(tmp_path)
    answers = {"base": "", "tuned": "mind \ud83d the whistle"}
    (tmp_path / "evaluate/samples.jsonl").write_text(json.dumps(proofs.sample(0, answers=answers)))
    assert "mind ? the whistle" in run.report()


# ---------------------------------------------------------------------------------------------------- what it says


def test_the_verdict_comes_first_and_the_sections_follow_in_order(page: Page) -> None:
    sections = [found["id"] for found in page.all("section")]
    story = ["made", "funnel", "documents", "sources", "evidence", "data", "curves", "scores", "checks", "samples"]
    assert sections == ["verdict", "figures", *story, "reproduce"]


def test_the_report_tells_each_figure_of_the_run(page: Page) -> None:
    text = " ".join(page.text.split())
    for part in (
        "Better than its base model, and better than prompting it with examples. Against its base model",
        "In figures How the tuned model differs from ● its base model and from ◆ that model with examples in its",
        *(" ".join(figure.split()) for figure in verdict(PROOF).figures),
        "LoRA, rank 16, alpha 32",
        "8,429,824, of which 589,824 (7.0%) trained",
        "Time 1 min 47 s",
        "memory gib 7.8",
        "near duplicate: 14; exact duplicate: 5",
        "152 + 17",
        "http://127.0.0.1:8000/ledger.html",
        "forbidden by robots.txt",
        "Home · Kettles · Second Boil · The Steam Letter",
        "Pages Of Home · Kettles · Second Boil · The Steam Letter 127.0.0.1 47 47 The old lifeboat house",
        "Times Different Documents email 51 4 39 phone 40 3 31",
        "The power cut 9f86d081884c7d65 · The lights went 3",
        "The licence they declare Licence Documents none 177 cc-by-4.0 12",
        "What robots.txt said of their pages robots.txt Documents allowed 45 no robots.txt 2",
        "Words per document: 17,203 in 169 documents",
        "Tokens that count in the loss 21,725 2,371",
        "Final loss 1.431",
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1",
        "Settings of continuation: split 0.5, temperature 0",
        "10 of 17 answers to continuation. Nobody picked them.",
        "steep demo",
        "train.seed 42",
        "transformers 5.23.0",
    ):
        assert part in text, part


def test_of_evidence_the_most_frequent_is_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    run = Run(tmp_path, until="clean")
    blocks = [{"block": f"menu {i:02}", "site": "a.example", "documents": 40 + i, "of": 90} for i in range(20)]
    run.update("clean/summary.json", evidence={"whitespace": [], "boilerplate": blocks})
    text = " ".join(Page(run.report()).text.split())
    assert re.search(r"Pages Of menu 19 a\.example 59 90 menu 18 .* menu 08 a\.example 48 90 and 8 more", text)
    assert "Whitespace" not in text


def test_what_a_step_without_a_form_of_its_own_found_is_shown_too(tmp_path: Path) -> None:
    run = Run(tmp_path, until="clean")
    run.update("clean/summary.json", evidence={"function": [{"rule": "no letters", "share": 0.25, "documents": 3}]})
    text = " ".join(Page(run.report()).text.split())
    assert "Function What this step found Rule Share Documents no letters 0.25 3" in text


def test_of_many_failures_a_few_of_each_reason_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    run = Run(tmp_path, until="gather")
    failures = [{"source": "files", "where": f"page-{i:02}.txt", "reason": "binary"} for i in range(49)]
    failures.append({"source": "files", "where": "last.txt", "reason": "empty file"})
    run.update("gather/summary.json", failed=1234, failures=failures, reasons={"binary": 1200, "empty file": 34})
    text = " ".join(Page(run.report()).text.split())
    assert "Reason Times binary 1,200 empty file 34" in text
    assert "4 of 1,234; all of them are in gather/failed.parquet" in text
    assert re.findall(r"[\w-]+\.txt", text.partition("failed.parquet")[2])[:4] == [
        *("page-00.txt", "page-01.txt", "page-02.txt"),
        "last.txt",
    ]


def test_a_reason_that_each_failure_has_of_its_own_is_told_once(tmp_path: Path) -> None:
    text = Page(Run(tmp_path, until="gather").report()).text
    assert text.count("HTTP 500") == 1


def test_of_a_crawl_the_pages_are_told_that_a_browser_rendered_and_why(tmp_path: Path) -> None:
    run = Run(tmp_path, until="gather")
    crawl = {"fetched": 1047, "rendered": {"no main text": 12, "an empty place": 3}, "robots": {"allowed": 1047}}
    run.update("gather/summary.json", crawls={"kettles": crawl})
    text = " ".join(Page(run.report()).text.split())
    assert "kettles Rendered: no main text: 12; an empty place: 3 robots.txt: allowed: 1,047" in text
    assert "1,047 15" in text


def test_a_summary_of_an_earlier_version_has_a_report(tmp_path: Path) -> None:
    run = Run(tmp_path, until="clean")
    old = {"documents": 3, "words": 9, "failed": 1, "sources": {"a": 3}}
    run.write("gather/summary.json", old | {"failures": [{"source": "a", "where": "b.txt", "reason": "empty"}]})
    run.write("clean/summary.json", {"documents": 3, "words": 9, "funnel": [], "evidence": {}})
    assert "b.txt" in run.report()


def test_a_run_that_ended_after_cleaning_begins_with_its_documents(tmp_path: Path) -> None:
    text = " ".join(Page(Run(tmp_path, until="clean").report()).text.split())
    for part in (
        "169 documents are clean. No verdict yet. This run has finished gather, clean. To go on from here: steep demo",
        "Documents 169 of 189 gathered Words 17,203 of 20,481 gathered Redacted 91 email, phone",
        "Failed 2 could not be gathered",
        "What is to be made",
    ):
        assert part in text, part


def test_long_lists_are_cut_and_say_how_much_more_there_is() -> None:
    counts = {f"licence {i:02}": i for i in range(30)}
    rows, more = listed(counts)
    assert (rows[0], len(rows), more) == (("licence 29", 29), 12, 18)
    assert reasons({"a": 1, "b": 2}) == "b: 2; a: 1"
    assert reasons(counts).endswith("licence 25: 25; 25 more reasons")


def test_of_a_long_prompt_the_end_is_shown_where_the_models_go_on() -> None:
    shown = ending("far away " * 200 + "and here it stops")
    assert shown.startswith("[…] ")
    assert shown.endswith("and here it stops")
    assert len(shown) < 900


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
        for text in ("ink", "muted", "accent", "better", "worse"):
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


STEP = {"step": 1, "loss": 3.0, "learning_rate": 0.1, "tokens_per_second": 100.0}


def training(folder: Path, *rows: dict[str, Any]) -> dict[str, Any]:
    (folder / "train").mkdir()
    (folder / "train" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return curves(folder)


def test_the_validation_loss_is_drawn_beside_the_loss(tmp_path: Path) -> None:
    validations = [{"step": 1, "eval_loss": 2.5}, {"step": 2, "eval_loss": 2.25}]
    found = training(tmp_path, STEP, validations[0], {**STEP, "step": 2, "loss": 2.0}, validations[1])
    assert found["validated"]
    told = "Training loss at each of 2 steps, from 3 to 2. Validation loss at each of 2 steps, from 2.5 to 2.25."
    assert told in found["wide"]
    assert "stroke-dasharray" in found["wide"]


def test_without_a_validation_nothing_is_drawn_or_said_of_one(tmp_path: Path) -> None:
    found = training(tmp_path, STEP, {**STEP, "step": 2})
    assert (found["validated"], found["quality"]) == (False, {})
    assert "Validation" not in found["wide"]
    assert "stroke-dasharray" not in found["wide"]


@pytest.mark.parametrize(
    ("column", "title"),
    [
        ("rewards/accuracies", "chosen answer is preferred"),
        ("accuracy", "chosen answer has the higher score"),
        ("reward", "Mean reward of the answers"),
    ],
)
def test_what_an_objective_logs_of_its_progress_has_a_chart(tmp_path: Path, column: str, title: str) -> None:
    found = training(tmp_path, {**STEP, column: -0.5}, {"step": 1, "eval_loss": 2.0}, {**STEP, "step": 2, column: 0.75})
    ((said, drawing),) = found["quality"].items()
    assert title in said
    assert "at each of 2 steps, from -0.5 to 0.75." in drawing


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"method": "adalora", "adalora": {"init_r": 8, "target_r": 4}}, "AdaLoRA, rank 8 to 4"),
        ({"method": "adaption-prompt"}, "adaption prompt of 10 tokens"),
        ({"method": "lora", "lora": {"use_dora": True, "rank": 4}}, "DoRA, rank 4, alpha 32"),
        ({"method": "full"}, "full fine-tuning"),
    ],
)
def test_the_method_is_named(train: dict[str, Any], said: str) -> None:
    assert method_in_words(Train.model_validate(train).model_dump()) == said


def words_of(drawing: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)", drawing)


def test_a_histogram_of_lengths_has_its_limits_between_the_bars_and_no_gap() -> None:
    drawing = document_lengths({"8": 4, "64": 93, "2048": 12_345})
    limits = ["8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k"]
    assert words_of(drawing) == [*limits, "words", "4", "93", "12k"]
    assert "From 8 to fewer than 4,096 words; the most frequent are documents of 2,048 to fewer than 4,096" in drawing


def test_lengths_of_very_different_documents_are_in_fewer_wider_bars() -> None:
    drawing = document_lengths({"1": 1, "2": 2, "1048576": 3})
    assert words_of(drawing)[:3] == ["1", "4", "16"]
    assert words_of(drawing)[-3:] == ["words", "3", "3"]


def test_rare_languages_share_a_bar() -> None:
    drawing = languages({f"l{i}": 100 - i for i in range(9)})
    assert words_of(drawing) == [*(f"l{i}" for i in range(7)), "2 more", *(str(100 - i) for i in range(7)), "185"]


def test_a_bar_has_its_count_above_it_in_few_characters() -> None:
    drawing = bars(Chart("bars", "Bars", ""), ["a", "b", "c", "d"], [0, 9999, 123_456, 2_500_000])
    assert words_of(drawing)[-3:] == ["9,999", "123k", "2.5M"]


# ---------------------------------------------------------------------------------------------------------- browser


@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_fits_its_window_and_asks_for_nothing(tmp_path: Path, browser: Any, width: int) -> None:
    run = Run(tmp_path)
    long = "https://kettles.example/" + "whistle" * 60
    failures = [{"source": long, "where": long, "reason": long}]
    crawls = {long: {"fetched": 12_345_678, "rendered": {long: 1}}}
    counts = {long: 12_345_678}
    run.update("gather/summary.json", failures=failures, sources=counts, licences=counts, robots=counts, crawls=crawls)
    blocks = [{"site": long, "block": long, "documents": 47, "of": 12_345_678}]
    run.update("clean/summary.json", evidence={"boilerplate": blocks})
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

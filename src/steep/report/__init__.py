"""``report.html``: one file that shows a run to others. Verdict first, then how it came about, last how to repeat it.

Everything is in the file: no script, no font, no image is fetched, and its content security policy forbids it. What
documents and models say is escaped. A stage that has not run leaves a note in place of its section.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steep.report import charts
from steep.report.evidence import found
from steep.report.files import read_json
from steep.report.funnel import funnel_of, sides_of, unit_of
from steep.report.proof import proof
from steep.report.wording import count, duration, environment, method_in_words, plain
from steep.runs import STAGES
from steep.scores import read_scores

__all__ = ["build_report"]

FAILURES_SHOWN = 20
FAILURES_OF_A_REASON = 3


def build_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder from what its finished stages left there."""
    run = read_json(run_folder / "run.json")
    done = [stage for stage in STAGES if run["stages"].get(stage, {}).get("finished")]
    summaries = {stage: read_json(run_folder / stage / "summary.json") for stage in done if stage != "evaluate"}
    scores = read_scores(run_folder / "evaluate" / "scores.json") if "evaluate" in done else None
    funnel, sides = funnel_of(summaries), sides_of(summaries)
    page = (
        environment()
        .get_template("report.html.jinja")
        .render(
            run=run,
            done=done,
            made=_made(run, summaries.get("train")),
            so_far=list(_so_far(summaries)),
            funnel=funnel,
            sides=sides,
            unit=unit_of(funnel, sides),
            failures=_some(summaries["gather"]["failures"]) if "gather" in done else [],
            **{stage: summaries.get(stage) for stage in STAGES[:-1]},
            **_cleaned(summaries.get("clean", {})),
            evaluate=scores,
            **proof(run_folder, run["recipe"], scores),
            curves=charts.curves(run_folder) if "train" in done else {},
            lengths=charts.example_lengths(run_folder / "prepare" / "train.parquet") if "prepare" in done else None,
            recipe_yaml=_yaml(run["recipe"]),
            repeat={"Run folder": run["folder"]} | dict(_seeds(run["recipe"])),
        )
    )
    return _write(run_folder / "report.html", page)


def _write(path: Path, page: str) -> Path:
    partial = path.with_suffix(".partial")
    partial.write_bytes(page.encode("utf-8", "replace"))  # half a surrogate pair in a document must not end the run
    return partial.replace(path)


def _made(run: Mapping[str, Any], train: Mapping[str, Any] | None) -> dict[str, str]:
    """What the run made, as label and value."""
    model, options = run["recipe"]["model"], run["recipe"]["train"]
    scratch = model.get("from_scratch")
    facts = {
        "Name": run["name"],
        "Base model": "none: trained from scratch" if scratch else model["base"],
        "Method": "all weights" if scratch else method_in_words(options),
        "Objective": options.get("objective", "sft"),
    }
    if model.get("quantization", "none") != "none":
        facts["Base model"] += f", in {model['quantization']}"
    if train:
        if train["base_revision"] and not scratch:
            facts["Base model"] += f", commit {train['base_revision']}"
        share = train["trainable_parameters"] / max(1, train["parameters"])
        facts["Parameters"] = f"{count(train['parameters'])}, of which {count(train['trainable_parameters'])} "
        facts["Parameters"] += f"({share:.1%}) trained"
        facts["Trained on"] = f"{train['device']}, {train['dtype']}"
    facts["Time"] = duration(sum(stage["seconds"] for stage in run["stages"].values()))
    facts["Hardware"] = plain(run["hardware"])
    return facts


def _so_far(summaries: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Of the documents, where nothing is measured yet: a name, a figure and what it is to be compared with."""
    gather, clean = summaries.get("gather"), summaries.get("clean")
    for name in ("documents", "words"):
        if clean and gather:
            yield name.capitalize(), clean[name], f"of {gather[name]:,} gathered"
        elif gather:
            yield name.capitalize(), gather[name], "gathered"
    redacted = clean["evidence"].get("redact") if clean else None
    if redacted:
        yield "Redacted", sum(kind["occurrences"] for kind in redacted), ", ".join(kind["kind"] for kind in redacted)
    if gather and gather["failed"]:
        yield "Failed", gather["failed"], "could not be gathered"


def _some(failures: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """If they are many a few of each reason, since one reason is often the reason of all."""
    if len(failures) <= FAILURES_SHOWN:
        return list(failures)
    times: Counter[str] = Counter()
    chosen = []
    for failure in failures:
        times[failure["reason"]] += 1
        if times[failure["reason"]] <= FAILURES_OF_A_REASON:
            chosen.append(failure)
    return chosen[:FAILURES_SHOWN]


def _cleaned(clean: Mapping[str, Any]) -> dict[str, Any]:
    lengths, languages = clean.get("lengths"), clean.get("languages")
    return {
        "found": list(found(clean.get("evidence", {}))),
        "document_lengths": charts.document_lengths(lengths) if lengths else None,
        "languages": charts.languages(languages) if languages else None,
    }


def _yaml(recipe: Mapping[str, Any]) -> str:
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 100
    stream = io.StringIO()
    yaml.dump(recipe, stream)
    return stream.getvalue()


def _seeds(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Every `seed` of a recipe with its dotted path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = f"{path}.{key}" if path else key
            yield from [(where, inner)] if key == "seed" else _seeds(inner, where)
    elif isinstance(value, list):
        for inner in value:
            yield from _seeds(inner, path)

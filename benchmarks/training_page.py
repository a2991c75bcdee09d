"""The results of `train.py` as a table of docs/performance.md and as pictures beside it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- benchmarks/train.py --plot: begin -->\n", "<!-- benchmarks/train.py --plot: end -->\n"
NAMES = {"steep": "steep", "unsloth": "Unsloth", "trl-liger": "TRL + Liger", "trl": "TRL"}
COLOURS = {"steep": "#0b6e4f", "steep fp8": "#6cc3a0", "unsloth": "#d1495b", "trl-liger": "#30638e", "trl": "#8d99ae"}
HEADING = (
    "| work | engine | rows | checkpointing | tokens/s | spread | GiB | loss | gradient | first step |\n"
    "|---|---|--:|---|--:|--:|--:|---|---|--:|\n"
)
SUMMARY = (
    "| work | steep, tokens/s | fastest peer, tokens/s | ratio | ratio within the peer's memory | losses apart |\n"
    "|---|---|---|--:|---|--:|\n"
)
GROWTH = "growth-"


def write(content: dict[str, Any], docs: Path = DOCS) -> None:
    """Replace what is between the markers of performance.md, and draw the pictures."""
    page = docs / "performance.md"
    text = page.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} has no place for the table: put the lines {BEGIN!r} and {END!r} where it belongs")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    pictures = draw(content, docs)
    page.write_text(f"{before}{BEGIN}\n{section(content, pictures)}\n{END}{after}", "utf-8")


# --------------------------------------------------------------------------------------------------------------- table


def section(content: dict[str, Any], pictures: list[tuple[str, str]]) -> str:
    rows = [row for row in good(content["rows"]) if not row["work"].startswith(GROWTH)]
    works = list(dict.fromkeys(row["work"] for row in rows))
    lines = [table_line(row) for work in works for row in best([row for row in rows if row["work"] == work])]
    compared = [one for one in content["results"] if not one["work"].startswith(GROWTH)]
    parts = [machine(content), SUMMARY + "".join(map(summary_line, compared))]
    parts += ["".join(f"![{said}]({name})\n" for name, said in pictures), HEADING + "".join(lines)]
    return "\n".join([*parts, *failures(content["rows"])])


def summary_line(result: dict[str, Any]) -> str:
    own, peer, small = result["steep"], result["peer"], result.get("within_memory")
    gap = result.get("largest_difference_of_loss")
    cells = [
        result["work"],
        f"{own['tokens_per_second']:,.0f} ({setting(own)})",
        f"{peer['tokens_per_second']:,.0f} ({NAMES[peer['engine']]}, {setting(peer)})",
        f"{result['ratio']:.2f}",
        f"{small['ratio']:.2f} ({setting(small)})" if small else "",
        f"{gap:.1e}" if gap is not None else "",
    ]
    return f"| {' | '.join(cells)} |\n"


def setting(row: dict[str, Any]) -> str:
    return f"{row['batch']} rows, {row['checkpointing']}, {row['peak_gib']:.1f} GiB"


def good(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if "error" not in row]


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest setting of each engine, the fastest engine first."""
    order = sorted(rows, key=lambda row: -float(row["tokens_per_second"]))
    return [row for place, row in enumerate(order) if row["engine"] not in {one["engine"] for one in order[:place]}]


def table_line(row: dict[str, Any]) -> str:
    cells = [
        row["work"],
        NAMES[row["engine"]],
        f"{row['batch']} {form(row)}".strip(),
        row["checkpointing"],
        f"{row['tokens_per_second']:,.0f}",
        f"{row['spread']:.1%}",
        f"{row['peak_gib']:.1f}",
        f"{row['losses'][0]:.3f}, {row['loss']:.3f}",
        f"{row['grad_norms'][0]:.3f}, {row['grad_norm']:.3f}",
        f"{row['seconds_to_first_step']:.0f} s",
    ]
    return f"| {' | '.join(cells)} |\n"


def form(row: dict[str, Any]) -> str:
    """Of short texts: whether a row holds several."""
    if row["length"]:
        return ""
    return "packed" if row["packing"] else "texts, by length" if row["grouped"] else "texts"


def machine(content: dict[str, Any]) -> str:
    devices = content["machine"]["devices"]
    said = [
        f"{place}: {', '.join(f'{name} {found}' for name, found in content['versions'][place].items())}"
        for place in ("steep", "peers")
    ]
    return f"{content['made']}, {len(devices)} x {devices[0]}, one process on each. Versions of {'; of '.join(said)}.\n"


def failures(rows: list[dict[str, Any]]) -> list[str]:
    failed = [f"`{row['work']}` {row['setting']} ({row['error'][:80].strip()})" for row in rows if "error" in row]
    return [f"Without a result: {'; '.join(failed)}.\n"] if failed else []


# ------------------------------------------------------------------------------------------------------------ pictures


def draw(content: dict[str, Any], docs: Path) -> list[tuple[str, str]]:
    """The pictures' files and what they show."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "steep", "axes.spines.top": False, "axes.spines.right": False})
    rows = good(content["rows"])
    works = [row for row in rows if not row["work"].startswith(GROWTH)]
    made = [("train_speed.svg", "tokens a second of each engine and work", speeds(works))]
    made += [("train_curves.svg", "losses and gradient norms of all engines on the same rows", curves(works))]
    if len(works) < len(rows):
        made += [("train_growth.svg", "tokens a second and memory over length and rows", growth(rows))]
    for name, _, figure in made:
        figure.savefig(docs / name, metadata={"Date": None}, facecolor="white")
    return [(name, said) for name, said, _ in made]


def speeds(rows: list[dict[str, Any]]) -> Any:
    """Bars: the fastest setting of each engine."""
    from matplotlib.figure import Figure

    works = list(dict.fromkeys(row["work"] for row in rows))
    bars = [(work, row) for work in reversed(works) for row in reversed(best([r for r in rows if r["work"] == work]))]
    figure = Figure(figsize=(8, 0.6 + 0.24 * len(bars)), layout="constrained")
    axes = figure.subplots()
    values = [row["tokens_per_second"] for _, row in bars]
    axes.barh(range(len(bars)), values, color=[COLOURS[row["engine"]] for _, row in bars])
    axes.set_yticks(range(len(bars)), [f"{work}  {NAMES[row['engine']]}" for work, row in bars], fontsize=8)
    for place, (_, row) in enumerate(bars):
        axes.text(row["tokens_per_second"], place, f" {row['tokens_per_second']:,.0f}", va="center", fontsize=7)
    axes.set_xlabel("trained tokens a second")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def curves(rows: list[dict[str, Any]]) -> Any:
    """Of LoRA; over tokens, so that batches of several sizes can be set beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("losses", "grad_norms"), strict=True):
        for row in [*best([row for row in rows if row["work"] == "lora-bf16"]), *fp8(rows)]:
            tokens = list(accumulate([row["tokens_per_step"]] * len(row[name])))
            kind = "steep fp8" if row["quantization"] == "fp8" else row["engine"]
            label = f"{NAMES.get(kind, kind)}, {row['batch']} rows"
            axes.plot(tokens, row[name], label=label, color=COLOURS[kind], lw=1.2, alpha=0.8)
        axes.set_xlabel("trained tokens")
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_title({"losses": "loss", "grad_norms": "norm of the gradient"}[name], fontsize=10)
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def fp8(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return best([row for row in rows if row["work"] == "lora-fp8"])


def growth(rows: list[dict[str, Any]]) -> Any:
    """Above speed and below memory; on the left over the length of one row, on the right over rows of 2,048 tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    panels = figure.subplots(2, 2)
    for column, kind in enumerate(("length", "batch")):
        chosen = [row for row in rows if row["work"].startswith(f"{GROWTH}{kind}") or _first(row, kind)]
        for line, points in series(chosen, kind).items():
            for axes, value in zip(panels[:, column], ("tokens_per_second", "peak_gib"), strict=True):
                at = sorted((row[kind], row[value]) for row in points)
                axes.plot(*zip(*at, strict=True), marker="o", ms=3, color=COLOURS[line], label=NAMES.get(line, line))
                axes.set_xscale("log", base=2)
        for axes in panels[:, column]:
            places = sorted({row[kind] for row in chosen})
            axes.set_xticks(places, [f"{place:,}" for place in places], fontsize=8)
            axes.set_ylim(bottom=0)
        panels[1, column].set_xlabel({"length": "tokens of one row", "batch": "rows of 2,048 tokens"}[kind])
    panels[0, 0].set_ylabel("trained tokens a second")
    panels[1, 0].set_ylabel("GiB at most")
    panels[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _first(row: dict[str, Any], kind: str) -> bool:
    """One row of 2,048 tokens is measured once for both columns."""
    return kind == "batch" and row["work"] == f"{GROWTH}length-2048"


def series(rows: list[dict[str, Any]], kind: str) -> dict[str, list[dict[str, Any]]]:
    """By engine; of several settings at one place the fastest."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: float(row["tokens_per_second"])):
        line = "steep fp8" if row["quantization"] == "fp8" else row["engine"]
        found.setdefault(line, {})[row[kind]] = row
    return {line: list(points.values()) for line, points in sorted(found.items())}

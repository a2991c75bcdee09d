"""Charts as inline SVG that follow the page around them: its colours, its font, light and dark.

matplotlib draws with stand-in colours, which become CSS variables of the page. Text stays text, so that a chart can be
read aloud and searched; the price is that labels are placed by the widths of another font. 400 points take about 16 kB.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from steep.scores import Word

INK, MUTED, RULE, ACCENT = "#000001", "#000002", "#000003", "#000004"
BETTER, WORSE, PAPER = "#000005", "#000006", "#000007"
CSS_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    BETTER: "var(--better)",
    WORSE: "var(--worse)",
    PAPER: "var(--paper)",
}
RUNS = ("#000010", "#000011", "#000012", "#000013", "#000014", "#000015")
CSS_COLOURS |= {colour: f"var(--run-{number})" for number, colour in enumerate(RUNS, 1)}
MAX_POINTS = 400
FEWEST_BARS = 5
"""There is room for so many bars at least, so that a single one is no wall."""
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "steep",
    "font.size": 11,
    "text.color": MUTED,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart is called and how large it is in CSS pixels; ``name`` is the prefix of its ids."""

    name: str
    title: str
    description: str
    width: int = 330
    height: int = 150


Points = tuple[Sequence[float], Sequence[float]]


def line_chart(
    chart: Chart, x: Sequence[float], y: Sequence[float], *, smooth: bool = False, beside: Points = ((), ())
) -> str:
    """A line from zero up; or with ``smooth`` the points, and in front their running mean over a tenth of all.

    ``beside``: a second series, drawn as diamonds on a dashed line.
    """
    x, y = _binned(x), _binned(y)
    with _axes(chart) as (axes, figure):
        front = _running_mean(y, max(1, len(y) // 20)) if smooth else y
        if smooth:
            axes.plot(x, y, color=MUTED, linewidth=0.9, alpha=0.55)
        axes.plot(x, front, color=ACCENT, linewidth=1.8, marker="o" if len(x) == 1 else "")
        axes.plot(_binned(beside[0]), _binned(beside[1]), "--", color=INK, linewidth=1.2, marker="D", markersize=4)
        axes.set_xlabel("step")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02, y=0.12)
        if not smooth:
            axes.set_ylim(bottom=0)  # so that noise does not look like a trend
        return _svg(figure, chart)


def overlaid(chart: Chart, curves: Sequence[tuple[Sequence[float], Sequence[float]]], *, xlabel: str) -> str:
    """Running means over a tenth of each curve's points, in the page's colours `--run-1` to `--run-6`, then dashed."""
    with _axes(chart) as (axes, figure):
        for place, (x, y) in enumerate(curves):
            x, y = _binned(x), _binned(y)
            dashes = "-" if place < len(RUNS) else "--"
            colour = RUNS[place % len(RUNS)]
            marker = "o" if len(x) == 1 else ""
            axes.plot(x, _running_mean(y, max(1, len(y) // 20)), dashes, color=colour, linewidth=1.8, marker=marker)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_formatter(lambda value, _: _short(round(value)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.margins(x=0.02, y=0.08)
        return _svg(figure, chart)


def histogram(chart: Chart, values: Sequence[int], *, xlabel: str) -> str:
    """Bars of equal whole width, about 20 of them."""
    width = max(1, math.ceil((max(values) - min(values)) / 20))
    with _axes(chart) as (axes, figure):
        axes.hist(values, bins=range(min(values), max(values) + width + 1, width), color=ACCENT, rwidth=0.9)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.yaxis.get_major_locator().set_params(integer=True)
        return _svg(figure, chart)


def bars(chart: Chart, labels: Sequence[str], counts: Sequence[int], *, xlabel: str = "") -> str:
    """Bars with their counts above them. One label more than bars: they stand where the bars meet."""
    with _axes(chart) as (axes, figure):
        between = len(labels) - len(counts)
        axes.bar(range(len(counts)), counts, color=ACCENT, width=0.92)
        axes.set_xticks([place - between / 2 for place in range(len(labels))], labels)
        for place, count in enumerate(counts):
            axes.annotate(
                _short(count) if count else "", (place, count), (0, 2), textcoords="offset points", ha="center", size=9
            )
        axes.set_xlim(-0.6, max(len(counts), FEWEST_BARS) - 0.4)
        axes.set_xlabel(xlabel)
        axes.yaxis.set_visible(False)
        axes.grid(visible=False)
        return _svg(figure, chart)


@dataclass(frozen=True, slots=True)
class Mark:
    """A difference and its interval; what is proven is a full mark in its colour, what is not a hollow one."""

    value: float
    low: float
    high: float
    word: Word


WORD_COLOURS: dict[Word, str] = {"better": BETTER, "worse": WORSE, "not proven": MUTED}
MARKERS = "oD"
ROW_HEIGHT = 22


@dataclass(frozen=True, slots=True)
class Point:
    """``x`` is a number, or a text that is one of few; ``whole``: a full mark, else a hollow one."""

    x: float | str
    y: float
    whole: bool


def scatter(chart: Chart, points: Sequence[Point], *, xlabel: str, ylabel: str, log: bool = False) -> str:
    """Points; ``log``: the numbers below on a logarithmic axis. Texts stand in the order in which they first come."""
    words = list(dict.fromkeys(point.x for point in points if isinstance(point.x, str)))
    with _axes(chart) as (axes, figure):
        for whole, colour, face in ((False, MUTED, PAPER), (True, ACCENT, ACCENT)):  # the full ones in front
            shown = [point for point in points if point.whole == whole]
            x = [words.index(point.x) if isinstance(point.x, str) else point.x for point in shown]
            y = [point.y for point in shown]
            axes.plot(x, y, "o", color=colour, markerfacecolor=face, markeredgewidth=1.4, markersize=6)
        if log:
            _logarithmic(axes, [float(point.x) for point in points])
        elif words:
            axes.set_xticks(range(len(words)), words)
        elif all(isinstance(point.x, int) for point in points):
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.08, y=0.1)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace("-", "−"))
        return _svg(figure, chart)


def _logarithmic(axes: Any, values: Sequence[float]) -> None:
    """With ticks at 1 and 3 of each power of ten; over three of them and more at 1 alone."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if max(values) >= 1000 * min(values) else (1, 3)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def forest(chart: Chart, labels: Sequence[str], series: Sequence[Sequence[Mark | None]], *, xlabel: str) -> str:
    """A row for each label, in it a mark of each series, the first as a circle and the second as a diamond. What is
    better lies to the right of zero.

    The chart's height is that of the axis alone: the rows come on top of it.
    """
    height = chart.height + ROW_HEIGHT * len(labels) * len(series)
    chart = replace(chart, height=height)
    with _axes(chart) as (axes, figure):
        for place, marks in enumerate(series):
            shift = (place - (len(series) - 1) / 2) / (len(series) + 0.4)
            for row, mark in enumerate(marks):
                if mark:
                    _mark(axes, mark, row + shift, MARKERS[place])
        axes.axvline(0, color=INK, linewidth=1)
        for side, text, way in (("right", "← worse", -1), ("left", "better →", 1)):
            axes.annotate(text, (0, -0.6), (8 * way, 4), textcoords="offset points", ha=side, annotation_clip=False)
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.10g}".replace("-", "−"))
        axes.set_xlabel(xlabel)
        return _svg(figure, chart)


def _mark(axes: Any, mark: Mark, y: float, marker: str) -> None:
    colour = WORD_COLOURS[mark.word]
    axes.plot([mark.low, mark.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    face = PAPER if mark.word == "not proven" else colour
    size = 6.5 if marker == "D" else 7.5
    axes.plot([mark.value], [y], marker, color=colour, markerfacecolor=face, markeredgewidth=1.6, markersize=size)


def _short(value: int) -> str:
    """In at most five characters."""
    if value < 10_000:
        return f"{value:,}"
    return f"{value / 1e3:.0f}k" if value < 999_500 else f"{value / 1e6:.1f}M"


@contextmanager
def _axes(chart: Chart) -> Iterator[tuple[Any, Any]]:
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot: it would keep figures and choose a display
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(chart.width / 72, chart.height / 72), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.xaxis.set_major_locator(MaxNLocator(max(3, chart.width // 90)))
        axes.yaxis.set_major_locator(MaxNLocator(max(3, chart.height // 50)))
        yield axes, figure


def _binned(values: Sequence[float]) -> list[float]:
    """At most MAX_POINTS means of neighbours."""
    count = min(len(values), MAX_POINTS)
    edges = [len(values) * i // count for i in range(count + 1)] if count else []
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _svg(figure: Any, chart: Chart) -> str:
    """The figure as an element for an HTML page: no namespaces, no ids that another chart has, colours from CSS."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = ElementTree.fromstring(buffer.getvalue())
    for parent in list(drawing.iter()):
        for child in [child for child in parent if child.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)  # a style element would reach the whole page
    for element in drawing.iter():
        _for_page(element, chart.name)
    drawing.attrib = {
        "viewBox": f"0 0 {chart.width} {chart.height}",
        "width": str(chart.width),
        "height": str(chart.height),
        "role": "img",
        "aria-labelledby": f"{chart.name}-title {chart.name}-desc",
    }
    for position, (tag, text) in enumerate((("title", chart.title), ("desc", chart.description))):
        element = ElementTree.Element(tag, id=f"{chart.name}-{tag}")
        element.text = text
        drawing.insert(position, element)
    return ElementTree.tostring(drawing, encoding="unicode")


def _for_page(element: ElementTree.Element, prefix: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    attributes = {}
    for name, value in element.attrib.items():
        value = re.sub(r"url\(#", f"url(#{prefix}-", value)
        value = re.sub(r"font: [^;]*?([\d.]+px)[^;]*", r"font-size: \1", value)  # matplotlib up to 3.10
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        for colour, variable in CSS_COLOURS.items():
            value = value.replace(colour, variable)
        if name in ("d", "x", "y", "transform"):
            value = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", value)
        name = name.rpartition("}")[2]  # xlink:href and href are one in HTML
        if name == "id":
            value = f"{prefix}-{value}"
        elif name == "href":
            value = f"#{prefix}-{value[1:]}"
        attributes[name] = value
    element.attrib = attributes

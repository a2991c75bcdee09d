"""What the scores of a run say, in words: no more than they show.

A measure is better or worse where Holm's adjusted p-value says so, else `not proven`, which is not the same as equal.
Beside the base model stands the base model with examples in its prompt: a fine-tuning that does not beat prompting is
not worth it, and it is said in the first lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steep.figures import Row, percent, rows_of
from steep.scores import Doubt, Gate, Model, Scores, Word

DOUBTS: dict[Doubt, str] = {
    "few_documents": "Few documents",
    "few_shot": "Prompting",
    "contamination": "Leak from training into test",
    "memorization": "Memorised text",
    "personal_data": "Personal data",
    "canaries": "Canaries",
    "forgetting": "Forgetting",
    "familiarity": "Text that the base model knows",
    "one_label": "Always one label",
    "skipped": "Not measured",
}
_GATES = {"forgetting": "the rise of perplexity on general text"}
_PLAIN: dict[Word, str] = {"better": "better than", "worse": "worse than", "not proven": "not proven better than"}
_OTHER: dict[Model, str] = {"base": "its base model", "few_shot": "the base model with examples in its prompt"}
_WORTH: dict[Word, str] = {
    "better": "",
    "worse": "A fine-tuning that does not beat prompting is not worth it, and this one does worse than prompting.",
    "not proven": "A fine-tuning that does not beat prompting is not worth it; that this one does is not proven.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    headline: str
    sentences: Sequence[str]
    """Against the base model, then against the prompted one."""
    figures: Sequence[str]
    """A sentence for each measure of the verdict."""
    method: str
    """How the intervals were made, and what they do not say."""


def verdict(scores: Scores) -> Verdict:
    told = [row for row in rows_of(scores) if row.told]
    return Verdict(
        headline=_headline(scores, told),
        sentences=tuple(_sentences(scores, told)),
        figures=tuple(_figures(row) for row in told if "tuned" in row.models),
        method=_method(scores, told),
    )


def gate_sentence(gate: Gate) -> str:
    """What a limit of the recipe allowed and what was found."""
    held = "Passed" if gate.passed else "Failed"
    found, limit = (
        f"{100 * share:.2f}".rstrip("0").rstrip(".").replace("-", "−") for share in (gate.value, gate.limit)
    )
    return f"{held}: {_GATES.get(gate.name, gate.name)} is {found}\u00a0%, the recipe allows {limit}\u00a0%."


def _headline(scores: Scores, told: Sequence[Row]) -> str:
    base, prompted = scores.verdict.get("base"), scores.verdict.get("few_shot")
    if "base" not in scores.models:
        return "There is no base model to compare with."
    if base is None:
        return "No verdict: there is no difference that could be tested."
    first = f"{_PLAIN[base]} its base model".capitalize() + _part(told, "base", base)
    if prompted is None:
        return f"{first}."
    if base == prompted == "not proven":
        return f"{first}, nor than prompting it with examples."
    second = f"{_PLAIN[prompted]} prompting it with examples{_part(told, 'few_shot', prompted)}"
    return f"{first}, {_joint(base, prompted)} {second}."


def _part(told: Sequence[Row], other: Model, word: Word) -> str:
    """Where only some of the measures say so, how many: one is enough for a verdict if none is the contrary."""
    words = [row.gaps[other].word for row in told if other in row.gaps]
    found = words.count(word)
    return f" on {found} of {len(words)} measures" if word != "not proven" and found < len(words) else ""


def _joint(base: Word, prompted: Word) -> str:
    if base == prompted or "better" not in (base, prompted):
        return "and"
    return "but" if base == "better" else "though"


def _sentences(scores: Scores, told: Sequence[Row]) -> Iterator[str]:
    if "base" not in scores.models:
        yield "The figures say how well the model fits text it has not seen, not that it is better than another model."
        return
    for other in ("base", "few_shot"):
        if other in scores.verdict:
            yield _counted(other, [row for row in told if other in row.gaps])
    if "base" not in scores.verdict:
        yield _untested(scores)
    if prompted := scores.verdict.get("few_shot"):
        yield from filter(None, (_WORTH[prompted],))
    elif _scores_answers(scores):
        yield (
            "The tuned model is a reward model and judged by its scores; the base is the language model it started "
            "from, judged by how likely it finds the answers."
        )
    elif "base" in scores.verdict:
        yield "Whether prompting the base model with examples would do as well was not measured."


def _scores_answers(scores: Scores) -> bool:
    judgement = scores.details.get("tuned", {}).get("preference", {}).get("judgement", {})
    return bool(judgement.get("judged_by") == "score")


def _untested(scores: Scores) -> str:
    from steep.significance import FEWEST  # with numpy, which `steep check` does without

    if scores.statistics and scores.statistics.clusters < FEWEST:
        here = f"here {'is 1' if scores.statistics.clusters == 1 else f'are {scores.statistics.clusters}'}"
        return f"A test needs {FEWEST} held-out documents that are no near-duplicates of each other; {here}."
    return "No measure of the verdict is defined for both models."


def _counted(other: Model, rows: Sequence[Row]) -> str:
    """On which measures the tuned model is better, on which it is worse and on which neither is proven."""
    words: tuple[Word, ...] = ("better", "worse", "not proven")
    found = {word: [row.label for row in rows if row.gaps[other].word == word] for word in words}
    parts = [_on(word, labels, len(rows)) for word, labels in found.items() if labels]
    said = ", ".join([parts[0], *(part.replace(f" of {len(rows)} measures", "") for part in parts[1:])])
    none = ", worse on none" if found["better"] and found["not proven"] and not found["worse"] else ""
    mixed = " Better on some and worse on others is no proof either way." if found["better"] and found["worse"] else ""
    return f"Against {_OTHER[other]}, on {_documents(rows)}, the tuned model is {said}{none}.{mixed}"


def _on(word: Word, labels: Sequence[str], of: int) -> str:
    plain = "not proven better or worse" if word == "not proven" else word
    if of == 1:
        return f"{plain} on the one measure taken, {labels[0]}"
    if len(labels) == of:
        return f"{plain} on all {of} measures"
    named = "" if word == "better" else f" ({_listed(labels)})"
    return f"{plain} on {len(labels)} of {of} measures{named}"


def _documents(rows: Sequence[Row]) -> str:
    counts = sorted({row.documents for row in rows})
    several = "to".join((f"{counts[0]:,} ", f" {counts[-1]:,}")) if len(counts) > 1 else f"{counts[0]:,}"
    return f"{several} held-out document{'' if counts[-1] == 1 else 's'}"


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else labels[0]


def _figures(row: Row) -> str:
    tuned = row.models["tuned"]
    if "base" not in row.gaps:
        interval = f" ({tuned.interval})" if tuned.interval else ""
        before = f"; of the base model it is {row.models['base'].value}" if "base" in row.models else ""
        return f"{row.label} is {tuned.value}{interval}{before}."
    gap, before = row.gaps["base"], row.models["base"].value
    moved = "stayed at" if gap.rose is None else "rose" if gap.rose else "fell"
    way = f"{moved} {tuned.value}" if gap.rose is None else f"{moved} from {before} to {tuned.value}"
    said = f"{row.label} {way}, {_tested(row, 'base', gap.change)}"
    if "few_shot" not in row.gaps:
        return f"{said}."
    return f"{said}; against prompting ({row.models['few_shot'].value}) {_tested(row, 'few_shot')}."


def _tested(row: Row, other: Model, change: str = "") -> str:
    gap = row.gaps[other]
    share = f" or {change}" if change else ""
    p = gap.p if gap.p.startswith("<") else f"= {gap.p}"
    return f"{gap.value}{share} ({gap.interval}; p {p}): {gap.word}"


def _method(scores: Scores, told: Sequence[Row]) -> str:
    used = scores.statistics
    if used is None or used.clusters < 2:
        return "No intervals could be made."
    tested = sum(1 for row in told if "base" in row.gaps)
    groups = f"{used.clusters:,} documents or groups of near-duplicates"
    interval = f"{percent(used.confidence)} intervals, in brackets, from a paired bootstrap over {groups}"
    drawn = f"{interval} ({used.resamples:,} resamples, seed {used.seed})"
    holm = f"; p-values are two-sided and adjusted for {tested} measures by Holm's method" if tested > 1 else ""
    limits = "They say how far the figures depend on the choice of documents, not on the seed of the training."
    unproven = " Not proven does not mean equal." if "not proven" in scores.verdict.values() or _open(told) else ""
    beside = " An interval without zero may be not proven, once it counts that several measures were tried."
    return f"{drawn}{holm}. {limits}{unproven}{beside if _beside(scores) else ''}"


def _open(told: Sequence[Row]) -> bool:
    return any(gap.word == "not proven" for row in told for gap in row.gaps.values())


def _beside(scores: Scores) -> bool:
    """Whether an interval leaves out zero although the adjusted p-value does not prove a difference."""
    gaps = (gap for measured in scores.metrics.values() for gap in measured.differences.values())
    return any(gap.verdict == "not proven" and (gap.low > 0 or gap.high < 0) for gap in gaps)

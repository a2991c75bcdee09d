"""Recall and precision of the step `redact` on cases in the formats of ten countries, with numbers that are none.

python benchmarks/redaction.py [--json] [--list development|held-out]

A case is a text in which `[[phone:202-555-0143]]` marks what is to be found; a broken bar (¦) stands in keys that a
scanner of repositories would take for real ones. Everything is made up. A find counts when it is the marked characters,
not one more or less. The rules were written while looking at the development half only.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from steep.personal.redaction import FINDERS, redact

CASES = Path(__file__).with_name("redaction_cases.jsonl")
HALVES = ("development", "held-out")
_MARKED = re.compile(rf"\[\[({'|'.join(FINDERS)}):(.*?)\]\]", re.DOTALL)


class Case(NamedTuple):
    country: str
    half: str
    text: str
    marked: Counter[tuple[str, str]]
    """Kind and characters of what is to be found."""
    found: Counter[tuple[str, str]]


class Score(NamedTuple):
    marked: int
    found: int
    right: int

    @property
    def recall(self) -> float:
        return self.right / self.marked if self.marked else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0


def read_cases(path: Path = CASES) -> list[Case]:
    cases = []
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        text = row["text"].replace("¦", "")
        marked = Counter((match[1], match[2]) for match in _MARKED.finditer(text))
        text = _MARKED.sub(lambda match: match[2], text)
        cases.append(Case(row["country"], row["half"], text, marked, _found(text, row["country"])))
    return cases


def _found(text: str, country: str) -> Counter[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    redact(text, region=country, note=lambda kind, raw: found.append((kind, raw)))
    return Counter(found)


def score(cases: Iterable[Case], kind: str) -> Score:
    marked, found, right = 0, 0, 0
    for case in cases:
        wanted, got = (_of(kind, finds) for finds in (case.marked, case.found))
        marked, found, right = marked + wanted.total(), found + got.total(), right + (wanted & got).total()
    return Score(marked, found, right)


def _of(kind: str, finds: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter({find: times for find, times in finds.items() if find[0] == kind})


class Row(NamedTuple):
    cases: str
    """A half, all, or a country."""
    kind: str
    score: Score

    def line(self) -> str:
        marked, found, _ = self.score
        return (
            f"{self.cases:12} {self.kind:6} {marked:6} {found:5} {self.score.recall:6.3f} {self.score.precision:9.3f}"
        )

    def as_dict(self) -> dict[str, str | int | float]:
        figures = {"recall": round(self.score.recall, 4), "precision": round(self.score.precision, 4)}
        return {"cases": self.cases, "kind": self.kind, **self.score._asdict(), **figures}


def table(cases: list[Case]) -> list[Row]:
    """Of each kind in each half and in all, then of each kind in each country."""
    groups = {half: [case for case in cases if case.half == half] for half in HALVES}
    groups["all"] = cases
    groups |= {country: [case for case in cases if case.country == country] for country in _countries(cases)}
    rows = [Row(name, kind, score(members, kind)) for name, members in groups.items() for kind in FINDERS]
    return [row for row in rows if row.score.marked or row.score.found]


def _countries(cases: list[Case]) -> list[str]:
    return list(dict.fromkeys(case.country for case in cases))


def differences(cases: Iterable[Case]) -> Iterable[str]:
    for case in cases:
        for sign, finds in (("missed", case.marked - case.found), ("wrong ", case.found - case.marked)):
            for kind, raw in finds:
                yield f"{sign} {case.country} {kind:6} {raw!r} in {case.text!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall and precision of the step `redact`.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--list", choices=HALVES, help="print what is missed and what is wrong in a half")
    arguments = parser.parse_args()
    cases = read_cases()
    if arguments.list:
        lines = list(differences(case for case in cases if case.half == arguments.list))
    elif arguments.json:
        figures = [row.as_dict() for row in table(cases)]
        lines = [json.dumps({"cases": len(cases), "scores": figures}, indent=1)]
    else:
        nothing = sum(not case.marked for case in cases)
        heading = "cases        kind   marked found recall precision"
        lines = [f"{len(cases)} cases, {nothing} of them with nothing to find", heading]
        lines += [row.line() for row in table(cases)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()

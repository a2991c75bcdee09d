"""Where completions are few labels: which they are, how many answers are right, and what is taken for what.

An answer is a label if nothing but case, blanks around it and punctuation at its end is between them. All others are
`other`, and wrong: a model that writes "This is about sports." has not answered with the label `sports`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steep.evaluate.results import Rows

MOST = 50
"""Labels at most, where the recipe does not name them."""
SINGLES = 0.1
"""... and of the completions at most this share may occur only once: forty summaries are no labels."""
NONE = -1
"""The place of what is no label: the last column of the confusion matrix."""
PUNCTUATION = ".,;:!?…。，、；：！？｡।۔؟،"


@dataclass(frozen=True, slots=True)
class Labels:
    """``names``: by the form in which they are compared, as they are written."""

    names: dict[str, str]

    @property
    def written(self) -> list[str]:
        return list(self.names.values())

    def place(self, text: str) -> int | None:
        """Of the label that a text is; None where it is none."""
        form = compared(text)
        return list(self.names).index(form) if form in self.names else None


@dataclass(frozen=True, slots=True)
class Confusion:
    """``counts``: a row for each label as the truth, a column for each as the answer, and at the end one for `other`.

    ``unlabelled``: references that are none of the labels. No answer to them can be right, and they are in no row.
    ``most_frequent``: the accuracy of always answering the most frequent label.
    """

    labels: list[str]
    counts: list[list[int]]
    unlabelled: int
    most_frequent: float


def compared(text: str) -> str:
    """The form in which labels are equal; a label of punctuation alone stays as it is."""
    form = " ".join(text.casefold().split())
    return form.rstrip(PUNCTUATION + " ") or form


def find_labels(given: Sequence[str], completions: Iterable[str]) -> Labels | None:
    """The labels that the recipe names, or else those of ``completions``, of training and of the test, the most
    frequent first; None where these are not few labels."""
    names: dict[str, str] = {}
    times: Counter[str] = Counter()
    for text in given or completions:
        form = compared(text)
        names.setdefault(form, text.strip())
        times[form] += 1
        if len(times) > MOST and not given:
            return None
    if given:
        return Labels(names)
    if not times or sum(number == 1 for number in times.values()) > SINGLES * times.total():
        return None
    return Labels({form: names[form] for form in sorted(times, key=lambda form: (-times[form], form))})


def label_rows(
    answers: Sequence[str], references: Sequence[Sequence[str]], labels: Labels
) -> tuple[dict[str, Rows], Confusion]:
    """``accuracy`` [answers, 2]; ``macro_f1`` [answers, 3 labels], for each label true positives, false positives and
    false negatives. Where an answer has several references, each of them is right."""
    size = len(labels.names)
    said = [labels.place(answer) for answer in answers]
    true = [truth(labels, one, wanted) for one, wanted in zip(said, references, strict=True)]
    found, wanted = _places(said), _places(true)
    right = (found == wanted) & (found != NONE)
    kinds = (right, found), (~right & (found != NONE), found), (~right & (wanted != NONE), wanted)
    counts = np.zeros((len(answers), size, len(kinds)))
    for kind, (chosen, places) in enumerate(kinds):
        counts[chosen, places[chosen], kind] = 1
    known = wanted != NONE
    matrix = np.zeros((size, size + 1), dtype=int)
    np.add.at(matrix, (wanted[known], found[known]), 1)
    rows = {
        "accuracy": np.stack([right.astype(np.float64), np.ones(len(answers))], axis=1),
        "macro_f1": counts.reshape(len(answers), 3 * size),
    }
    most_frequent = float(matrix.sum(axis=1).max(initial=0)) / max(1, len(answers))
    return rows, Confusion(labels.written, matrix.tolist(), int((~known).sum()), most_frequent)


def _places(places: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array([NONE if place is None else place for place in places], dtype=np.int64)


def truth(labels: Labels, said: int | None, references: Sequence[str]) -> int | None:
    """The place of the reference that an answer is compared with: the one that it gives, or else the first."""
    places = [labels.place(one) for one in references]
    return said if said is not None and said in places else places[0]


def macro_f1(sums: Rows) -> Rows:
    """F1 of each label, averaged over the labels that occur in references or answers; from sums [..., 3 labels].

    Equal to scikit-learn's ``f1_score(average="macro", zero_division=0, labels=those labels)``: `other` is not one of
    them, but an answer that is no label is missed by its true label. Undefined where no label occurs.
    """
    positive, false, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    whole = 2 * positive + false + missed
    f1 = np.divide(2 * positive, whole, out=np.zeros_like(whole), where=whole > 0)
    with np.errstate(invalid="ignore"):
        found: Rows = f1.sum(axis=-1) / (whole > 0).sum(axis=-1)
    return found

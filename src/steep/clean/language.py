"""Drops documents in other languages than the wanted ones.

The language of a text of fewer than five words or twenty letters cannot be told, so it stays. Longer texts go only
where the wanted languages are improbable together: the classifier's 140 languages include many look-alikes of each
other. It sees the first 5,000 characters.

py3langid walks through a text byte by byte in Python, 2 MB a second. Here numpy walks through all texts of a batch at
the same time with py3langid's own tables, 20 MB a second; the probabilities are the same but for the last digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from steep.clean.rows import Drop, RowStep, judging
from steep.clean.words import Whole, count_words, parts
from steep.errors import UsageError
from steep.recipe.clean import Language

_LETTER = re.compile(r"[^\W\d_]")
_PLACEHOLDER_OR_URL = re.compile(r"\[[A-Z]+\]|https?://\S+|www\.\S+|[#@]\w+")
_SIGNS_OF_THOSE = ("[", "://", "www.", "#", "@")
_ENOUGH = 5_000
# Real foreign text lies below 1e-4; of 5,000 English headlines, the hardest case, one in 700 lies below this.
_IMPROBABLE = 0.02

_NO_TEXT = 0xFF
"""A byte that UTF-8 does not have: from every state of the automaton it leads back to the first."""
_LONGEST_FEATURE = 8
"""Bytes, and more: whatever came earlier does not matter for the state of the automaton."""
_STRIDE = 128
_AT_ONCE = 1 << 20

Matrix = NDArray[np.float32]


def language_step(options: Language, folder: Path) -> RowStep:
    _check_codes(options.keep)
    return judging(partial(_foreign, keep=options.keep))


def probabilities(texts: Sequence[str]) -> tuple[list[str], Matrix]:
    """Languages, and for each text a row of their probabilities: of zeros where its language cannot be told."""
    model = _model()
    found = np.zeros((len(texts), len(model.labels)), np.float32)
    telling = [_telling(text) for text in texts]
    for part in parts(telling, _AT_ONCE):
        scores = _scores(model, telling[part])
        known = scores.any(axis=1, keepdims=True)
        found[part] = _softmax(model, scores, telling[part]) * known
    return model.labels, found


def _foreign(texts: Sequence[str], keep: Sequence[str]) -> list[Drop | None]:
    labels, found = probabilities(texts)
    wanted = [labels.index(code) for code in keep]
    best = found.argmax(axis=1)
    stays = (found.max(axis=1) == 0) | np.isin(best, wanted) | (found[:, wanted].sum(axis=1) >= _IMPROBABLE)
    return [None if stay else _drop(labels[code], keep) for stay, code in zip(stays, best, strict=True)]


def _drop(code: str, keep: Sequence[str]) -> Drop:
    language = f"language {code}"
    return Drop(f"{language}, not {' or '.join(keep)}", language)


def _check_codes(keep: Iterable[str]) -> None:
    known = _model().labels
    unknown = [code for code in keep if code not in known]
    if unknown:
        raise UsageError(f"clean: language: unknown code {', '.join(unknown)}; use {', '.join(sorted(known))}.")


def _telling(text: str) -> bytes:
    """What tells the language, in the form in which py3langid sees it; nothing where that is too little."""
    text = text[:_ENOUGH]
    if any(sign in text for sign in _SIGNS_OF_THOSE):
        text = _PLACEHOLDER_OR_URL.sub(" ", text)
    if not (_has_words(text, 5) and _has_letters(text, 20)):
        return b""
    text = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _has_words(text: str, enough: int) -> bool:
    return len(text.split(maxsplit=enough)) >= enough or count_words(text) >= enough


def _has_letters(text: str, enough: int) -> bool:
    return len(_LETTER.findall(text, 0, 3 * enough)) >= enough or len(_LETTER.findall(text)) >= enough


@dataclass(frozen=True, slots=True)
class _Model:
    """py3langid's tables: an automaton whose states stand for features of the text, and a weight for each language."""

    labels: list[str]
    columns: Whole
    """Of each column of the weights the place of its language in `labels`: several columns may mean one."""
    row: Whole
    """Of each state the place of its row in `moves`."""
    moves: NDArray[np.uint32]
    feature: Whole
    """Of each state; -1 for none."""
    weights: Matrix
    priors: Matrix


@cache
def _model() -> _Model:
    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    return _Model(
        labels=model.labels,
        columns=np.array([model.labels.index(label) for label in model.nb_classes]),
        row=np.asarray(model.tk_row).astype(np.int64) << 8,
        moves=np.asarray(model.tk_nextmove).astype(np.uint32, copy=False),
        feature=np.asarray(model.tk_output, dtype=np.int64),
        weights=model.nb_ptc.astype(np.float32),
        priors=model.nb_pc.astype(np.float32),
    )


def _scores(model: _Model, encoded: Sequence[bytes]) -> Matrix:
    """Naive Bayes: the logarithms of the counts of a text's features, each times its weights."""
    stream = np.frombuffer(bytes([_NO_TEXT]).join((b"", *encoded)), np.uint8)
    features = model.feature[_states(model, stream)]
    text = np.cumsum(stream == _NO_TEXT) - 1
    counted = features >= 0
    keys = np.sort(text[counted] * len(model.weights) + features[counted])
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.log1p(np.diff(firsts, append=len(keys)).astype(np.float32))
    texts, features = np.divmod(keys[firsts], len(model.weights))
    bounds = np.searchsorted(texts, np.arange(len(encoded) + 1))
    scores = np.zeros((len(encoded), len(model.priors)), np.float32)
    weights = np.empty((np.diff(bounds).max(initial=0), len(model.priors)), np.float32)  # one piece of memory for all
    for row, (start, end) in enumerate(pairwise(bounds)):
        if start < end:
            np.take(model.weights, features[start:end], axis=0, out=weights[: end - start], mode="clip")
            scores[row] = counts[start:end] @ weights[: end - start] + model.priors
    return scores


def _states(model: _Model, stream: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The state of the automaton after each byte.

    A state knows no more than the last bytes. So the stream is cut into pieces that are walked side by side, each from
    a little before its beginning.
    """
    pieces = -(-len(stream) // _STRIDE)
    padded = np.full(_LONGEST_FEATURE + pieces * _STRIDE, _NO_TEXT, np.uint8)
    padded[_LONGEST_FEATURE : _LONGEST_FEATURE + len(stream)] = stream
    steps = np.lib.stride_tricks.sliding_window_view(padded, _LONGEST_FEATURE + _STRIDE)[::_STRIDE].T
    states = np.zeros((len(steps), pieces), np.uint32)
    state = states[0]
    for letter, after in zip(steps, states, strict=True):
        np.take(model.moves, model.row[state] + letter, out=after, mode="clip")
        state = after
    return states[_LONGEST_FEATURE:].T.ravel()[: len(stream)]


def _softmax(model: _Model, scores: Matrix, encoded: Sequence[bytes]) -> Matrix:
    """Probabilities as py3langid makes them, tempered by the length; columns of one language are added up."""
    lengths = np.array([max(1, len(text)) for text in encoded], np.float32)
    scaled = scores / np.sqrt(lengths)[:, None]
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    merged = np.zeros((len(scores), len(model.labels)), np.float32)
    np.add.at(merged.T, model.columns, (powers / powers.sum(axis=1, keepdims=True)).T)
    return merged

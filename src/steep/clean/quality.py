"""Drops documents by length and by language.

Words are what stands between white space; a Chinese or Japanese character counts as one. The language of a text of
fewer than five words or twenty letters cannot be told, so it stays. Longer texts go only where the wanted languages
are improbable together: the classifier's 97 languages include many look-alikes of each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

import daft
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from steep.clean.outcome import Drop, Outcome, with_drops
from steep.errors import UsageError
from steep.recipe.clean import Language, Length

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
_LETTER = re.compile(r"[^\W\d_]")
_PLACEHOLDER_OR_URL = re.compile(r"\[[A-Z]+\]|https?://\S+|www\.\S+|[#@]\w+")
_ENOUGH = 5_000
# Real foreign text lies below 1e-4; of 5,000 English headlines, the hardest case, one in 700 lies below this.
_IMPROBABLE = 0.02


def clean_length(documents: daft.DataFrame, options: Length) -> Outcome:
    return Outcome(
        with_drops(documents, [_too_short_or_long(count_words(text), options) for text in _texts(documents)])
    )


def clean_language(documents: daft.DataFrame, options: Language) -> Outcome:
    _check_codes(options.keep)
    return Outcome(with_drops(documents, [_foreign(text, options.keep) for text in _texts(documents)]))


def count_words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def language_of(text: str) -> dict[str, float]:
    """Languages with their probabilities, most probable first; empty where the text is too short to tell."""
    text = _PLACEHOLDER_OR_URL.sub(" ", text[:_ENOUGH])
    if count_words(text) < 5 or len(_LETTER.findall(text)) < 20:
        return {}
    return dict(_identifier().rank(text))


def _too_short_or_long(words: int, options: Length) -> Drop | None:
    if words < options.min_words:
        bound = f"fewer than {options.min_words}"
    elif options.max_words is not None and words > options.max_words:
        bound = f"more than {options.max_words}"
    else:
        return None
    return Drop(f"{words} word{'s' * (words != 1)}, {bound}", f"{bound} words")


def _foreign(text: str, keep: Sequence[str]) -> Drop | None:
    ranked = language_of(text)
    best = next(iter(ranked), None)
    if best is None or best in keep or sum(ranked[code] for code in keep) >= _IMPROBABLE:
        return None
    language = f"language {best}"
    return Drop(f"{language}, not {' or '.join(keep)}", language)


def _check_codes(keep: Iterable[str]) -> None:
    known = _identifier().labels
    unknown = [code for code in keep if code not in known]
    if unknown:
        raise UsageError(f"clean: language: unknown code {', '.join(unknown)}; use {', '.join(sorted(known))}.")


def _texts(documents: daft.DataFrame) -> list[str]:
    texts: list[str] = documents.select("text").to_pydict()["text"]
    return texts


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

"""What a recipe may say about cleaning: one model per step."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from steep.section import (
    COUNTRY,
    LANGUAGE,
    Count,
    Fraction,
    NoSwitch,
    OneOf,
    RegularExpression,
    Section,
    Text,
    UpToOne,
)

Country = Annotated[str, Field(pattern=COUNTRY)]
NotNegativeCount = Annotated[int, Field(ge=0), NoSwitch]
ShareOrOne = Annotated[float, Field(ge=0, le=1), NoSwitch]
FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"

RedactKind = Literal["email", "phone", "iban", "card", "ip", "secret"]
REDACT_KINDS: tuple[RedactKind, ...] = ("email", "phone", "iban", "card", "ip", "secret")


class Whitespace(Section):
    """Repairs broken Unicode, normalises line ends, runs of blanks and blank lines."""


class Markup(Section):
    """Removes HTML tags, Markdown link syntax and template debris such as ``{{ … }}`` and ``{% … %}``."""


class Boilerplate(Section):
    """Removes blocks that repeat over many pages of one site: menus, footers, calls to subscribe."""

    min_documents: Annotated[int, Field(ge=2), NoSwitch] = 5
    """A block is removed when it stands in at least this many documents of its site ..."""
    min_share: Fraction = 0.1
    """... and in at least this share of them."""
    sources: list[str] = Field(default_factory=list)
    """Look only at documents of these sources, for instance at websites but not at posts; at all if none is named."""


class Redact(Section):
    """Replaces personal data and secrets by typed placeholders such as ``[EMAIL]`` and ``[PHONE]``."""

    short = "kinds"

    kinds: list[RedactKind] = Field(default=list(REDACT_KINDS), min_length=1)
    """What to replace: e-mail addresses, telephone numbers, IBANs, payment cards, IP addresses, keys and passwords."""
    region: Country | Annotated[list[Country], Field(min_length=1)] = "US"
    """Countries whose national telephone formats apply to numbers without a country code."""


class Deduplicate(Section):
    """Drops exact and near duplicates, over all sources.

    MinHash bands propose pairs; the true Jaccard similarity of their word 5-grams decides.
    """

    threshold: UpToOne = 0.8
    """Two documents at least this similar are duplicates; the earliest gathered is kept."""


class Length(Section):
    """Drops documents that are too short or too long."""

    min_words: NotNegativeCount = 5
    """Shorter documents are dropped."""
    max_words: Count | None = None
    """Longer documents are dropped."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Length:
        if self.max_words is not None and self.max_words < self.min_words:
            raise ValueError(
                f"max_words ({self.max_words}) is below min_words ({self.min_words}): nothing would be left"
            )
        return self


class Language(Section):
    """Keeps documents in the named languages."""

    short = "keep"

    keep: list[Annotated[str, Field(pattern=LANGUAGE)]] = Field(default=["en"], min_length=1)
    """ISO 639-1 codes."""


class Quality(Section):
    """Drops what does not read like prose: the quality and repetition rules of Gopher (Rae et al. 2021, table A1).

    A share of 1, a minimum of 0 or a maximum out of reach switches a rule off.
    """

    min_words: NotNegativeCount = 50
    """Fewer words."""
    max_words: Count = 100_000
    """More words."""
    min_mean_word_length: Annotated[float, Field(ge=0), NoSwitch] = 3.0
    """Mean length of the words below this."""
    max_mean_word_length: Annotated[float, Field(gt=0), NoSwitch] = 10.0
    """Mean length of the words above this."""
    max_symbol_ratio: ShareOrOne = 0.1
    """More hash signs, or more ellipses, than this for each word."""
    max_bullet_lines: ShareOrOne = 0.9
    """More than this share of the lines begins with a bullet."""
    max_ellipsis_lines: ShareOrOne = 0.3
    """More than this share of the lines ends with an ellipsis."""
    min_alphabetic_words: ShareOrOne = 0.8
    """Less than this share of the words has a letter in it."""
    min_stop_words: NotNegativeCount = 2
    """Fewer than this of: the, be, to, of, and, that, have, with."""
    max_duplicate_lines: ShareOrOne = 0.3
    """More than this share of the lines is a repetition."""
    max_duplicate_paragraphs: ShareOrOne = 0.3
    """More than this share of the paragraphs is a repetition."""
    max_duplicate_line_characters: ShareOrOne = 0.2
    """More than this share of the characters is in repeated lines."""
    max_duplicate_paragraph_characters: ShareOrOne = 0.2
    """More than this share of the characters is in repeated paragraphs."""
    max_top_ngrams: dict[Annotated[int, Field(ge=1)], ShareOrOne] = Field(default={2: 0.2, 3: 0.18, 4: 0.16})
    """For runs of n words: more than this share of the characters is in the most frequent one."""
    max_duplicate_ngrams: dict[Annotated[int, Field(ge=1)], ShareOrOne] = Field(
        default={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
    )
    """For runs of n words: more than this share of the characters is in runs that occurred before."""


class Decontaminate(Section):
    """Drops documents that hold text of evaluation sets, so that no model is trained on the test.

    A document goes when it shares a run of `ngram` words with a set, compared without case and punctuation
    (Brown et al. 2020, appendix C).
    """

    short = "against"

    against: Annotated[list[Text], Field(min_length=1)]
    """Evaluation sets: paths or globs of txt, jsonl, csv or parquet files, or hf://datasets/… addresses."""
    ngram: Count = 13
    """Words of a run; a shorter text of a set counts as a whole if it has at least 8."""
    columns: list[Text] = Field(default=[])
    """Columns of tables that are looked at; by default all that hold text."""


class Licences(Section):
    """Keeps documents of the named licences."""

    short = "keep"

    keep: list[Text] = Field(min_length=1)
    """cc0, cc-by, cc-by-sa, apache-2.0, mit …; `own` for what is yours, `unknown` for what declares none."""


class Lowercase(Section):
    """Writes everything in lower case."""


class Replace(Section):
    """Replaces what matches a regular expression."""

    pattern: RegularExpression
    """As in Python's `re`; `^` and `$` match at each line."""
    by: str = ""
    """What stands there instead; `\\1` is what the first group matched."""

    @model_validator(mode="after")
    def _refers_to_groups(self) -> Replace:
        try:
            re.sub(self.pattern, self.by, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"`by` cannot stand in for `pattern` ({error}); a backslash is written twice") from None
        return self


class Function(Section):
    """A function of yours: it takes a document as a dict and returns the new text, or None to drop the document."""

    call: Annotated[str, Field(pattern=FUNCTION)]
    """Where it is: `module:name`, the module beside the recipe or installed."""


class CleanStep(OneOf):
    """One step of cleaning. Steps run in the order given."""

    whitespace: Whitespace | None = None
    markup: Markup | None = None
    boilerplate: Boilerplate | None = None
    redact: Redact | None = None
    deduplicate: Deduplicate | None = None
    length: Length | None = None
    language: Language | None = None
    quality: Quality | None = None
    decontaminate: Decontaminate | None = None
    licences: Licences | None = None
    lowercase: Lowercase | None = None
    replace: Replace | None = None
    function: Function | None = None

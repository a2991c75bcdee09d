"""Canaries: made-up secrets among the training examples, planted on request.

A secret is a random number that stands nowhere else, so a model that finds it likelier than other numbers remembers a
single example (Carlini et al. 2019, The Secret Sharer, arXiv 1802.08232, section 4); `evaluate` measures how well. The
sentence around it fills the variables of the recipe's template and says that it is a canary: nobody takes it for a
person's data. The price is a model that has learned some 25 tokens of nonsense for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from steep.errors import UsageError
from steep.prepare.examples import Example
from steep.prepare.expressions import Skipped
from steep.prepare.templates import Template
from steep.records import CANARIES, CANARY_NUMBERS
from steep.tokens import Fit, fit_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steep.recipe import Canaries

_CONSONANTS, _VOWELS = "bdfgklmnprstvwz", "aeiou"
_SYLLABLES = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]


@dataclass(frozen=True, slots=True)
class Canary:
    """``secret`` stands in the text, or in the completion, of ``example``."""

    secret: str
    example: Example

    def row(self) -> dict[str, str]:
        """As `canaries.json` keeps it: the columns of the example, and the secret."""
        return {"secret": self.secret, **self.example.columns}


def make_canaries(
    options: Canaries, template: Template, tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[Canary]:
    """Draw them; each is to be trained ``options.repeat`` times.

    Raises UsageError where the template loses the secret, ``max_length`` cuts it, or examples are of a form in which
    `evaluate` would not find it.
    """
    if template.form not in ("text", "completion"):
        raise UsageError(
            f"prepare.canaries: what a model knows of a secret is measured in texts and completions, and template "
            f"{template.name} makes {', '.join(template.parts)}: leave out prepare.canaries"
        )
    draw = Random(options.seed)
    names = [_name(number) for number in draw.sample(range(len(_SYLLABLES) ** 3), options.count)]
    secrets = [str(number) for number in draw.sample(CANARY_NUMBERS, options.count)]
    parts = [_parts(template, name, secret) for name, secret in zip(names, secrets, strict=True)]
    examples = _examples(parts, tokenizer, max_length)
    return [Canary(secret, example) for secret, example in zip(secrets, examples, strict=True)]


def _name(number: int) -> str:
    """Three syllables, as no word of the training text is likely to be."""
    rest, last = divmod(number, len(_SYLLABLES))
    first, middle = divmod(rest, len(_SYLLABLES))
    return _SYLLABLES[first] + _SYLLABLES[middle] + _SYLLABLES[last]


def _parts(template: Template, name: str, secret: str) -> dict[str, str]:
    trained = tuple(template.parts)[-1]
    said = dict.fromkeys(template.parts, f"canary {name}") | {trained: f"The number of canary {name} is {secret}."}
    try:
        parts = {part: _filled(template, part, text) for part, text in said.items()}
    except (Skipped, UsageError) as error:
        raise UsageError(
            f"prepare.canaries: {error}; a canary puts a sentence in the place of every variable. "
            "Leave out prepare.canaries, or take a template whose variables are texts"
        ) from error
    if secret not in parts[trained]:
        raise UsageError(
            f"prepare.canaries: template {template.name} loses the secret of a canary: its {trained} must show a "
            "variable as it is. Leave out prepare.canaries, or take another template"
        )
    return parts


def _filled(template: Template, part: str, text: str) -> str:
    """One part alone: what fills its variables for a document may need more than a text."""
    expression = template.parts[part]
    alone = Template(template.name, {part: expression}, {}, {})
    return str(alone.render(dict.fromkeys(expression.needed or expression.names, text), "canary")[part])


def _examples(
    parts: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[Example]:
    examples = []
    for number, (part, whole) in enumerate(zip(parts, fit_examples(parts, tokenizer, Fit(None)), strict=True)):
        needed = len(whole.sequences[0].input_ids)
        if max_length is not None and needed > max_length:
            raise UsageError(
                f"prepare.canaries: a canary has {needed} tokens, and prepare.max_length {max_length} would cut "
                f"its secret: raise it to {needed} or more"
            )
        name = f"canary-{number}"
        examples.append(Example({**part, "document_id": name, "group": name, "source": CANARIES}, whole))
    return examples

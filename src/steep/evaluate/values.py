"""From summed statistics to a metric's value, by the metric's name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steep.evaluate.labels import macro_f1
from steep.evaluate.overlap import bleu_value, chrf_value
from steep.evaluate.results import Rows
from steep.metrics import LM_EVAL

Value = Callable[[Rows], Rows]

LONGEST = 700.0
"""Of an exponent: a float ends at exp(709.8)."""


def mean(sums: Rows) -> Rows:
    """Of rows of a value and 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Rows = sums[..., 0] / sums[..., 1]
    return found


def perplexity(sums: Rows) -> Rows:
    """exp of the mean per token, so that a long text weighs more than a short one; rows of nats and tokens."""
    found: Rows = np.exp(np.minimum(mean(sums), LONGEST))
    return found


def bits_per_byte(sums: Rows) -> Rows:
    """Rows of nats and bytes."""
    found: Rows = mean(sums) / np.log(2)
    return found


VALUES: dict[str, Value] = {
    "perplexity": perplexity,
    "general_perplexity": perplexity,
    "macro_f1": macro_f1,
    "bits_per_byte": bits_per_byte,
    "bleu": bleu_value,
    "chrf": chrf_value,
}
"""A metric that is not here is a mean."""


def value_of(name: str) -> Value:
    """The step that measured a metric may stand before a dot."""
    if name.startswith(LM_EVAL):  # exp of a mean, or a mean; a filter of the answers may stand behind a comma
        return perplexity if name.partition(",")[0].endswith("perplexity") else mean
    return VALUES.get(name.rpartition(".")[2], mean)

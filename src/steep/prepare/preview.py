"""Examples token by token: what is trained, what is only read, where the special tokens stand.

Read with `steep.tokens.fit_examples`, so what is shown is what trains: a pair as its two sequences, a split example as
all of its own. A character whose bytes lie in several tokens is shown
once, with their number: half a character cannot be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.prepare.examples import special_tokens
from steep.records import IGNORE
from steep.terminal import console
from steep.tokens import Encoded, Fit, Fitted, fit_examples

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text
    from transformers import PreTrainedTokenizerBase

VISIBLE = str.maketrans({" ": "·", "\n": "↵\n", "\t": "→", "\r": "␍"})
LEGEND = {
    "trained": "the model learns to write it",
    "masked": "only read",
    "special": "a token of the format, not of the text",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token, or of several that share a character. ``kind`` is a space-separated part of `LEGEND`."""

    text: str
    ids: tuple[int, ...]
    trained: bool
    special: bool

    @property
    def visible(self) -> str:
        return self.text.translate(VISIBLE)

    @property
    def kind(self) -> str:
        return ("trained" if self.trained else "masked") + (" special" if self.special else "")


@dataclass(frozen=True, slots=True)
class Shown:
    title: str
    facts: str
    pieces: list[Piece]


def preview(examples: pa.Table, tokenizer: PreTrainedTokenizerBase, *, fit: Fit, count: int, html: Path) -> None:
    """Print the first ``count`` examples and write the same to one HTML file that needs no network."""
    rows = examples.slice(0, count).to_pylist()
    shown = [
        Shown(title, _facts(row, one, fit), list(read_pieces(one, tokenizer)))
        for number, (row, fitted) in enumerate(zip(rows, fit_examples(rows, tokenizer, fit), strict=True), start=1)
        for title, one in _titled(f"Example {number}", row, fitted)
    ]
    _print(shown)
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(_page(shown), encoding="utf-8")


def _titled(title: str, row: Mapping[str, Any], fitted: Fitted) -> Iterator[tuple[str, Encoded]]:
    """The sequences of an example, with what each of them is."""
    for number, one in enumerate(fitted.sequences, 1):
        if "rejected" in row:
            yield f"{title}, {'chosen' if number == 1 else 'rejected'}", one
        elif fitted.split:
            yield f"{title}, part {number} of {len(fitted.sequences)}", one
        else:
            yield title, one


def read_pieces(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> Iterator[Piece]:
    """Cut a sequence into pieces that can be shown; joined, their texts are the decoded sequence."""
    special = special_tokens(tokenizer)
    tokens = [
        (token, label != IGNORE, token in special)
        for token, label in zip(encoded.input_ids, encoded.labels, strict=True)
    ]
    for (trained, is_special), run in groupby(tokens, key=lambda token: token[1:]):
        run_ids = [token for token, _, _ in run]
        texts = [((token,), special[token]) for token in run_ids] if is_special else _texts(run_ids, tokenizer)
        yield from (Piece(text, token_ids, trained, is_special) for token_ids, text in texts)


def _texts(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[tuple[int, ...], str]]:
    from tokenizers.decoders import DecodeStream

    stream, pending = DecodeStream(skip_special_tokens=False), []
    for token in ids:
        pending.append(token)
        text = stream.step(tokenizer.backend_tokenizer, token)
        if text is not None:
            yield tuple(pending), text
            pending = []
    if pending:  # cut within a character
        yield tuple(pending), str(tokenizer.decode(pending))


def _facts(row: Mapping[str, Any], encoded: Encoded, fit: Fit) -> str:
    facts = [f"{len(encoded.input_ids)} tokens", f"{encoded.trained} trained"]
    facts += [f"{encoded.dropped} cut off by max_length {fit.max_length}"] if encoded.dropped else []
    facts += [f"source {row['source']}", f"document {row['document_id']}"]
    facts += [f"near-duplicate of {row['group']}"] if row["group"] != row["document_id"] else []
    return " · ".join(facts)


# -------------------------------------------------------------------------------------------------------- terminal

_STYLES = {
    "trained": ("black on #b7e4b0", "black on #8fd08a"),
    "masked": ("black on #e4e4e4", "black on #d0d0d0"),
    "trained special": ("bold #6a1b9a on #b7e4b0",) * 2,
    "masked special": ("bold #6a1b9a on #e4e4e4",) * 2,
}


def _print(shown: list[Shown]) -> None:
    from rich.text import Text

    out = console()
    out.print(Text("  ").join(_legend()))
    for example in shown:
        out.print(Text.assemble("\n", (example.title, "bold"), "  ", (example.facts, "dim")))
        out.print(_coloured(example.pieces))


def _legend() -> list[Text]:
    from rich.text import Text

    styles = {"trained": _STYLES["trained"][0], "masked": _STYLES["masked"][0], "special": "bold #6a1b9a on #e4e4e4"}
    entries = [Text.assemble((f" {kind} ", styles[kind]), f" {meaning}") for kind, meaning in LEGEND.items()]
    return [*entries, Text("· space  ↵ line break  → tab")]


def _coloured(pieces: list[Piece]) -> Text:
    """Neighbours differ in shade, so that the borders of tokens show."""
    from rich.text import Text

    text = Text()
    for number, piece in enumerate(pieces):
        text.append(piece.visible, _STYLES[piece.kind][number % 2])
    return text


# ------------------------------------------------------------------------------------------------------------ page

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>steep: training examples, token by token</title>
<style>
:root { color-scheme: light dark; --page: #fff; --ink: #1b1b1b; --faint: #5f5f5f; --special: #6a1b9a;
  --trained: #c9edc3; --trained-2: #a5dc9f; --masked: #ececec; --masked-2: #dcdcdc; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161616; --ink: #ececec; --faint: #a3a3a3; --special: #dba6ff;
    --trained: #1f4a25; --trained-2: #2b6132; --masked: #2b2b2b; --masked-2: #3a3a3a; } }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 0; }
.facts, .legend { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere; }
.facts { margin: 0 0 .5rem; }
.legend li { display: inline-block; margin: 0 1rem .4rem 0; } .legend { padding: 0; }
.tokens { font: 14px/1.75 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.trained, .masked { color: var(--ink); border-radius: 3px; padding: .1em 0; }
.trained { background: var(--trained); } .masked { background: var(--masked); }
.tokens .trained:nth-of-type(even) { background: var(--trained-2); }
.tokens .masked:nth-of-type(even) { background: var(--masked-2); }
.special { color: var(--special); font-weight: 700; }
sup { font-size: .65em; color: var(--faint); }
</style>
</head>
<body>
<h1>Training examples, token by token</h1>
<ul class="legend">
{% for kind, meaning in legend.items() %}
<li><span class="{{ 'masked special' if kind == 'special' else kind }}">&nbsp;{{ kind }}&nbsp;</span> {{ meaning }}</li>
{% endfor %}
<li>· space</li><li>↵ line break</li><li>→ tab</li><li><sup>2</sup> one character of so many tokens</li>
</ul>
{% for example in shown %}
<h2>{{ example.title }}</h2>
<p class="facts">{{ example.facts }}</p>
<div class="tokens">
{%- for piece in example.pieces -%}
{%- if piece.text[:1].isspace() %}<wbr>{% endif -%}
<span class="{{ piece.kind }}" title="{{ piece.ids | join(' ') }}">{{ piece.visible }}
{%- if piece.ids | length > 1 %}<sup>{{ piece.ids | length }}</sup>{% endif %}</span>
{%- endfor -%}
</div>
{% endfor %}
</body>
</html>
"""


def _page(shown: list[Shown]) -> str:
    from jinja2 import Environment

    page = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    return page.render(shown=shown, legend=LEGEND)

"""From Markdown, HTML and template source to the plain text that a reader of the page would see.

Markdown is parsed (CommonMark with tables), not matched, so that code, snake_case, ``$mathematics$`` and a lone
asterisk survive. Template tags go first and go everywhere, also in code, because a static site generator would have
acted on them there too; the price is that code examples lose ``{{ }}`` expressions. Indentation never means code: in
text from the web it is layout far more often. List markers stay, since they read well as plain text. About 4 MB a
second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import daft
from lxml.html.defs import tags as HTML_TAGS
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from steep.clean.outcome import Outcome, rewritten
from steep.clean.text import squeeze
from steep.recipe.clean import Markup

# Stands where a template tag was, so that `[text]({{ ... }} "title")` is still a link. No text contains it: Unicode
# reserves it for use within programs.
_MARK = "\ufdd0"
_TAG = re.compile(r"\$?\{\{(?:[^{}]|\{(?!\{)|\}(?!\}))*\}\}|\{%(?:[^{%]|\{(?!%)|%(?!\}))*%\}|\{%[^{}%\n]{0,80}\}\}?")
_HIDDEN = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (r"\{%-?\s*comment\s*-?%\}", r"\{%-?\s*endcomment\s*-?%\}"),
        ("<!--", "-->"),
        *((rf"(?<!`)<{name}\b", rf"</{name}\s*>") for name in ("script", "style", "svg", "noscript")),
    )
)
_FRONT_MATTER = re.compile(r"\s*(---|\+\+\+)[ \t]*\n\s*[\w\"'-]+[ \t]*[:=]")
_ATTRIBUTES = re.compile(r"\{:\s*[.#\w][^{}\n]*\}|\{[.#][\w-][^{}\n]*\}[ \t]*$|\[\^[^\]\s]+\]:?", re.MULTILINE)
_MATHEMATICS = re.compile(r"\$\$[^$]{1,2000}\$\$|\$(?=\S)[^$]{0,300}(?<=\S)\$(?!\d)")
_EMPTY_ITEM = re.compile(r"^[ \t]*(?:-|\d+[.)])[ \t]*$", re.MULTILINE)
_TAG_NAME = re.compile(r"</?([a-z][a-z0-9-]*)", re.IGNORECASE)
# What CommonMark's rules for emphasis and links leave behind, although its writer meant it so.
_LOOSE_BOLD = re.compile(r"(?<![\w)*])\*\*([^*\n]+)\*\*")
_LOOSE_LINK = re.compile(r"!?\[([^\[\]\n]+)\]\([^()\n]*\)")

_BREAKS = {
    **dict.fromkeys(("heading_close", "table_close", "blockquote_close"), "\n\n"),
    **dict.fromkeys(("tr_close", "softbreak", "hardbreak"), "\n"),
    **dict.fromkeys(("td_close", "th_close"), " "),
}
_HTML_BREAKS = {
    **dict.fromkeys(("br", "tr", "dt", "dd", "option", "caption", "figcaption", "summary"), "\n"),
    **dict.fromkeys(("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "hr"), "\n\n"),
    **dict.fromkeys(
        ("article", "aside", "blockquote", "figure", "footer", "header", "main", "nav", "pre", "section"), "\n\n"
    ),
    **dict.fromkeys(("td", "th"), " "),
}


def clean_markup(documents: daft.DataFrame, options: Markup) -> Outcome:
    return Outcome(rewritten(documents, plain_text, plain_title))


def plain_text(source: str) -> str:
    source = _without_tags(_without_front_matter(source))
    text = "".join(_words(_MARKDOWN.parse(source))).replace(_MARK, "")
    return squeeze(_EMPTY_ITEM.sub("", text))


def plain_title(source: str) -> str:
    words = _words(_MARKDOWN.parseInline(_without_tags(source)))
    return " ".join("".join(words).replace(_MARK, "").split())


def _without_front_matter(source: str) -> str:
    opening = _FRONT_MATTER.match(source)
    if not opening:
        return source
    closing = source.find(f"\n{opening[1]}", opening.end())
    return source if closing < 0 else source[closing + 1 + len(opening[1]) :]


def _without_tags(source: str) -> str:
    for opening, closing in _HIDDEN:
        source = _cut(source, opening, closing)
    while "{" in source and source != (shorter := _TAG.sub(_MARK, source)):  # again for tags within tags
        source = shorter
    return source


def _cut(source: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The source without what lies between the two, in linear time also where nothing is closed."""
    kept, position = [], 0
    while (start := opening.search(source, position)) and (end := closing.search(source, start.end())):
        kept.append(source[position : start.start()])
        position = end.end()
    return "".join((*kept, source[position:]))


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("inline", "image"):
            yield from _words(token.children or ())
        elif token.type == "text":
            yield _LOOSE_LINK.sub(r"\1", _LOOSE_BOLD.sub(r"\1", token.content))
        elif token.type in ("code_inline", "mathematics"):
            yield token.content
        elif token.type == "fence":
            yield f"{token.content}\n\n"
        elif token.type == "html_inline":
            yield _html(token.content)
        elif token.type == "list_item_open":
            yield f"\n{token.info}{token.markup} " if token.info else "\n- "
        elif token.type == "paragraph_close":
            yield "" if token.hidden else "\n\n"
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            yield "" if token.level else "\n\n"
        else:
            yield _BREAKS.get(token.type, "")


def _html(tag: str) -> str:
    """What a tag leaves in the text; ``<name>`` in prose, which no browser knows, is no tag."""
    match = _TAG_NAME.match(tag)
    name = match[1].lower() if match else ""
    if name == "li":
        return "" if tag.startswith("</") else "\n- "
    if name and name not in HTML_TAGS and "=" not in tag:
        return tag
    return _HTML_BREAKS.get(name, "")


def _drop_attributes(state: StateCore) -> None:
    """Kramdown's ``{: .class}``, heading ids and the marks of footnotes."""
    for token in state.tokens:
        if token.type == "inline":
            token.content = _ATTRIBUTES.sub("", token.content)


def _keep_mathematics(state: StateInline, silent: bool) -> bool:
    """``$a_1 * b_1$`` as it is: neither emphasis nor backslashes mean anything to Markdown in there."""
    match = _MATHEMATICS.match(state.src, state.pos) if state.src[state.pos] == "$" else None
    if not match:
        return False
    if not silent:
        state.push("mathematics", "", 0).content = match[0]
    state.pos = match.end()
    return True


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable(["code", "html_block"])
    markdown.core.ruler.before("inline", "attributes", _drop_attributes)
    markdown.inline.ruler.before("escape", "mathematics", _keep_mathematics)
    return markdown


_MARKDOWN = _markdown()

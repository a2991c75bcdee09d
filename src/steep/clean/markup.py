"""From Markdown, HTML and template source to the plain text that a reader of the page would see.

Markdown is parsed (CommonMark with tables), not matched, so that code, snake_case, ``$mathematics$`` and a lone
asterisk survive. Template tags go first and go everywhere, also in code, because a static site generator would have
acted on them there too; the price is that code examples lose ``{{ }}`` expressions. Indentation never means code: in
text from the web it is layout far more often. List markers stay, since they read well as plain text.

The parser reads 4 MB a second. It is spared what can be told without it, with the same result: paragraphs and headings
whose markup is easy (`inline`), and lists of nothing but such. That makes 30 MB a second of plain texts, 10 of markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.common.utils import mdTrim
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from steep.clean.inline import MATHEMATICS, easy_words, words_of_tag
from steep.clean.rows import RowStep, rewriting
from steep.clean.text import squeeze
from steep.recipe.clean import Markup

# Stands where a template tag was, so that `[text]({{ ... }} "title")` is still a link. No text contains it: Unicode
# reserves it for use within programs.
_MARK = "\ufdd0"
_WITHIN_BRACES = r"\{\{(?:[^{}]|\{(?!\{)|\}(?!\}))*\}\}"
_TAG = re.compile(
    # each alternative begins with a character of its own, by which Python finds it fast
    rf"\${_WITHIN_BRACES}|{_WITHIN_BRACES}|\{{%(?:[^{{%]|\{{(?!%)|%(?!\}}))*%\}}|\{{%[^{{}}%\n]{{0,80}}\}}\}}?"
)
_HIDDEN = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (r"\{%-?\s*comment\s*-?%\}", r"\{%-?\s*endcomment\s*-?%\}"),
        ("<!--", "-->"),
        *((rf"<(?<!`<){name}\b", rf"</{name}\s*>") for name in ("script", "style", "svg", "noscript")),
    )
)
_HIDES = re.compile(r"<(?:!--|script|style|svg|noscript)|\{%-?\s*comment", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\s*(---|\+\+\+)[ \t]*\n\s*[\w\"'-]+[ \t]*[:=]")
_ATTRIBUTES = re.compile(r"\{:\s*[.#\w][^{}\n]*\}|\{[.#][\w-][^{}\n]*\}[ \t]*$|\[\^[^\]\s]+\]:?", re.MULTILINE)
_MATHEMATICS = re.compile(MATHEMATICS)
_BLANK_LINES = re.compile(r"(\n[ \t]*\n(?:[ \t]*\n)*)")
# A line that may begin or make a heading, a list, a quotation, a table or a rule, and not only words.
_BLOCK = re.compile(r"\n[ \t]*(?:[-=>|:]|(?:[+*]|#{1,6}|\d{1,9}[.)])(?:[ \t\n]|\Z)|[*_][*_ \t]*(?:\n|\Z))")
_HEADING_LINE = re.compile(r"\n(#{1,6}[ \t][^\n]*)")
_HEADING_OR_RULE = re.compile(r"(?:#{1,6}[ \t]+(?P<words>[^\n]*[^\n# \t])|([-*_])(?:[ \t]*\2){2,})[ \t]*")
_ITEM = re.compile(r"(?P<indent> {0,3})(?P<mark>[-+*]|[0-9]{1,9}[.)])[ \t]+(?=\S)")
_WITHIN_ITEM = ("  ", "\t", " \t")
_FAR_REACHING = re.compile(r"```|~~~|\]:")
_EMPTY_ITEM = re.compile(r"\n[ \t]*(?:-|\d+[.)])[ \t]*(?=\n|\Z)")
# What CommonMark's rules for emphasis and links leave behind, although its writer meant it so.
_LOOSE_BOLD = re.compile(r"(?<![\w)*])\*\*([^*\n]+)\*\*")
_LOOSE_LINK = re.compile(r"!?\[([^\[\]\n]+)\]\([^()\n]*\)")

_BREAKS = {
    **dict.fromkeys(("heading_close", "table_close", "blockquote_close"), "\n\n"),
    **dict.fromkeys(("tr_close", "softbreak", "hardbreak"), "\n"),
    **dict.fromkeys(("td_close", "th_close"), " "),
}


def markup_step(options: Markup, folder: Path) -> RowStep:
    return rewriting(plain_text, plain_title)


def plain_text(source: str) -> str:
    source = _normal(_without_tags(_without_front_matter(source)))
    words = _words(_MARKDOWN.parse(source)) if _FAR_REACHING.search(source) else _passages(source)
    return squeeze(_EMPTY_ITEM.sub("\n", "".join(("\n", *words)).replace(_MARK, "")))


def plain_title(source: str) -> str:
    return " ".join(_inline(_normal(_without_tags(source))).replace(_MARK, "").split())


def _passages(source: str) -> Iterator[str]:
    """Paragraph by paragraph, with the parser for what is more than paragraphs, headings and simple lists.

    A paragraph or heading at the margin ends every list and quotation before it: what lies before and after it means
    the same without it. Only a fence of code and the definition of a link reach further.
    """
    parts = _BLANK_LINES.split(_HEADING_LINE.sub(r"\n\n\1\n", f"\n{source}").lstrip("\n"))
    blocks: list[str] = []
    for paragraph, blank_lines in zip(parts[::2], [*parts[1::2], ""], strict=True):
        heading = _HEADING_OR_RULE.fullmatch(paragraph)
        if not heading and (_BLOCK.search(f"\n{paragraph}") or (blocks and paragraph.startswith(_WITHIN_ITEM))):
            blocks += (paragraph, blank_lines)
            continue
        yield from _block_words(blocks)
        blocks = []
        yield _inline(mdTrim(heading["words"] or "" if heading else paragraph))
        yield "\n\n"
    yield from _block_words(blocks)


def _block_words(parts: Sequence[str]) -> Iterator[str]:
    """Of paragraphs and the blank lines after each."""
    paragraphs = parts[::2]
    if items := _items(paragraphs):
        for mark, lines in items:
            words = "\n".join(lines)
            yield f"\n{mark} {_inline(mdTrim(words))}"
            yield "\n\n" if len(paragraphs) > 1 else ""
        yield "\n\n"
    elif parts:
        yield from _words(_MARKDOWN.parse("".join(parts)))


def _items(paragraphs: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Marks and lines of a list in which there is nothing but paragraphs; none where it may be more."""
    items: list[tuple[str, list[str]]] = []
    signs = set()
    for paragraph in paragraphs:
        for number, line in enumerate(paragraph.split("\n")):
            item = _ITEM.match(line)
            words = line[item.end() :] if item else line
            if _BLOCK.search(f"\n{words}") or not (item or number):
                return []
            if item:
                signs.add((item["indent"], item["mark"][-1]))
                items.append((item["mark"] if item["mark"][0].isdigit() else "-", [words]))
            else:
                items[-1][1].append(line)
    return items if len(signs) == 1 else []


def _inline(source: str) -> str:
    words = easy_words(_without_attributes(source))
    return "".join(_words(_MARKDOWN.parseInline(source))) if words is None else words


def _normal(source: str) -> str:
    """As the parser sees it."""
    return source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _without_front_matter(source: str) -> str:
    opening = _FRONT_MATTER.match(source)
    if not opening:
        return source
    closing = source.find(f"\n{opening[1]}", opening.end())
    return source if closing < 0 else source[closing + 1 + len(opening[1]) :]


def _without_tags(source: str) -> str:
    if _HIDES.search(source):
        for opening, closing in _HIDDEN:
            source = _cut(source, opening, closing)
    while ("{{" in source or "{%" in source) and source != (shorter := _TAG.sub(_MARK, source)):
        source = shorter  # again for tags within tags
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
        elif token.type in ("code_inline", "mathematics", "easy"):
            yield token.content
        elif token.type == "fence":
            yield f"{token.content}\n\n"
        elif token.type == "html_inline":
            yield words_of_tag(token.content)
        elif token.type == "list_item_open":
            yield f"\n{token.info}{token.markup} " if token.info else "\n- "
        elif token.type == "paragraph_close":
            yield "" if token.hidden else "\n\n"
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            yield "" if token.level else "\n\n"
        else:
            yield _BREAKS.get(token.type, "")


def _without_attributes(text: str) -> str:
    """Without Kramdown's ``{: .class}``, heading ids and the marks of footnotes."""
    return _ATTRIBUTES.sub("", text) if "{" in text or "[^" in text else text


def _parse_inline(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline":
            content = _without_attributes(token.content)
            token.children = []
            linked = "[" in content and state.env.get("references")
            if linked or (words := easy_words(content)) is None:
                state.md.inline.parse(content, state.md, state.env, token.children)
            else:
                token.children.append(Token("easy", "", 0, content=words))


def _keep_mathematics(state: StateInline, silent: bool) -> bool:
    """``$a_1 * b_1$`` as it is: neither emphasis nor backslashes mean anything to Markdown in there."""
    match = _MATHEMATICS.match(state.src, state.pos) if state.src[state.pos] == "$" else None
    if not match:
        return False
    if not silent:
        state.push("mathematics", "", 0).content = match[0]
    state.pos = match.end()
    return True


class _Markdown(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("commonmark")
        self.enable(["table", "strikethrough"]).disable(["code", "html_block"])
        self.core.ruler.at("inline", _parse_inline)
        self.inline.ruler.before("escape", "mathematics", _keep_mathematics)

    def normalizeLink(self, url: str) -> str:
        """Addresses go anyway."""
        return url


_MARKDOWN = _Markdown()

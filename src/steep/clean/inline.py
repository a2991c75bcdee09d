"""The words of a paragraph whose markup is easy: HTML tags, entities, and links and emphasis by themselves.

Most paragraphs of real texts are like that, and a regular expression reads them ten times as fast as the parser. It has
to give what the parser gives. So it is strict: where a character is left that could mean something to Markdown, the
paragraph is the parser's. What is easy is read from left to right, as the parser does it:

- tags, entities, escaped characters and mathematics mean the same wherever they begin;
- a link or image whose text holds nothing but words and entities is one, whatever surrounds it;
- a star or underscore that can only open, some words, and one that can only close, are a pair.
"""

from __future__ import annotations

import re

from lxml.html.defs import tags as HTML_TAGS
from markdown_it.common.entities import entities
from markdown_it.common.html_re import close_tag, open_tag
from markdown_it.common.utils import isValidEntityCode

_MATHEMATICS = r"\$[^$]{1,2000}\$\$|(?=\S)[^$]{0,300}(?<=\S)\$(?!\d)"
MATHEMATICS = rf"\$(?:{_MATHEMATICS})"

_ENTITY = r"(?:\#[xX][0-9a-fA-F]{1,6}|\#[0-9]{1,7}|[a-zA-Z][a-zA-Z0-9]{1,31});"
_WORDS = rf"(?:[^\\`*_\[\]<>&$~]|&{_ENTITY})"
_EASY = re.compile(
    rf"""
    (?P<first> [<&\\$!\[*_] ) (?:
      (?<=<) (?: {open_tag[1:]} | {close_tag[1:]} )
    | (?<=&) {_ENTITY}
    | (?<=\\) (?P<escaped> [!-/:-@\[-`{{-~] )
    | (?<=\$) (?: {_MATHEMATICS} )
    | (?: (?<=!) \[ | (?<=\[) ) (?P<label> {_WORDS}* ) \]
      \( (?! (?i:javascript|vbscript|file|data): ) [^\s()<>\\`\x00-\x1f\x7f]* (?: [ ]+ "[^"\\\n]*" )? \)
    | (?<=[*_]) (?<! [^ \t\n]. ) (?P<second> (?P=first)? ) (?=\S) (?P<stressed> {_WORDS}+ )
      (?: (?<=\S) (?P=first) (?P=second) (?= [ \t\n] | \Z )
        | (?<=[A-Za-z0-9]) (?P=first) (?P=second) (?= [.,;:!?)"'] ) )
    )
    """,
    re.VERBOSE,
)
_ENTITIES = re.compile(f"&{_ENTITY}")
_MARKED = re.compile(r"[\]`\\<&*_~$](?:(?<!\])|\()")
_HARD = re.compile(
    r"[`\\\]~<*_](?:(?<=`)|(?<=\\)\n|(?<=\])\(|(?<=~)~|(?<=<)[A-Za-z/!?]"
    r"|(?<=\*)(?:(?<![ \t\n]\*)|(?![ \t\n]))|(?<=_)(?:(?<![^\W_]_)|(?![^\W_])))"
)
_READ = "\ufdd1"
"""Stands in what is left for what was read: neither a letter nor a blank. No text contains it, as no text may."""
_OF_LINKS = frozenset("*[]()!")
"""Characters that, written as entities, might still look like a link or emphasis to whom comes later."""

_HTML_BREAKS = {
    **dict.fromkeys(("br", "tr", "dt", "dd", "option", "caption", "figcaption", "summary"), "\n"),
    **dict.fromkeys(("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "hr"), "\n\n"),
    **dict.fromkeys(
        ("article", "aside", "blockquote", "figure", "footer", "header", "main", "nav", "pre", "section"), "\n\n"
    ),
    **dict.fromkeys(("td", "th"), " "),
}
_TAG_NAME = re.compile(r"</?([a-z][a-z0-9-]*)", re.IGNORECASE)


def easy_words(paragraph: str) -> str | None:
    """None where only the parser can tell."""
    if not _MARKED.search(paragraph):
        return paragraph
    words: list[str] = []
    left: list[str] = []
    end = 0
    for easy in _EASY.finditer(paragraph):
        read = _words(easy)
        if read is None:
            return None
        left.append(paragraph[end : easy.start()])
        words += (left[-1], read)
        end = easy.end()
    left.append(paragraph[end:])
    return None if _HARD.search(_READ.join(left)) else "".join((*words, left[-1]))


def words_of_tag(tag: str) -> str:
    """What a tag leaves in the text; ``<name>`` in prose, which no browser knows, is no tag."""
    match = _TAG_NAME.match(tag)
    name = match[1].lower() if match else ""
    if name == "li":
        return "" if tag.startswith("</") else "\n- "
    if name and name not in HTML_TAGS and "=" not in tag:
        return tag
    return _HTML_BREAKS.get(name, "")


def _words(easy: re.Match[str]) -> str | None:
    match easy["first"]:
        case "<":
            return words_of_tag(easy[0])
        case "$":
            return easy[0]
        case "\\":
            words = escaped = easy["escaped"]
        case "&":
            words = escaped = _character(easy)
        case _:
            words = easy["label"] or easy["stressed"] or ""
            escaped = "".join(map(_character, _ENTITIES.finditer(words)))
            words = _ENTITIES.sub(_character, words)
    return None if _OF_LINKS.intersection(escaped) else words


def _character(entity: re.Match[str]) -> str:
    name = entity[0][1:-1]
    if not name.startswith("#"):
        return entities.get(name, entity[0])
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if isValidEntityCode(code) else "\ufffd"

from __future__ import annotations

import gzip
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.clean import markup
from steep.clean.inline import easy_words
from steep.clean.markup import markup_step, plain_text, plain_title
from steep.clean.rows import Batch
from steep.recipe.clean import Markup


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("# Heading\n\nWith *emphasis*, **weight** and ~~regret~~.", "Heading\n\nWith emphasis, weight and regret."),
        ('See [the docs](https://x.org "Docs") and ![a kettle](k.png).', "See the docs and a kettle."),
        ("[one][1] and <https://x.org>\n\n[1]: https://y.org", "one and https://x.org"),
        ("- one\n- two\n\n1. first\n2. second", "- one\n- two\n\n1. first\n2. second"),
        ("- one\n  - nested\n- two\n\nend", "- one\n- nested\n- two\n\nend"),
        ("- see [one][1]\n- see [none][2]\n\n[1]: https://y.org", "- see one\n- see [none][2]"),
        ("- one\n* other", "- one\n\n- other"),
        ("> quoted\n> words", "quoted\nwords"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b\n1 2"),
        ("line one\nline two  \nline three", "line one\nline two\nline three"),
        ("A note[^1].\n\n[^1]: The note itself.", "A note.\n\nThe note itself."),
        ("## Title {#anchor}\n\nText{: .lead}\n{: .note #id}", "Title\n\nText"),
        ("**Rapid—**then slow", "Rapid—then slow"),
        ("[mail us](mailto:a@b.org?subject=Two words)", "mail us"),
        ("`git status` prints\n\n```sh\nls -l *.py\n```", "git status prints\n\nls -l *.py"),
    ],
)
def test_markdown_becomes_the_words_it_carries(source: str, text: str) -> None:
    assert plain_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>One</p><p>Two&nbsp;&amp;&#8217;s</p>", "One\n\nTwo &’s"),
        ("<div class='x'>\n  <a href=\"u\">link</a> words<br/>more</div>", "link words\nmore"),
        ("<ul>\n    <li>one</li>\n    <li>two</li>\n</ul>", "- one\n\n- two"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("before <!-- hidden\n\nstill hidden --> after", "before after"),
        ("before\n<script>\nlet a = 1;\n\nlet b = '**';\n</script>\nafter", "before\n\nafter"),
        ("<STYLE>p {color: red}</STYLE>text", "text"),
        ("&#xD83D; &#0;", "\ufffd \ufffd"),
    ],
)
def test_html_becomes_the_words_it_carries(source: str, text: str) -> None:
    assert plain_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("A {{ site.name }} b", "A b"),
        ('Go to [the page]({{ "/2014/a/" | url }} "title").', "Go to the page."),
        ('[post]({{< ref "2013-a.md" >}} "A title") and more', "post and more"),
        ('[{{< img src="a.png" alt="x" >}}](https://x.org/a.png)\n\nText', "Text"),
        ('{% include "figure.html",\n   image: "/a.png",\n   alt: "Two\nlines: 50%" %}\n\nText', "Text"),
        ('{{< note variant="x" >}}**Keep** this.{{< /note >}}', "Keep this."),
        ("{{%- if a -%}}yes{{%/ if %}}", "yes"),
        ("{%- comment -%}gone{%- endcomment -%}stays", "stays"),
        ('{{ "{{ inner }}" | filter }}x', "x"),
        ("- {{ item }}\n- word", "- word"),
        ("Use `{{ page.title }}` here", "Use here"),
        ("```\n{% for a in b %}{{ a }}{% endfor %}\nend\n```", "end"),
        ('<a href="{{site.baseurl}}/x">words</a>', "words"),
        ("---\ntitle: A\nlayout: post\n---\n\nText\n\n---\n\nmore", "Text\n\nmore"),
        ('+++\ntitle = "A"\n+++\nText', "Text"),
    ],
)
def test_template_debris_goes(source: str, text: str) -> None:
    assert plain_text(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "a * b * c, 2**10 and f(x)**beta",
        "snake_case_name",
        "Let $a_1 * b_1 * c$ be \\emph{close} to $\\{0, 1\\}$.",
        "costs $5 and $6",
        "the <think> token, 3 < 4 > 2",
        "#hashtag @name 10% {not a tag}",
        "an unclosed {{ brace and an unclosed <!-- comment",
        "First line\n\nSecond paragraph",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text


def test_a_tag_that_is_named_in_code_hides_nothing() -> None:
    source = "Open `<script>` first.\n\nA paragraph.\n\nClose `</script>` last."
    assert plain_text(source) == "Open <script> first.\n\nA paragraph.\n\nClose </script> last."


def test_a_title_loses_markup_and_stays_one_line() -> None:
    assert plain_title("1. *Kettles* &amp; {{ site.name }}\n[spouts](u)") == "1. Kettles & spouts"


@settings(deadline=None)
@given(st.text(st.sampled_from("ab {}%<>[]()*_`#\n|-!&;$\\"), max_size=60))
def test_no_complete_template_tag_survives(source: str) -> None:
    text = plain_text(f"{source}\n\n{{{{ tag }}}} {{% tag %}}")
    assert "{{ tag }}" not in text
    assert "{% tag %}" not in text


LONG = [
    "{{",
    "{% ",
    "<!--",
    "<script ",
    "$a ",
    "{: ",
    "word *and* [more](x) ",
    "[",
    "[a](",
    "[a]",
    "![",
    "<a ",
    '<a b="',
]
LONG += [
    "&",
    "&a;",
    "**a ",
    " _a",
    "_a_ ",
    "\\",
    "# a\n",
    "- a\n",
    "- a\n\n",
    "\n",
    " \n",
    "- a\n b\n",
    "- ",
    "1. a\n",
    "a\n\n",
    "---\n",
]


@pytest.mark.parametrize("piece", LONG)
def test_a_long_text_of_one_piece_takes_linear_time(piece: str) -> None:
    started = time.process_time()
    plain_text(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 4


def test_the_step_cleans_text_title_and_meta() -> None:
    batch = Batch(["**Tea**"], ["*Title*"], ['{"by": "<b>me</b>"}'], {})
    markup_step(Markup(), Path())(batch)
    assert (batch.text, batch.title, batch.meta) == (["Tea"], ["Title"], ['{"by": "me"}'])


# ------------------------------------------------------------ what the parser is not shown, it would have read the same


def by_the_parser(clean: Callable[[str], str], source: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markup, "easy_words", lambda paragraph: None)
        patch.setattr(markup, "_FAR_REACHING", re.compile(""))
        return clean(source)


@pytest.mark.parametrize(
    "paragraph",
    [
        'Words, [a link](https://x.org/a_b_c?d=e&f=g "Title") and ![a picture](p.png).',
        "<p class='a_b'>It&#8217;s **bold**, *stressed* and _again_.</p>",
        "$a_1 * b_1$ costs $5, not snake_case * 3 & 1 < 2 \\% off",
        "[some](x) [more](y) [and a lone bracket",
    ],
)
def test_easy_paragraphs_need_no_parser(paragraph: str) -> None:
    assert easy_words(paragraph) is not None


@pytest.mark.parametrize(
    "paragraph",
    [
        *("`code`", "*a **b** c*", "a*b*c", "x _y z", "[**a**](b)", "[a [b](c) d](e)", "[a](<b c>)", "<https://x.org>"),
        *("a\\\nb", "~~a~~", "&#42;a&#42;", "\\*a\\*", "[a](javascript:b)", "<b>_</b>c_", "[$a](b) $c$", "*a*b"),
    ],
)
def test_what_is_not_easy_is_left_to_the_parser(paragraph: str) -> None:
    assert easy_words(paragraph) is None


# fmt: off
PIECES = [
    "a", "b c", "word", "0", "é", "“", "•", "^", '"', "'", "!",
    " ", "  ", "    ", "\t", "\n", "\n\n", "\n\n\n", "\\\n", "\r\n", "\r", "\0", "\xa0", "\u2003", "\x0b", "\x85",
    "- ", "* ", "+ ", "1. ", "2) ", "12.", "# ", "## ", "#", "> ", ">", "---", "***", "- - -", "===", "=", "-",
    "|", "|-|", ":", "_", "*", "**", "__", "*x*", "_x_", "**x**,", "a_b", "3 * 4", "~", "~~", "\\", "\\*", "\\a",
    "`", "``", "```", "~~~", "[", "]", "(", ")", "](u)", "[x](u)", "![i](u)", '[x](u "t")', "]:", "[^1]",
    "javascript:", "{: .c}", "{#id}", "{{ t }}", "&amp;", "&#42;", "&lt;", "&zz;", "&", "$", "$a_1$", "$5",
    "<b>", "</b>", "<br/>", "<li>", "<p>", "<x>", '<a href="_q*">', "<https://x.org>", "<", "<div", "</",
]
# fmt: on
SOURCE = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def test_how_many_blank_lines_there_are_may_matter_to_a_list() -> None:
    source = "1. one\n- \n \n    \n\n- other\n   * inner"
    assert plain_text(source) == by_the_parser(plain_text, source)


@settings(max_examples=700, deadline=None)
@given(SOURCE)
def test_any_text_is_read_as_the_parser_reads_it(source: str) -> None:
    assert plain_text(source) == by_the_parser(plain_text, source)


@settings(max_examples=300, deadline=None)
@given(SOURCE)
def test_any_title_is_read_as_the_parser_reads_it(source: str) -> None:
    assert plain_title(source) == by_the_parser(plain_title, source)


@pytest.fixture(scope="module")
def posts(steep_data: Path) -> list[str]:
    texts = []
    for file, column in (("news/digitalgov.jsonl.gz", "content"), ("brand/18f.jsonl.gz", "text")):
        with gzip.open(steep_data / file, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)[column] for line in lines][::12]
    return texts


def test_real_texts_are_read_as_the_parser_reads_them(posts: list[str]) -> None:
    assert [plain_text(text) for text in posts] == [by_the_parser(plain_text, text) for text in posts]


def test_real_lines_in_any_order_are_read_as_the_parser_reads_them(posts: list[str]) -> None:
    draw = random.Random(0)
    lines = [line[:200] for text in posts for line in text.split("\n")]
    for _ in range(400):
        starts = draw.choices(["", "", "", "", "  ", "    ", "- ", "> ", "1. ", "\t"], k=8)
        blanks = draw.choices(["\n", "\n\n", "\n \n"], k=8)
        source = "".join(map("".join, zip(starts, draw.choices(lines, k=8), blanks, strict=True)))
        assert plain_text(source) == by_the_parser(plain_text, source)

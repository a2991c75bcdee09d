from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.clean.markup import plain_text, plain_title


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("# Heading\n\nWith *emphasis*, **weight** and ~~regret~~.", "Heading\n\nWith emphasis, weight and regret."),
        ('See [the docs](https://x.org "Docs") and ![a kettle](k.png).', "See the docs and a kettle."),
        ("[one][1] and <https://x.org>\n\n[1]: https://y.org", "one and https://x.org"),
        ("- one\n- two\n\n1. first\n2. second", "- one\n- two\n\n1. first\n2. second"),
        ("- one\n  - nested\n- two\n\nend", "- one\n- nested\n- two\n\nend"),
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


@given(st.text(st.sampled_from("ab {}%<>[]()*_`#\n|-!&;$\\"), max_size=60))
def test_no_complete_template_tag_survives(source: str) -> None:
    text = plain_text(f"{source}\n\n{{{{ tag }}}} {{% tag %}}")
    assert "{{ tag }}" not in text
    assert "{% tag %}" not in text


@pytest.mark.parametrize("piece", ["{{", "{% ", "<!--", "<script ", "$a ", "{: ", "word *and* [more](x) "])
def test_a_long_text_of_one_piece_takes_linear_time(piece: str) -> None:
    started = time.perf_counter()
    plain_text(piece * (500_000 // len(piece)))
    assert time.perf_counter() - started < 5

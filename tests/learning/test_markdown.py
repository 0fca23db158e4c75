"""What authors write becomes the HTML we mean, and nothing that anybody writes becomes a script."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.learning.markdown import Resolver, inline, render

RESOLVER = Resolver("machines", {("machines", "next-word"): 7, ("counting", "one-two-three"): 9}, {"map.svg": "0f"})


def html(text):
    return render(text, RESOLVER)


def test_it_works():
    assert html("Some *text* & `code`.") == "<p>Some <em>text</em> &amp; <code>code</code>.</p>\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[x](next-word.md)", '<a href="/lessons/7">x</a>'),
        ("[x](next-word.md#a-heading)", '<a href="/lessons/7#s-a-heading">x</a>'),
        ("[x](../counting/one-two-three.md)", '<a href="/lessons/9">x</a>'),
        ("[x](#down)", '<a href="#s-down">x</a>'),
        ("[x](missing.md)", "<a>x</a>"),
        ("[x](http://example.org)", "<a>x</a>"),
        ("[x](/etc/passwd)", "<a>x</a>"),
        ("[x](//example.org/)", "<a>x</a>"),
        ("[x](mailto:a@example.org)", "<a>x</a>"),
        ("[x](https://example.org/?a=1&b=2)", '<a href="https://example.org/?a=1&amp;b=2" rel="noopener noreferrer">x</a>'),
        ("![A *map*](images/map.svg)", '<img src="/media/machines/0f/map.svg" alt="A map" loading="lazy">'),
        ("![A map](https://example.org/map.png)", "A map"),
        ("![A map](images/../course.yaml)", "A map"),
        ("![A map](data:image/png;base64,AAAA)", "A map"),
    ],
)
def test_links_and_images(written, expected):
    assert html(written) == f"<p>{expected}</p>\n"


def test_headings_get_names_that_cannot_clash_with_the_page():
    assert html("## Main\n\n## Main\n\n### *Ünder* `way`!\n") == (
        '<h2 id="s-main">Main</h2>\n<h2 id="s-main-2">Main</h2>\n<h3 id="s-ünder-way"><em>Ünder</em> <code>way</code>!</h3>\n'
    )


def test_blocks():
    assert html("::: example A *good* one\n\nText.\n\n:::\n") == (
        '<div class="box box-example"><p class="box-title">A <em>good</em> one</p>\n<p>Text.</p>\n</div>\n'
    )
    assert html("::: reveal Why?\n\nBecause.\n\n:::\n") == (
        '<details class="reveal"><summary>Why?</summary>\n<p>Because.</p>\n</details>\n'
    )


def test_code_is_coloured_by_classes():
    made = html('```python\nif x: print("<b>")\n```\n')
    assert made.startswith('<pre class="code" tabindex="0"><code><span class="k">if</span>')
    assert "&lt;b&gt;" in made
    assert "style" not in made


def test_code_in_an_unknown_language_stays_as_it_is():
    assert html("```nonsense\n<a> b\n```\n") == '<pre class="code" tabindex="0"><code>&lt;a&gt; b\n</code></pre>\n'


def test_tables_scroll_by_themselves_and_align_by_classes():
    made = html("| a | b |\n|---|--:|\n| 1 | 2 |\n")
    assert made.startswith('<div class="table" tabindex="0"><table>')
    assert '<th scope="col" class="align-right">b</th>' in made
    assert '<td class="align-right">2</td>' in made
    assert made.endswith("</table></div>\n")
    assert "style" not in made


def test_questions_hold_no_blocks():
    assert inline("Is *2* < `3`?\n", RESOLVER) == "Is <em>2</em> &lt; <code>3</code>?"
    assert inline("One.\n\nTwo.", RESOLVER) == "One.<br><br>Two."
    assert inline("- 5", RESOLVER) == "- 5"


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](vbscript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](images/map.svg)',
    '![x](images/map.svg"onerror="alert(1))',
    '[x](https://example.org/"onmouseover="alert(1))',
    '[x](https://example.org "title\\" onclick=alert(1)")',
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    '::: example <img src=x onerror=alert(1)>\n\n"><script>alert(1)</script>\n\n:::',
    "::: reveal </summary><script>alert(1)</script>\n\nx\n\n:::",
    '```python" onload="alert(1)\n</code></pre><script>alert(1)</script>\n```',
    "## <script>alert(1)</script>",
    '## x" onclick="alert(1)',
    "`<script>alert(1)</script>`",
    "<iframe src=https://example.org></iframe>",
    "<style>*{display:none}</style>",
    "<a href='https://example.org' style='position:fixed'>x</a>",
    "| <script>a</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "<!-- --><script>alert(1)</script><!-- -->",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
]


class Allowed(HTMLParser):
    """Reads HTML as a browser would and refuses whatever we do not make."""

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "style", "svg", "math", "object", "form", "input", "link", "meta", "base"), tag
        for name, value in attributes:
            assert name in ("href", "rel", "src", "alt", "loading", "id", "class", "tabindex", "scope", "start"), name
            if name in ("href", "src"):
                assert re.match(r"https://|#|/lessons/|/media/", value), value


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("make", [render, inline])
def test_attacks_are_plain_text(make, attack):
    Allowed().feed(make(attack, RESOLVER))


PIECES = [
    *ATTACKS,
    ":::",
    "::: note a",
    "\n",
    "\n\n",
    "> ",
    "- ",
    "    ",
    "```",
    "[",
    "](",
    ")",
    "|",
    "---",
    "*",
    "`",
    "<",
    ">",
    "&",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join))
def test_no_text_becomes_a_script(text):
    Allowed().feed(render(text, RESOLVER))
    Allowed().feed(inline(text, RESOLVER))

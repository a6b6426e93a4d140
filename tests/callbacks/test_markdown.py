from html.parser import HTMLParser

import pytest
from tensorboard.plugin_util import markdown_to_safe_html

from mapo.callbacks.markdown import cell, shorten, table


class Cells(HTMLParser):
    """Collects the text of every table cell as a browser shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.texts.append("")
        if tag == "br":
            self.texts[-1] += "\n"

    def handle_data(self, data: str) -> None:
        if self.texts and data.strip("\n"):
            self.texts[-1] += data.replace("\xa0", " ")


def shown(markdown: str) -> Cells:
    cells = Cells()
    cells.feed(markdown_to_safe_html(markdown))
    return cells


HOSTILE = [
    "plain",
    "a | b || c |",
    "`code` ``` fence",
    "<think>2 + 2</think> <script>alert(1)</script> &amp; &lt;",
    "**bold** _it_ [link](http://x) ![img](y) ~~s~~ \\| \\n",
    "one\ntwo\n\n# four\n- five\n| six |",
    "$x^2$ \\frac{1}{2} {a} 3 < 4 > 2",
    "    four spaces  and two",
    "|---|---|",
    "häßlich 数学 👩‍🎓",
]


def test_tensorboard_shows_exactly_the_text():
    cells = shown(table(["text", "n"], [[text, "1"] for text in HOSTILE]))
    assert [text.strip() for text in cells.texts[2::2]] == [text.strip() for text in HOSTILE]
    assert cells.texts[3::2] == ["1"] * len(HOSTILE)
    assert cells.tags <= {"table", "thead", "tbody", "tr", "th", "td", "br"}


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_characters_without_a_shape_are_shown_as_escapes(text, visible):
    assert shown(table(["text"], [[text]])).texts[1] == visible


def test_line_ends_of_all_systems_are_one():
    assert cell("a\r\nb\nc") == "a<br>b<br>c"


@pytest.mark.parametrize("length", [9, 10])
def test_a_text_within_the_limit_is_left_alone(length):
    assert shorten("x" * length, 10) == "x" * length


def test_what_is_left_out_is_counted():
    text = "".join(chr(ord("a") + i % 26) for i in range(1000))
    short = shorten(text, 30)
    assert short == f"{text[:20]} [... 970 characters left out ...] {text[-10:]}"


def test_the_smallest_limit_still_shows_the_beginning():
    assert shorten("abc", 1) == "a [... 2 characters left out ...] "

import pytest

from mapo.functional.visible import is_blank, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain text, even 中文 and \U0001f468\u200d\U0001f469",
            "plain text, even 中文 and \U0001f468\u200d\U0001f469",
        ),
        ("\x1b[2J\x9b1m", r"\x1b[2J\x9b1m"),
        ("a\r\nb\u2028c", r"a\r\nb\u2028c"),
        ("\u202e\u2066\u061c", r"\u202e\u2066\u061c"),
        ("\ud800\ue000\ufffe\U000e0041", r"\ud800\ue000\ufffe\U000e0041"),
        ("back\\slash 'quoted'", "back\\slash 'quoted'"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert visible(text) == shown


def test_a_long_text_keeps_its_ends():
    assert (
        one_line("a" * 300 + "b" * 1_000_000 + "c" * 100, 400)
        == "a" * 300 + "[... 1,000,000 characters ...]" + "c" * 100
    )
    assert one_line("\n" * 400, 400) == r"\n" * 400


def test_what_nobody_can_see_is_blank():
    assert is_blank("\u200b\u200d\u2060\x00 \t")
    assert not is_blank("\u200b.")

import pytest

from mapo.rewards.boxed import last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed {  7 }", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{}", ""),
        (r"it is \boxed{185\}", "185\\"),
        ("\\boxed{a\nb}", "a\nb"),
        ("\\boxed{a\0b}", "a\0b"),
    ],
)
def test_the_last_box_is_read(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    "text", ["", "42", "boxed{42}", r"\boxed 42", r"\boxed{42", r"\boxed{1} \boxed{2", r"\boxed{\{1\}"]
)
def test_no_closed_box_is_no_answer(text):
    assert last_boxed(text) is None


def test_deep_nesting_and_long_text_are_read():
    nested = "{" * 10_000 + "1" + "}" * 10_000
    assert last_boxed(r"\boxed{" + nested + "}") == nested
    assert last_boxed("x" * 1_000_000 + r"\boxed{3}" + "{" * 1_000_000) == "3"
    assert last_boxed(r"\boxed{" * 100_000) is None  # linear: no box of these is tried twice

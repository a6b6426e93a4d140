import pytest

from mapo.rewards.choices import choice_index, choice_letter, choices_of, letter_before_text

ANGLES = ["42", r"5\sqrt{2}", "72", "east"]


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "B)",
        "[B]",
        r"\text{B}",
        r"\textbf{(B)}",
        "**B**",
        "$B$",
        "Option B",
        "The answer is (B).",
    ],
)
def test_a_letter_is_read_in_any_wrapping(text):
    assert choice_letter(text) == "B"
    assert choice_index(text, ANGLES) == 1


@pytest.mark.parametrize("text", ["", "AB", "A or B", "A, B", "42", "(", r"\alpha"])
def test_what_is_not_one_letter_is_none(text):
    assert choice_letter(text) is None


@pytest.mark.parametrize("text", [r"5 \sqrt { 2 }", r"(B) $5\sqrt{2}$", r"B. 5\sqrt2", r"B: 5 \sqrt{2}"])
def test_the_text_of_a_choice_names_it(text):
    assert choice_index(text, ANGLES) == 1


@pytest.mark.parametrize("text", ["E", "(A) 72", "43", "42 or 72", ""])
def test_what_names_no_choice_or_contradicts_itself_is_none(text):
    assert choice_index(text, ANGLES) is None


def test_a_choice_that_reads_like_a_letter_goes_by_its_text():
    assert choice_index("A", ["B", "A"]) == 1


def test_two_equal_choices_are_told_apart_by_letter_only():
    assert choice_index("7", ["7", "7"]) is None
    assert choice_index("B", ["7", "7"]) == 1


def test_rows_without_choices_have_none():
    assert [choices_of({}), choices_of({"choices": None}), choices_of({"choices": [1, 2]})] == [[], [], ["1", "2"]]


def test_a_letter_before_a_text_is_seen():
    assert letter_before_text("(B) joy") == "B"
    assert letter_before_text("a joy") is None

import pytest

from mapo.data.lettered_choices import lettered, refuse_other_answers
from mapo.data.rows import RowError


def test_choices_are_written_by_letter():
    assert lettered(["x", "y"], "{letter}:{text}") == "A:x\nB:y"


@pytest.mark.parametrize("answer", ["A", "B", "(B)", "B.", " A ", "b", "1/2", "2"])
def test_a_letter_or_a_text_of_a_choice_may_be_right(answer):
    refuse_other_answers("7", answer, ["1/2", "2"])


@pytest.mark.parametrize("answer", ["C", "(C)", "3", "", "AB", "c"])
def test_other_answers_are_refused(answer):
    with pytest.raises(RowError, match=r"row '7': its answer .* is not among its 2 choices \(A: 1/2; B: 2\)"):
        refuse_other_answers("7", answer, ["1/2", "2"])


def test_without_choices_every_answer_may_be_right():
    refuse_other_answers("7", "sqrt 2", [])

import pytest

from mapo.rewards.normal_form import decimal, normal_form


@pytest.mark.parametrize(
    ("spellings", "form"),
    [
        (("0.5", r"\frac{1}{2}", ".50", r"x = \frac12", r"\text{the answer is } 1/2"), "0.5"),
        (("1,000", "1000", "$1000$", "1000 dollars", r"10^3"), "1000"),
        ((r"145^\circ", "145", "145度"), "145"),
        (("(b)", "B", r"\text{B.}", "The answer is B"), "B"),
        ((r"2\sqrt{2}", r"\sqrt{8}"), "2.82842712"),
        ((r"\{2, 1\}", r"\{ 1, 2 \}"), "{1, 2}"),
        ((r"(1, \frac{2}{4})", "(1, 0.5)"), "(1, 0.5)"),
        ((r"\text{Sadness}", "sadness."), "sadness"),
        ((r"\begin{pmatrix} 1 \\ 0.5 \end{pmatrix}", r"\begin{bmatrix} 1 \\ \frac12 \end{bmatrix}"), "[1; 0.5]"),
        (("1/3", r"\frac{2}{6}"), "1/3"),
        (("6 - 5i", "-5i + 6"), "6-5j"),
        (("x^2 + 1", "x^{2}+1"), "x^2+1"),
    ],
)
def test_equal_answers_share_one_form(spellings, form):
    assert {normal_form(text) for text in spellings} == {form}


def test_different_answers_differ():
    texts = ["1", "2", "-1", "A", "1, 2", "(1, 2)", "(2, 1)", "x", "2x", "odd", "even", "0.333", "1/3", ""]
    assert len({normal_form(text) for text in texts}) == len(texts)


def test_a_long_decimal_stays_a_fraction():
    assert decimal(1, 2**13) == "1/8192"
    assert decimal(-1, 4) == "-0.25"
    assert decimal(-1, 1000) == "-0.001"

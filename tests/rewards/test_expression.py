import math

import pytest

from mapo.rewards.expression import constant, expression_values, same_values


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 + 3 * 4", 14),
        ("-2^2", -4),
        ("(1 + 2)(3)", 9),
        (r"\frac12", 0.5),
        (r"\frac{1}{2}", 0.5),
        (r"1\frac{12}{13}", 25 / 13),
        (r"2\frac{\pi}{3}", 2 * math.pi / 3),
        (r"\sqrt2", math.sqrt(2)),
        (r"2\sqrt[3]{8}", 4),
        (r"6 \times 10^{-5}", 6e-5),
        ("6 / 4", 1.5),
        (r"i^2", -1),
        (r"2^{-1} + e^{0}", 1.5),
    ],
)
def test_the_value_of_an_expression_is_that_of_python(text, number):
    assert constant(expression_values(text)) == pytest.approx(number)


@pytest.mark.parametrize(
    "text",
    ["", "-", "1/2x", "2 3", "xy", "sin x", r"\sin x", "5!", "(1", "1)", r"\frac{1}", r"\frac{1}{0}", "x^23", "1,2"],
)
def test_what_could_be_read_in_two_ways_has_no_value(text):
    assert expression_values(text) is None


@pytest.mark.parametrize(
    "text",
    [r"\sqrt[3]{-8}", "9^{9^9}", "9**9**9", "10^{400}", r"2 1\frac{1}{2}", "(" * 900 + "1" + ")" * 900, "x = 2"],
)
def test_what_is_no_finite_number_has_no_value(text):
    assert expression_values(text) is None


def test_variables_differ_from_each_other_and_from_numbers():
    values = [expression_values(text) for text in ("x", "y", r"\theta", "2", "X")]
    for i, one in enumerate(values):
        assert [same_values(one, other) for other in values] == [i == j for j in range(len(values))]


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("(a+b)^2", "a^2 + 2ab + b^2", None),
        ("(a+b)^2", "a^2 + 2a b + b^2", True),
        (r"\sqrt{x^2}", "x", False),
        ("1/3", "0.33333333333", True),
        ("1/3", "0.333333", None),
        ("1/3", "0.333", False),
        ("10^{20}", "10^{20} + 1", None),
        ("10^{20}", "2 * 10^{20}", False),
    ],
)
def test_close_values_are_left_open(one, other, verdict):
    one, other = expression_values(one), expression_values(other)
    assert (None if one is None or other is None else same_values(one, other)) is verdict


def test_a_constant_has_no_variable_and_no_imaginary_part():
    assert constant(expression_values("2 - 2")) == 0
    assert constant(expression_values("x")) is None
    assert constant(expression_values("1 + i")) is None

from fractions import Fraction

import pytest

from mapo.rewards.answer_text import clean
from mapo.rewards.quantity import parse_number, split_unit


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        (r"9.4 \mathrm{~cm}^{2}", "9.4", "centimeter^2"),
        (r"864 \mbox{ inches}^2", "864", "inch^2"),
        ("864 square inches", "864", "inch^2"),
        (r"5.4 \text{ cents}", "5.4", "cent"),
        (r"145^\circ", "145", "degree"),
        (r"12\text{ degrees}", "12", "degree"),
        (r"28\%", "28", "percent"),
        ("28 percent", "28", "percent"),
        ("18 dollars", "18", "dollar"),
        ("5cm", "5", "centimeter"),
        (r"\frac{\pi}{2} \text{ m}", r"\frac{\pi}{2}", "meter"),
        ("120m", "120", "meter"),
        ("8米", "8", "meter"),
        ("16π平方米", r"16\pi", "meter^2"),
        ("5 см", "5", "centimeter"),
        (r"10 \mathrm{~m} / \mathrm{s}^{2}", "10", "meter/second^2"),
        ("60 miles per hour", "60", "mile/hour"),
        (r"25^\circ \text{C}", "25", "degree C"),
        ("217 ^\\circ T", "217", "degree"),
        ("24 units", "24", ""),
        ("4210_{5}", "4210", "base 5"),
        ("4 sq. units", "4", ""),
        ("21st", "21", "ordinal"),
        (r"2^\text{nd}", "2", "ordinal"),
        (r"45^\circ 30'", "91/2", "degree"),
    ],
)
def test_a_unit_is_split_off_under_one_name(text, value, unit):
    assert split_unit(clean(text)) == (value, unit)


@pytest.mark.parametrize(
    "text", ["42", "5 x", "5k", r"2 \pi", r"4 \sqrt { 2 }", r"\text{odd}", "3 or 5", r"\text{(C)}", "k"]
)
def test_what_may_be_mathematics_is_no_unit(text):
    assert split_unit(clean(text)) == (clean(text), "")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("-42", -42),
        ("+3.50", Fraction(7, 2)),
        (".0000672", Fraction("0.0000672")),
        ("5.", 5),
        ("1,450,000", 1_450_000),
        (r"\frac{ 14 } { 3 }", Fraction(14, 3)),
        (r"-\frac43", Fraction(-4, 3)),
        ("3 / 4", Fraction(3, 4)),
        (r"1 \frac{1}{2}", Fraction(3, 2)),
        ("-2 1/4", Fraction(-9, 4)),
        ("1 000 000", 1_000_000),
        (r"-0.1\overline{6}", Fraction(-1, 6)),
        (r".\overline{9}", 1),
        ("4 0/9", 4),
    ],
)
def test_numbers_are_read_exactly(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".",
        "1,2",
        "1,2345",
        "1 2",
        "1e5",
        "1/0",
        r"x\frac{1}{2}",
        r"\frac{1}{0}",
        "²",
        "9**9",
        "9" * 41,
        "1/2/3",
        "11 7/6",
        r"\overline{3}",
        "nan",
    ],
)
def test_anything_else_is_no_number(text):
    assert parse_number(text) is None

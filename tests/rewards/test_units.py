import pytest

from mapo.rewards.units import unit_name, units_differ


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("cm", "CM", "centimeters", "centimetre", "厘米", "公分", "см"), "centimeter"),
        (("cm^2", "cm^{ 2 }", "square centimeters", "sq. cm", "centimeters squared", "平方厘米"), "centimeter^2"),
        (("m^3", "cubic meters", "立方米"), "meter^3"),
        (("km/h", "kilometers per hour", "kmh"), "kilometer/hour"),
        (("feet", "foot", "ft"), "foot"),
        (("%", "percent", "pct"), "percent"),
        (("units", "unit", "square units"), ""),
        (("apples", "Apple"), "apple"),
    ],
)
def test_spellings_of_a_unit_share_its_name(spellings, name):
    assert {unit_name(text).partition("^")[0] if not name else unit_name(text) for text in spellings} == {name}


def test_only_known_units_contradict_each_other():
    assert units_differ("meter", "kilometer")
    assert units_differ("meter", "meter^2")
    assert units_differ("meter/second", "meter")
    assert units_differ("base 5", "base 6")
    assert not units_differ("apple", "red apple")
    assert not units_differ("apple", "meter")
    assert not units_differ("degree", "degree C")

r"""Numbers and their units, as far as they can be read without a computer algebra system."""

import re
from fractions import Fraction

from mapo.rewards.units import unit_name

_DIGITS = r"[0-9]{1,40}"  # longer ones are no answer, and Python is slow to read them
_NUMBER = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:(?:,[0-9]{3}){1,9}|(?: [0-9]{3}){1,9})(?:\.[0-9]{1,20})?")
_FRACTION = re.compile(
    rf"(?P<sign>[+-]?)(?P<whole>{_DIGITS}(?: (?=[0-9]))?)??(?:\\frac\{{(?P<a>{_DIGITS})\}}\{{(?P<b>{_DIGITS})\}}"
    rf"|\\frac(?P<c>[0-9])(?P<d>[0-9])|(?P<e>{_DIGITS})/(?P<f>{_DIGITS}))"
)
_REPEATING = re.compile(r"(?P<head>[+-]?[0-9]{0,20}\.(?P<fixed>[0-9]{0,20}))\\overline\{(?P<period>[0-9]{1,20})\}")
_MIXED_WITH_SLASH = re.compile(r"[+-]?[0-9]{1,40} [0-9]{1,40}/")

_POWER = r"\^ ?(?:\{ ?[0-9] ?\}|[0-9])"
_WRAPPED = r"\\(?:text(?:bf|it|rm|sf|normal)?|math(?:bf|it|rm|sf)|mbox|operatorname) ?\{[^{}]*\}"
_WRAPPED_UNIT = re.compile(rf" ?({_WRAPPED}(?: |/|\\cdot(?![a-zA-Z])|{_WRAPPED}|{_POWER})*)$")
_TEMPERATURE = re.compile(r" ?° ?(?:([A-Z])|\\(?:text|mathrm) ?\{ ?([A-Z]) ?\})$")  # or a bearing, as in 217° T
_PRIME = r"(?:'|\^ ?\{? ?\\prime ?\}?)"
_MINUTES = re.compile(rf"([0-9]{{1,9}}) ?° ?([0-9]{{1,9}}) ?{_PRIME}")  # of arc
_BASE = re.compile(r"^([0-9A-F]+) ?_ ?\{? ?([0-9]{1,2}) ?\}?$")  # of a numeral, as in 4210_5
_BARE_UNIT = re.compile(
    r"(?: ?[°%¢]"
    r"| ?[\u0400-\u04ff\u2103\u2109\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+"
    r"|(?<=[0-9}).]) (?:sq\.? |cu\.? )?[A-Za-z]{3,}\.?(?:[ /][A-Za-z]+\.?)*"
    r"|(?<=[0-9}).]) ?(?:cm|mm|dm|km|kg|mg|ml|mL|ft|yd|lb|oz|hr|mph|m)(?:/(?:hr?|s|min|sec|m|L|ml|gal))?)"
    rf"(?: ?{_POWER})?$"
)
_ORDINAL = re.compile(r"(?<=[0-9]) ?(?:\^ ?\{? ?)?(?:\\(?:text|mathrm) ?\{ ?)?(?:st|nd|rd|th)(?: ?\}){0,2}$")
_WRAPPING = re.compile(r"\\[a-z]+ ?\{([^{}]*)\}")


def split_unit(text: str) -> tuple[str, str]:
    r"""Split a cleaned answer into its value and its unit.

    A unit is what stands behind a value in ``\text{…}`` or ``\mathrm{…}``, a degree or percent sign, a word in
    Cyrillic, Chinese, Japanese or Korean letters, or a plain word of at least three letters (shorter ones may be
    variables, unless they are well-known units). The base of a numeral counts as one.

    Args:
        text: What ``mapo.rewards.answer_text.clean`` returns.

    Returns:
        The value, and the unit under one name for its common spellings; an empty unit where there is none.

    Example:
        >>> split_unit(r"9.4 \mathrm{ cm}^{2}"), split_unit("16 square inches"), split_unit("5 x"), split_unit("8米")
        (('9.4', 'centimeter^2'), ('16', 'inch^2'), ('5 x', ''), ('8', 'meter'))
    """
    if match := _BASE.search(text):
        return match[1], f"base {match[2]}"
    if match := _MINUTES.fullmatch(text):
        return str(int(match[1]) + Fraction(int(match[2]), 60)), "degree"
    if match := _ORDINAL.search(text):
        return text[: match.start()], "ordinal"
    if match := _TEMPERATURE.search(text):
        unit = "°" + (match[1] or match[2])
        unit = unit if unit in ("°C", "°F") else "°"
    elif match := _WRAPPED_UNIT.search(text) or _BARE_UNIT.search(text):
        unit = _WRAPPING.sub(r"\1", match.group())
    if match is None or not re.search(r"[0-9]|\\pi", value := text[: match.start()].rstrip(" ^")):
        return text, ""
    return value, unit_name(unit)


def parse_number(text: str) -> Fraction | None:
    r"""Read an integer, a decimal, one with thousands separators, a simple fraction or a mixed number, exactly.

    Example:
        >>> [str(parse_number(text)) for text in ("1,000", "-.5", r"-\frac{1}{2}", r"1 \frac{1}{2}", "2 x", "1/0")]
        ['1000', '-1/2', '-1/2', '3/2', 'None', 'None']
        >>> str(parse_number(r"0.1\overline{6}")), parse_number("11 7/6") is None
        ('1/6', True)
    """
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "").replace(" ", "")
    if not _MIXED_WITH_SLASH.match(text):
        text = re.sub(r"(?<![0-9]) | (?![0-9])", "", text)
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    if match := _REPEATING.fullmatch(text):
        return _repeating(**match.groupdict())
    if not (match := _FRACTION.fullmatch(text)):
        return None
    sign, whole, *parts = match.groups()
    numerator, denominator = (int(part) for part in parts if part is not None)
    if denominator == 0 or (whole and numerator >= denominator):  # 11 6/6 is no mixed number
        return None
    size = int(whole or 0) + Fraction(numerator, denominator)
    return -size if sign == "-" else size


def _repeating(head: str, fixed: str, period: str) -> Fraction:
    rest = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return Fraction(head + "0") + (-rest if head.startswith("-") else rest)

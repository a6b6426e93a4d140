r"""Numbers and their units, as far as they can be read without a computer algebra system."""

import re
from fractions import Fraction

_DIGITS = r"\d{1,40}"  # longer ones are no answer, and Python is slow to read them
_NUMBER = re.compile(rf"(?P<sign>[+-]?)(?P<size>{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,20})?")
_FRACTION = re.compile(
    rf"(?P<sign>[+-]?)(?:\\frac\{{(?P<a>{_DIGITS})\}}\{{(?P<b>{_DIGITS})\}}|\\frac(?P<c>\d)(?P<d>\d)"
    rf"|(?P<e>{_DIGITS})/(?P<f>{_DIGITS}))"
)

_POWER = r"(?: ?\^ ?\{? ?(?P<power>\d) ?\}?)?"
_WRAPPED_UNIT = re.compile(
    r" ?\\(?:text(?:bf|it|rm|sf)?|math(?:bf|it|rm|sf)|mbox|operatorname) ?\{ ?(?P<unit>[^{}]*)\}" + _POWER + "$"
)
_BARE_UNIT = re.compile(
    r"(?<=[\d})])(?: ?(?P<sign>[°%])| (?P<unit>[A-Za-z]{3,}(?: [A-Za-z]{2,})*)"
    r"| ?(?P<short>cm|mm|km|kg|mg|ml|ft|yd|lb|oz|hr|mph))" + _POWER + "$"
)
_NAMES = {
    "°": "degree", "deg": "degree", "%": "percent",
    "mm": "millimeter", "cm": "centimeter", "m": "meter", "km": "kilometer", "g": "gram", "kg": "kilogram",
    "in": "inch", "inche": "inch", "ft": "foot", "feet": "foot", "yd": "yard", "mi": "mile",
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour",
}  # fmt: skip


def split_unit(text: str) -> tuple[str, str]:
    r"""Split a cleaned answer into its value and its unit.

    A unit is what stands behind a value in ``\text{…}`` or ``\mathrm{…}``, a degree or percent sign, or a plain word of
    at least three letters (shorter ones may be variables, unless they are well-known units).

    Args:
        text: What ``mapo.rewards.answer_text.clean`` returns.

    Returns:
        The value, and the unit under one name for its common spellings; an empty unit where there is none.

    Example:
        >>> split_unit(r"9.4 \mathrm{ cm}^{2}"), split_unit("16 square inches"), split_unit("5 x")
        (('9.4', 'centimeter^2'), ('16', 'inch^2'), ('5 x', ''))
    """
    match = _WRAPPED_UNIT.search(text) or _BARE_UNIT.search(text)
    if match is None or not re.search(r"\d|\\pi", value := text[: match.start()].rstrip(" ^")):
        return text, ""
    groups = match.groupdict()
    unit = groups["unit"] or groups.get("short") or groups.get("sign") or ""
    return value, _unit_name(unit, groups["power"])


def _unit_name(unit: str, power: str | None) -> str:
    unit = unit.strip(" .").casefold()
    for prefix, exponent in (("square ", "2"), ("sq ", "2"), ("cubic ", "3")):
        if unit.startswith(prefix):
            unit, power = unit.removeprefix(prefix), exponent
    unit = unit.removesuffix("s") if len(unit) > 2 else unit
    return _NAMES.get(unit, unit) + (f"^{power}" if power else "")


def parse_number(text: str) -> Fraction | None:
    r"""Read an integer, a decimal, one with thousands separators, or a simple fraction, exactly.

    Returns:
        None for anything else, mixed numbers included: computer algebra decides what they mean.

    Example:
        >>> [str(parse_number(text)) for text in ("1,000", "-.5", r"-\frac{1}{2}", "3/4", "2 x", "1/0")]
        ['1000', '-1/2', '-1/2', '3/4', 'None', 'None']
    """
    text = re.sub(r"(?<!\d) | (?!\d)", "", text)
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if match := _NUMBER.fullmatch(text):
        return Fraction(match.group())
    if not (match := _FRACTION.fullmatch(text)):
        return None
    sign, *parts = match.groups()
    numerator, denominator = (int(part) for part in parts if part is not None)
    return None if denominator == 0 else Fraction(-numerator if sign == "-" else numerator, denominator)

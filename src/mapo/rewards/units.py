"""Units of measurement under one name each."""

import re

_SPELLINGS = {
    "degree": "° deg 度",
    "degree C": "°C celsius 摄氏度 ℃",
    "degree F": "°F fahrenheit ℉",
    "percent": "% pct percentage",
    "millimeter": "mm millimetre 毫米 мм",
    "centimeter": "cm centimetre 厘米 公分 см センチ",
    "decimeter": "dm decimetre 分米 дм",
    "meter": "m metre 米 м メートル 미터",
    "kilometer": "km kilometre 千米 公里 км キロ",
    "inch": "in inche", "foot": "ft feet", "yard": "yd", "mile": "mi", "light year": "light-year",
    "milligram": "mg 毫克", "gram": "g gm 克 г", "kilogram": "kg kilo 千克 公斤 кг", "ounce": "oz", "pound": "lb",
    "ton": "t tonne 吨", "milliliter": "ml millilitre 毫升 мл", "liter": "l litre 升 л",
    "second": "s sec 秒", "minute": "min 分 分钟", "hour": "h hr 小时 时", "day": "天 日", "week": "周", "month": "月",
    "year": "yr yrs 年 岁", "mile/hour": "mph", "kilometer/hour": "kph kmh",
    "cent": "¢ 分钱", "dollar": "usd buck", "yuan": "元 块 rmb", "euro": "eur",
    "newton": "n", "joule": "j", "watt": "w", "volt": "v", "hertz": "hz", "radian": "rad", "liter/minute": "lpm",
}  # fmt: skip
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_KNOWN = set(_SPELLINGS)
_POWERS = (
    (re.compile(r"(?:square|sq\.?) (.*)|(.*) squared|平方(.+)"), "^2"),
    (re.compile(r"cubic (.*)|(.*) cubed|立方(.+)"), "^3"),
)
_WITH_POWER = re.compile(r"(.*?) ?\^ ?\{? ?([0-9]) ?\}?")


def unit_name(text: str) -> str:
    r"""Return the one name of a unit; words that are none are their own name, and "units" have none.

    Args:
        text: A unit as it is written, such as ``square inches`` or ``km/h^2``.

    Example:
        >>> [unit_name(text) for text in ("cm^{2}", "Inches", "square feet", "miles per hour", "平方米", "units")]
        ['centimeter^2', 'inch', 'foot^2', 'mile/hour', 'meter^2', '']
    """
    text = " ".join(text.replace(r"\cdot", "*").replace(" per ", "/").split()).strip(" .,;")
    name = "/".join(_single(part) for part in text.split("/"))
    return _NAMES.get(name, name)


def _single(text: str) -> str:
    text, power = text.strip(" .~"), ""
    for pattern, written in _POWERS:
        if match := pattern.fullmatch(text.casefold()):
            text, power = next(group for group in match.groups() if group), written
    if match := _WITH_POWER.fullmatch(text):
        text, power = match[1], f"^{match[2]}"
    if (name := _NAMES.get(text) or _NAMES.get(text.casefold())) is not None:
        return name + power
    text = text.casefold()
    text = text.removesuffix("s") if len(text) > 2 else text
    return "" if text == "unit" else _NAMES.get(text, text) + power


def units_differ(one: str, other: str) -> bool:
    """Tell whether two unit names contradict each other: both are known, and they are not the same.

    Example:
        >>> units_differ("meter", "kilometer"), units_differ("meter", ""), units_differ("meter", "step")
        (True, False, False)
    """
    if one == other or {one, other} in ({"degree", "degree C"}, {"degree", "degree F"}):
        return False
    return _is_known(one) and _is_known(other)


def _is_known(name: str) -> bool:
    if name.startswith("base "):
        return True
    return bool(name) and all(part.partition("^")[0] in _KNOWN for part in name.split("/"))

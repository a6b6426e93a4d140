r"""The written form of short answers: what differs between two spellings of the same answer is taken away."""

import re

# A JSON string whose LaTeX was not escaped: "\frac" became a form feed and "rac".
_BROKEN = (
    (re.compile("\f(?=[a-z])"), r"\\f"),
    (re.compile("\b(?=[a-z])"), r"\\b"),
    (re.compile("\t(?=ext|imes)"), r"\\t"),
)
_REWRITES = (
    (re.compile(r"[\x00-\x20\x7f\u00a0]+"), " "),  # first, so that every later pattern is linear in the text
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right)(?![a-zA-Z])\s*\.?"), ""),
    (re.compile(r"(?<=\d)\s*(?:\\[,!]|\{,\})\s*(?=\d{3}(?!\d))"), ","),  # one of the ways to set 10,000
    (re.compile(r"(?<!\\)\\!|\\(?:displaystyle|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~"), " "),  # not the line break of a matrix
    (re.compile(r"\s*\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-zA-Z]))|\\degree(?![a-zA-Z])"), "°"),
    (re.compile(r"\\?\$"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"√"), r"\\sqrt "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"²"), "^2"),
    (re.compile(r"³"), "^3"),
    (re.compile(r" {2,}"), " "),
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf)?|math(?:bf|it|rm|sf)|mbox|operatorname)\s*\{([^{}]*)\}")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_ONE_CHARACTER_GROUP = re.compile(r"\{(\w)\}")


def clean(text: str) -> str:
    r"""Repair and simplify LaTeX without changing what it says.

    Broken ``\frac``, ``\left``/``\right``, dollar signs, spacing commands, degree and percent signs, control characters
    and a final period are put right or away; thousands keep a plain comma.

    Example:
        >>> clean(r"$10{,}000 + \dfrac {1}{2}^\circ$.")
        '10,000 + \\frac {1}{2}°'
    """
    for broken, repair in _BROKEN:
        text = broken.sub(repair, text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text.strip().removesuffix(".").rstrip()


def unwrap(text: str) -> str:
    r"""Take the words out of ``\text{…}``, ``\mathrm{…}`` and their like."""
    return _TEXT.sub(r"\1", text)


def words(text: str) -> str:
    r"""Return the plain words of a text answer: unwrapped, lower case, without marks around them.

    Example:
        >>> words(r"\text{**Sadness**.}")
        'sadness'
    """
    return " ".join(unwrap(clean(text)).split()).strip(" *_`\"'“”‘’.,;:!").casefold()


def key(text: str) -> str:
    r"""Return a string that is equal for two spellings of one answer; good for comparison only.

    Spaces go, except between digits; ``{x}`` of one character is ``x``, as TeX reads it; case counts only where LaTeX
    commands are left.

    Example:
        >>> key(r"4 \sqrt { 2 }") == key(r"4\sqrt2")
        True
        >>> key("New York") == key(r"\text{new york}"), key("1 2") == key("12")
        (True, False)
    """
    text = " ".join(unwrap(clean(text)).split()).removesuffix(".")
    text = _ONE_CHARACTER_GROUP.sub(r"\1", _SPACE.sub("", text))
    return text if "\\" in text else text.casefold()

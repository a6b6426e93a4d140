r"""The written form of short answers: what differs between two spellings of the same answer is taken away."""

import re
import unicodedata
from functools import lru_cache

# A string whose LaTeX was not escaped: "\frac" became a form feed and "rac".
_BROKEN = (
    (re.compile("\f(?=[a-z])"), r"\\f"),
    (re.compile("\b(?=[a-z])"), r"\\b"),
    (re.compile("\t(?=ext|imes|heta|frac|an(?![a-z]))"), r"\\t"),
    (re.compile("\r(?=ight)"), r"\\r"),
    (re.compile("\v(?=ec)"), r"\\v"),
    (re.compile("\a(?=ngle|lpha|pprox)"), r"\\a"),
)
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
_SIGNS = str.maketrans(
    {character: f"^{digit}" for character, digit in _SUPERSCRIPTS.items()}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
    | dict.fromkeys("−–‒—﹣", "-")
    | dict.fromkeys("€£¥", "")
    | dict.fromkeys("º˚掳", "°")  # the last one is a degree sign read in the wrong encoding
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
    | {"∘": r"\circ ", "√": r"\sqrt ", "π": r"\pi ", "θ": r"\theta ", "×": r"\times ", "·": r"\cdot ", "÷": r"\div "}
    | {"±": r"\pm ", "∞": r"\infty ", "≈": r"\approx ", "∪": r"\cup ", "∈": r"\in ", "≤": r"\leq ", "≥": r"\geq "}
    | {"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}"}
    | {"∅": r"\emptyset ", "∠": r"\angle ", "⁄": "/", "。": ".", "、": ",", "∶": ":", "′": "'", "″": "''", "’": "'"}
)
_REWRITES = (
    (re.compile(r"[\x00-\x20\x7f\u00a0\u2000-\u200a\u202f\u3000]+"), " "),  # first: later patterns stay linear
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*\.?"), ""),
    (re.compile(r"(?<=\d),\\!(?=\d\d(?!\d))|(?<=,\\!\d\d),\\!(?=\d{3}(?!\d))"), ""),  # 1,23,456
    (re.compile(r"(?<=\d)\s*(?:,\s*\\!|\\[,!]|\{,\})\s*(?=\d{3}(?!\d))"), ","),  # ways to set 10,000
    (re.compile(r"(?<!\\)\\!|\\(?:displaystyle|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~"), " "),  # not the line break of a matrix
    (
        re.compile(
            r"\s*\^\s*(?:\{\s*(?:\\(?:circ|degree)\s*|°)\}|\\(?:circ|degree)(?![a-zA-Z])|°)|\\degree(?![a-zA-Z])"
        ),
        "°",
    ),
    (re.compile(r"\\textdollar(?![a-zA-Z])(?:\{\})?|\\?\$|(?<!\\)\\[()]"), ""),
    (re.compile(r"(?<!\\)\\[\[\]]"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\le(?:qslant)?(?![a-zA-Z])|<="), r"\\leq"),
    (re.compile(r"\\ge(?:qslant)?(?![a-zA-Z])|>="), r"\\geq"),
    (re.compile(r"\\ne(?![a-zA-Z])|!="), r"\\neq"),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\varnothing(?![a-zA-Z])|\\\{ ?\\\}"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:mathrm|text) ?\{ ?([ei]) ?\}"), r"\1"),  # the numbers, in upright type
    (re.compile(r"(?<![\\A-Za-z])(sqrt(?=\()|pi(?![A-Za-z(]))"), r"\\\1 "),
    (re.compile(r" {2,}"), " "),
)
_DOUBLED_BACKSLASH = re.compile(r"\\\\(?=[A-Za-z])")  # escaped once too often; elsewhere the line break of a matrix
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|normal)?|math(?:bf|it|rm|sf)|mbox|operatorname)\s*\{([^{}]*)\}")
_SHORT = 1000  # characters
_TEXT_OPENING = re.compile(_TEXT.pattern.partition(r"\{")[0] + r"\{")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ONE_CHARACTER_GROUP = re.compile(r"\{(\w)\}")


def clean(text: str) -> str:
    r"""Repair and simplify LaTeX without changing what it says.

    Broken ``\frac``, ``\left``/``\right``, dollar signs, spacing commands, degree and percent signs, control
    characters, digits and signs of other scripts, bold type and a final period are put right or away; thousands keep a
    plain comma.

    Example:
        >>> clean(r"$10{,}000 + \dfrac {1}{2}^\circ$.")
        '10,000 + \\frac {1}{2}°'
    """
    return _clean_once(text) if len(text) <= _SHORT else _clean(text)


def _clean(text: str) -> str:
    for broken, repair in _BROKEN:
        text = broken.sub(repair, text)
    if not text.isascii():
        text = "".join(map(_ascii_digit, text.translate(_SIGNS)))
    if r"\begin" not in text:
        text = _DOUBLED_BACKSLASH.sub(r"\\", text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = text.strip()
    if text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    if text.endswith((".", "\\")):
        text = text.rstrip("\\ ").removesuffix(".").rstrip()
    return _without_wrapping(text)


_clean_once = lru_cache(8192)(_clean)  # a batch holds every gold once per completion


def _without_wrapping(text: str) -> str:
    r"""Take away a ``\text{…}`` or ``\mathbf{…}`` around formulas with braces of their own."""
    match = _TEXT_OPENING.match(text)
    if match is None or not text.endswith("}"):
        return text
    depth = 1
    for brace in _BRACE.finditer(text, match.end()):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[match.end() : -1].strip() if brace.end() == len(text) else text
    return text


def _ascii_digit(character: str) -> str:
    digit = None if character.isascii() else unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


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
    return key_of_clean(clean(text))


def key_of_clean(text: str) -> str:
    """Return the key of a text that is ``clean`` already."""
    text = " ".join(unwrap(text).split()).removesuffix(".")
    text = _ONE_CHARACTER_GROUP.sub(r"\1", _SPACE.sub("", text))
    return text if "\\" in text else text.casefold()


def same_key(one: str, other: str) -> bool:
    """Tell whether two texts that are ``clean`` are spellings of one answer."""
    return key_of_clean(one) == key_of_clean(other)

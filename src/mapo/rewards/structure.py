r"""The outer form of an answer: a list, set, tuple, interval or matrix of parts, or a relation between two."""

import re
from typing import NamedTuple

_MARK = re.compile(
    r"\\begin(?![a-zA-Z])|\\end(?![a-zA-Z])|\\\\|\\[{}]|\\[a-zA-Z]+|\\.|[()\[\]{}]|[,;&=:]|\b(?:and|or)\b"
)
_OPEN = {"(", "[", "{", r"\{", r"\langle", r"\begin"}
_CLOSE = {")", "]", "}", r"\}", r"\rangle", r"\end"}
_THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)")
_ORDERED = ("(", "[", r"\langle")
_ALIKE = ((r"\langle", r"\rangle"), (r"\{", r"\}"), ("{", "}"))  # open and close alike, unlike [0, 1)
_WORDS = re.compile(r"\\text(?:rm|normal)?\s*\{[ ,]*(and|or)[ ,]*\}")
_MATRIX = re.compile(
    r"\\begin\s*\{(?P<kind>[pbB]?matrix|smallmatrix|array)\}(?:\s*\{[lcr| ]*\})?(?P<body>.*)\\end\s*\{(?P=kind)\}", re.S
)
_ROW_GAP = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]")
_NAME = re.compile(
    r"(?:\\(?:frac|angle|triangle|theta|alpha|beta|gamma|lambda|mu|phi|overline|vec|hat|bar|mathbf|text|mathrm|operatorname"
    r"|sigma|rho|omega|Delta|widehat)(?![A-Za-z])|_ ?+\{?\w++\}?|\^ ?+\{-1\}|[A-Za-z'. {}(),|:/])*"
)


class Listing(NamedTuple):
    """Parts between brackets, or bare ones."""

    opening: str
    parts: list[str]
    closing: str

    @property
    def is_ordered(self) -> bool:
        """Whether the order counts: in tuples and intervals, not in sets and bare lists."""
        return self.opening in _ORDERED


def split_outside(text: str, marks: set[str]) -> list[str]:
    r"""Split at marks that stand outside of all brackets and environments.

    Example:
        >>> split_outside(r"(1, 2), \{3, 4\}", {","})
        ['(1, 2)', '\\{3, 4\\}']
    """
    parts, depth, start = [], 0, 0
    for match in _MARK.finditer(text):
        mark = match.group()
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if depth == 0 and mark in marks:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]


def listing(text: str) -> Listing | None:
    r"""Read a list, a set, a tuple or an interval.

    Args:
        text: What ``mapo.rewards.answer_text.clean`` returns.

    Returns:
        None where the text is none of these. ``a \pm b`` is the list of its two values.

    Example:
        >>> listing(r"\{1, 2\}").parts, listing("[0, 1)").closing, listing("x = 1 or x = 2").parts
        (['1', '2'], ')', ['x = 1', 'x = 2'])
        >>> listing("10,000") is None, listing(r"1 \pm 2").parts
        (True, ['1 + 2', '1 - 2'])
    """
    text = _WORDS.sub(r" \1 ", text)
    opening, inner, closing = _brackets(text)
    parts = _parts(inner, is_bare=not opening)
    if opening == "{":  # a set whose braces were not escaped, or a group
        opening, closing = (r"\{", r"\}") if len(parts) > 1 else ("", "")
    if opening not in _ORDERED:
        parts = [value for part in parts for value in _both_signs(part)]
    return Listing(opening, parts, closing) if len(parts) > 1 or opening == r"\{" else None


def _both_signs(text: str) -> list[str]:
    return [" ".join(text.replace(r"\pm", sign).split()) for sign in "+-"] if text.count(r"\pm") == 1 else [text]


def _parts(text: str, *, is_bare: bool) -> list[str]:
    if is_bare:  # 10,000 is one number there, and (10,000) is a point
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", "\0"), text)
    parts = split_outside(text, {",", ";", "and", "or"})
    parts = [part for part in parts if part] if len(parts) > 2 else parts  # "1, 2, and 3"
    return [part.replace("\0", ",") for part in (parts if all(parts) else [text])]


def _brackets(text: str) -> tuple[str, str, str]:
    """Return the brackets around the whole text, empty where there are none, and what is inside."""
    opening = next((mark for mark in (*_ORDERED, r"\{", "{") if text.startswith(mark)), "")
    closing = next((mark for mark in (r"\rangle", r"\}", ")", "]", "}") if text.endswith(mark)), "")
    inner = text[len(opening) : len(text) - len(closing)]
    if not opening or not closing or any((opening == one) != (closing == other) for one, other in _ALIKE):
        return "", text, ""
    depth = 0
    for match in _MARK.finditer(inner):
        depth += (match.group() in _OPEN) - (match.group() in _CLOSE)
        if depth < 0:  # the first bracket is closed before the end
            return "", text, ""
    return opening, inner.strip(), closing


def matrix(text: str) -> list[list[str]] | None:
    r"""Read the cells of a matrix, row by row.

    Example:
        >>> matrix(r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}")
        [['1', '2'], ['3', '4']]
    """
    match = _MATRIX.fullmatch(_brackets(text)[1] if text.startswith(("(", "[")) else text)
    if match is None or r"\begin" in match["body"]:  # a sum or product of matrices
        return None
    rows = [row for row in split_outside(_ROW_GAP.sub(r"\\\\", match["body"]), {r"\\"}) if row]
    return [split_outside(row, {"&"}) for row in rows]


def relation(text: str) -> tuple[str, str] | None:
    r"""Split an equation at its last equality sign, a membership ``x \in A``, or ``name: value``, outside of brackets.

    Returns:
        Both sides; None where there is no such sign.

    Example:
        >>> relation("y = 2x + 3"), relation(r"x \in [-2, 7]"), relation("5")
        (('y', '2x + 3'), ('x', '[-2, 7]'), None)
    """
    for sign in ("=", r"\in", ":"):
        parts = split_outside(text, {sign})
        if sign == ":" and not re.match(r"[A-Za-z]{3}", text):  # 3:2 is a ratio, "domain: (0, 1)" a name
            break
        if len(parts) > 1 and parts[-1]:
            return parts[0], parts[-1]
    return None


def is_name(text: str) -> bool:
    r"""Tell whether the left side of an equation only names what is on the right.

    Example:
        >>> [is_name(text) for text in ("x", "f(x)", r"\angle ABC", "Area", "", "x/y", "2x", "y^2")]
        [True, True, True, True, True, True, False, False]
    """
    return len(text) <= 60 and _NAME.fullmatch(text) is not None

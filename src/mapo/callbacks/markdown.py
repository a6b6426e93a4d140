"""Text that anybody, a model included, may have written, as cells of a Markdown table."""

from collections.abc import Iterable, Sequence

from mapo.functional.visible import is_shapeless

_SYNTAX = "\\`*_[]!<>&|~$"  # what starts something in a table cell: emphasis, code, links, HTML, the next cell


def shorten(text: str, limit: int) -> str:
    """Return the text, or its beginning and end around the number of characters left out.

    Two thirds of the limit go to the beginning: an answer stands at the end.

    Args:
        text: Any text.
        limit: Characters of the text that stay, > 0.

    Example:
        >>> shorten("abcdefghij", 6)
        'abcd [... 4 characters left out ...] ij'
    """
    if len(text) <= limit:
        return text
    tail = limit // 3
    head = limit - tail
    return f"{text[:head]} [... {len(text) - limit} characters left out ...] {text[len(text) - tail :]}"


def cell(text: str) -> str:
    r"""Return the text so that a Markdown table cell shows exactly it.

    Characters that mean something to Markdown or HTML become entities, line ends become ``<br>``, and characters
    without a shape of their own (control, direction marks, lone surrogates) are shown as escapes.

    Example:
        >>> cell("a|b\n<think>")
        'a&#124;b<br>&#60;think&#62;'
    """
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "<br>".join("".join(map(_visible, line)).replace("  ", " &#160;") for line in lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that hold plain text.

    Example:
        >>> print(table(["a", "b"], [["1", "x|y"]]))
        | a | b |
        |---|---|
        | 1 | x&#124;y |
    """
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(cell, cells)) + " |"


def _visible(character: str) -> str:
    if character in _SYNTAX:
        return f"&#{ord(character)};"
    if is_shapeless(character):
        return f"&#92;u{ord(character):04x}"
    return character

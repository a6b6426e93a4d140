"""Aligned columns of plain text."""

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in columns under a header: the first column to the left, all others to the right.

    Example:
        >>> print(text_table(["set", "rows"], [["grid", "5"], ["bars", "120"]]))
        set  | rows
        -----+-----
        grid |    5
        bars |  120
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = "-+-".join("-" * width for width in widths)
    return "\n".join([_line(header, widths), rule, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()

"""Aligned columns of plain text."""

import shutil
import sys
from collections.abc import Sequence

_BETWEEN = " | "
_WIDTH = 120  # where no terminal says how wide it is


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, keys: int = 1, width: int | None = None) -> str:
    """Return the rows in columns under a header: the first column to the left, all others to the right.

    Args:
        header: Names of the columns.
        rows: One cell per column each.
        keys: Columns by which a row is known: they stand to the left, and where the table is wider than ``width``, it
            goes on below with them again.
        width: Characters that a line may have; those of the terminal, or 120 without one, when None.

    Example:
        >>> print(text_table(["set", "rows"], [["grid", "5"], ["bars", "120"]]))
        set  | rows
        -----+-----
        grid |    5
        bars |  120
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
    blocks = []
    for places in _blocks(widths, keys, width):
        rule = "-+-".join("-" * widths[place] for place in places)
        lines = [_line(cells, widths, places, keys) for cells in (header, *rows)]
        blocks.append("\n".join([lines[0], rule, *lines[1:]]))
    return "\n\n".join(blocks)


def _blocks(widths: Sequence[int], keys: int, width: int) -> list[list[int]]:
    """Return the columns of every block of lines: the keys, and as many others as fit, one at least."""
    of_keys = list(range(keys))
    blocks = [of_keys]
    for place in range(keys, len(widths)):
        if len(blocks[-1]) > keys and _width([*blocks[-1], place], widths) > width:
            blocks.append(of_keys)
        blocks[-1] = [*blocks[-1], place]
    return blocks


def _width(places: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[place] for place in places) + len(_BETWEEN) * (len(places) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], places: Sequence[int], keys: int) -> str:
    aligned = (cells[i].ljust(widths[i]) if i < keys else cells[i].rjust(widths[i]) for i in places)
    return _BETWEEN.join(aligned).rstrip()

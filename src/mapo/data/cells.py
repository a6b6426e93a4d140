"""Cells of a row that hold more than a text, read with their types checked."""

from collections.abc import Mapping
from typing import Any

from mapo.data.rows import RowError
from mapo.data.source import text


def texts(sample_id: str, row: Mapping[str, Any], column: str) -> list[str]:
    """Return a list as texts; an empty one for a missing value.

    Raises:
        RowError: The cell holds something else.
    """
    value = row[column]
    if value is not None and not isinstance(value, list | tuple):
        raise RowError(sample_id, f"its {column} is a {type(value).__name__} ({value!r}), not a list of texts")
    return [text(item) for item in value or ()]


def fields(sample_id: str, row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """Return nested columns; none for a missing value.

    Raises:
        RowError: The cell holds something else.
    """
    value = row[column]
    if value is not None and not isinstance(value, Mapping):
        raise RowError(sample_id, f"its {column} is a {type(value).__name__} ({value!r}), not an object of columns")
    return value or {}


def whole_number(sample_id: str, row: Mapping[str, Any], column: str) -> int | None:
    """Return a whole number, also one stored as a float; None for a missing value.

    Raises:
        RowError: The cell holds something else.
    """
    value = row[column]
    if value is None or value != value:  # a missing number is NaN in some copies
        return None
    if not isinstance(value, int | float) or (isinstance(value, float) and not value.is_integer()):
        raise RowError(sample_id, f"its {column} is {value!r}, not a whole number")
    return int(value)


def present(columns: Mapping[str, Any], *names: str) -> dict[str, str | list[str]]:
    """Return the columns of these names that hold something, as a text or a list of texts each.

    Example:
        >>> present({"level": 4, "grade": None, "skills": []}, "level", "grade", "skills")
        {'level': '4'}
    """
    cells = {name: columns.get(name) for name in names}
    cells = {name: cell for name, cell in cells.items() if cell not in (None, "", [])}
    return {name: [text(c) for c in cell] if isinstance(cell, list) else text(cell) for name, cell in cells.items()}

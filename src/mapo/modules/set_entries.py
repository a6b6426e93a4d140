"""Settings that are given for some evaluation sets, by name or by pattern."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

Entry = TypeVar("Entry")


def entry_of(entries: Mapping[str, Entry], set_name: str) -> Entry | None:
    """Return the entry of a set: a name wins over a pattern, the first pattern over the next; None without any.

    Example:
        >>> entry_of({"math*": 1, "*": 2, "mathvista": 3}, "mathvista"), entry_of({"math*": 1, "*": 2}, "mathverse")
        (3, 1)
    """
    by_pattern = (entry for key, entry in entries.items() if fnmatchcase(set_name, key))
    return entries.get(set_name) or next(by_pattern, None)

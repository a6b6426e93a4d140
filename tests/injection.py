"""What every test in this folder reports: a fault, how often it was injected, and what came of it.

The terminal summary adds the reports up to one table (conftest.py). ``make test`` injects each fault a few times;
``make test-faults`` injects all that the tests hold (``MAPO_FAULTS=all``).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

THOROUGH = os.environ.get("MAPO_FAULTS") == "all"
PROPERTY = "fault"
NOTE = "fault note"  # a property of a test: a line under the table

Inject = Callable[..., AbstractContextManager[None]]


class LossError(AssertionError):
    """Something that a run had finished is gone, or was written twice."""


class Tally(NamedTuple):
    """A fault's injections.

    Attributes:
        fault: What was done, in words.
        injected: How often.
        survived: After how many of them the package did what it says it does: went on, or stopped with its message.
        lost: After how many of them finished work was lost.
    """

    fault: str
    injected: int
    survived: int
    lost: int


@contextmanager
def tallied(fault: str, times: int, report: Callable[[Tally], None]) -> Iterator[None]:
    """Report the injections that the body makes and checks; those of a body that fails are not survived."""
    try:
        yield
    except BaseException as error:
        report(Tally(fault, times, 0, times if isinstance(error, LossError) else 0))
        raise
    report(Tally(fault, times, times, 0))


def table(tallies: Iterable[Tally]) -> list[str]:
    """Return the lines of the table: a row per fault, sorted by name.

    Example:
        >>> print(*table([Tally("disk full", 1, 1, 0), Tally("disk full", 2, 0, 2)]), sep="\\n")
        fault     | injected | survived | data lost
        disk full |        3 |        1 |   lost: 2
    """
    sums: dict[str, Tally] = {}
    for fault, *counts in tallies:
        before = sums.get(fault, Tally(fault, 0, 0, 0))
        sums[fault] = Tally(fault, *(a + b for a, b in zip(before[1:], counts, strict=True)))
    width = max(map(len, [*sums, "fault"]))
    head = f"{'fault':<{width}} | injected | survived | data lost"
    rows = [
        f"{t.fault:<{width}} | {t.injected:8,} | {t.survived:8,} | {f'lost: {t.lost}':>9}"
        for _, t in sorted(sums.items())
    ]
    return [head, *rows]

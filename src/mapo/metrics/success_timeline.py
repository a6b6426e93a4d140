"""Histograms of successes over the phases of a run, in bounded memory."""

from collections.abc import Mapping, Sequence
from typing import Any


class SuccessTimeline:
    """One histogram per phase, or per stretch of phases where there are too many.

    Args:
        max_columns: Most histograms to keep; beyond, neighbours are added up and every one covers twice the phases.

    Attributes:
        span: Phases per histogram.
        columns: Groups by number of successes, from phase 0 on; None where no phase was seen.

    Example:
        >>> timeline = SuccessTimeline(max_columns=2)
        >>> for phase in range(3):
        ...     timeline.add(phase, [1, phase])
        >>> timeline.span, timeline.columns
        (2, [[2, 1], [1, 2]])
    """

    def __init__(self, max_columns: int = 256) -> None:
        self.max_columns = max_columns
        self.span = 1
        self.columns: list[list[int] | None] = []

    def add(self, phase: int, histogram: Sequence[int]) -> None:
        """Take in the histogram of a phase; one of another group size begins anew."""
        known = next((column for column in self.columns if column), None)
        if known is not None and len(known) != len(histogram):
            self.span, self.columns = 1, []
        while phase // self.span >= self.max_columns:
            pairs = [self.columns[i : i + 2] for i in range(0, len(self.columns), 2)]
            self.columns = [_sum(pair) for pair in pairs]
            self.span *= 2
        place = phase // self.span
        self.columns += [None] * (place + 1 - len(self.columns))
        self.columns[place] = _sum([self.columns[place], list(histogram)])

    def state_dict(self) -> dict[str, Any]:
        """Return the histograms in plain values."""
        return {"span": self.span, "columns": self.columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.span, self.columns = state["span"], list(state["columns"])


def _sum(columns: Sequence[list[int] | None]) -> list[int] | None:
    known = [column for column in columns if column is not None]
    return [sum(counts) for counts in zip(*known, strict=True)] if known else None

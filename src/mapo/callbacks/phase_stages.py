"""What the phase at hand does and how long that will take, for phases that take longer than anyone waits."""

import time
from typing import Protocol

from tqdm import tqdm


class StageBar(Protocol):
    """A bar that has room for words."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Take the words that end its line."""

    def remark(self) -> None:
        """Show them although nothing has been finished since."""


class PhaseStages:
    """Says behind the bar of the phases how far the current one is.

    Args:
        bar: Of the phases.
        seconds: A phase's time before it says anything, and the least time between two updates, in seconds.
    """

    def __init__(self, bar: StageBar, seconds: float) -> None:
        self._bar, self._seconds = bar, seconds
        self._shown = self._begun = time.monotonic()
        self._what, self._before, self._done = "", 0, 0

    def tell(self, what: str, done: int, total: int) -> None:
        """Take how much of ``what`` is done."""
        now = time.monotonic()
        if what != self._what or done < self._done:  # the next optimizer step of the phase
            self._what, self._begun, self._before = what, now, done
        self._done = done
        if now - self._shown < self._seconds:
            return
        self._shown = now
        self._bar.set_postfix_str(f"{done:,}/{total:,} {what}{self._left(now, done, total)}", refresh=False)
        self._bar.remark()

    def _left(self, now: float, done: int, total: int) -> str:
        if done <= self._before:
            return ""
        seconds = (now - self._begun) / (done - self._before) * (total - done)
        return f" ({tqdm.format_interval(seconds)} left)"

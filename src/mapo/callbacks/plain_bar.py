"""A progress bar for where carriage returns do not help: log files, pipes, CI consoles."""

import time
from typing import Any

from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class PlainBar(Tqdm):
    """Writes whole lines instead of redrawing one: at most one every few seconds, and one for the end.

    Args:
        seconds_per_line: Least time between two lines, in seconds.
        always: Write a line for the first step and for the last one however soon they come; otherwise something that is
            over within ``seconds_per_line`` leaves no line at all.
        arguments: tqdm's own.
    """

    def __init__(self, *, seconds_per_line: float, always: bool, **arguments: Any) -> None:
        self.seconds_per_line, self.always = seconds_per_line, always
        self._written_n = arguments.get("initial", 0)  # a line that says "nothing yet" is left out
        self._written_at = float("-inf") if always else time.monotonic()
        super().__init__(**arguments)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line if one is due."""
        last = self.always and self.n == self.total
        if self.n != self._written_n and (last or time.monotonic() - self._written_at >= self.seconds_per_line):
            self._write()
        return True

    def remark(self) -> None:
        """Write a line for what is said at its end, if one is due."""
        if time.monotonic() - self._written_at >= self.seconds_per_line:
            self._write()

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: what was written stays."""

    def close(self) -> None:
        """Write the last state if lines were written before and none has shown it."""
        if self.disable:
            return
        begun = self.always or self._written_n > self.initial
        if begun and self.n != self._written_n:
            self._write()
        self.leave, self.sp = False, None  # without a printer of its own, tqdm closes in silence
        super().close()

    def _write(self) -> None:
        self._written_n, self._written_at = self.n, time.monotonic()
        self.fp.write(f"{self}\n")
        self.fp.flush()

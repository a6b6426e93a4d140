"""Training loops that take turns in one process, each kept as its framework runs it."""

import threading
from collections.abc import Callable


class _BrokenOffError(Exception):
    """Ends a loop that nobody needs any longer."""


class Turns:
    """A training loop in a thread of its own, which moves only from one pause to the next, while everybody else waits.

    Two loops can so alternate step by step under the same load of the machine, and each is the framework's own: its
    data loading, logging and callbacks are in the turn.
    """

    def __init__(self, run: Callable[[Callable[[], None]], None]) -> None:
        """Start the loop and let it run up to its first pause.

        Args:
            run: The loop; it is given ``pause``, to be called at the start of every step.
        """
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self.finished = self._closing = False
        # A daemon, so that an error on one side does not leave the process waiting for the other.
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()
        self._wait()

    def step(self) -> None:
        """Let the loop run from its pause to the next one, or to its end.

        Raises:
            RuntimeError: The loop has ended already.
        """
        if self.finished:
            raise RuntimeError("the training loop has no step left; plan more steps")
        self._go.release()
        self._wait()

    def close(self) -> None:
        """Break the loop off at its pause."""
        if not self.finished:
            self._closing = True
            self.step()

    def _run(self, run: Callable[[Callable[[], None]], None]) -> None:
        try:
            run(self._pause)
        except _BrokenOffError:
            pass
        except BaseException as error:  # whatever it is belongs to the thread that asked for the step
            self._error = error
        self.finished = True
        self._paused.release()

    def _pause(self) -> None:
        self._paused.release()
        self._go.acquire()
        if self._closing:
            raise _BrokenOffError

    def _wait(self) -> None:
        self._paused.acquire()
        if self._error is not None:
            raise self._error

"""One worker process of ``mapo.rewards.verifier`` and the pairs it has in hand."""

import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from mapo.rewards.verifier_worker import OUT_OF_MEMORY
from mapo.rewards.worker_process import RunningWorker

_SCRIPT = Path(__file__).with_name("verifier_worker.py")
_START_SECONDS = 120.0  # of importing a library from a cold, shared file system
_IN_HAND = 8  # pairs sent ahead: a worker never waits for the next one, and few wait behind one that hangs
_REASONS = {-signal.SIGALRM: "timeout", -signal.SIGXCPU: "timeout", OUT_OF_MEMORY: "memory"}  # by exit status


class Pair(NamedTuple):
    """A gold answer and an answer, with their place in the batch."""

    place: int
    gold: str
    answer: str
    retried: bool = False


class WorkerProcess:
    """Started with the first pair, replaced after a failure that leaves it in doubt.

    It answers line by line, so that the deadline is that of one pair: it runs from the answer before.

    Args:
        rule: The library that judges.
        timeout: Seconds that one pair may take.
        memory_mb: Address space of the process, in MiB.
    """

    def __init__(self, rule: str, timeout: float, memory_mb: int) -> None:
        self._arguments = [rule, str(timeout + 1), str(memory_mb)]
        self._timeout = timeout
        self._in_hand: deque[Pair] = deque()
        self._worker: RunningWorker | None = None
        self._reset()

    def _reset(self) -> None:
        self._unsent = self._unread = b""
        self._ready = False
        self._proven = False  # has answered at least once
        self._since = time.monotonic()

    @property
    def has_room(self) -> bool:
        """Whether it takes another pair."""
        return len(self._in_hand) < _IN_HAND

    @property
    def is_ready(self) -> bool:
        """Whether it lives and has imported its library, as far as is known."""
        return self._ready

    @property
    def is_busy(self) -> bool:
        """Whether it has a pair in hand."""
        return bool(self._in_hand)

    @property
    def seconds_left(self) -> float:
        """Time until the pair in work is overdue; negative afterwards."""
        limit = self._timeout if self._ready else _START_SECONDS
        return self._since + limit - time.monotonic()

    @property
    def pipes(self) -> tuple[int, int | None]:
        """Descriptors to wait for: one to read from, and one to write to where something is left to be sent."""
        reading, writing = self._descriptors
        return reading, writing if self._unsent else None

    def hand(self, pair: Pair) -> None:
        """Give it a pair to judge, starting the process where none lives."""
        if not self._in_hand and (self._worker is None or not self._worker.is_alive):
            self.close()
            self._start()
        if not self._in_hand:
            self._since = time.monotonic()
        self._in_hand.append(pair)
        self._unsent += json.dumps((pair.gold, pair.answer)).encode("ascii") + b"\n"

    def exchange(self) -> tuple[list[tuple[Pair, str]], list[Pair]]:
        """Send and read what can be sent and read without waiting, and judge the process itself.

        Returns:
            Pairs with "right", "wrong" or the reason of a failure; and pairs to hand out again, in order, where the
            process has ended.

        Raises:
            RuntimeError: When it could not start.
        """
        self._send()
        ended = self._receive()
        answered = [(self._in_hand.popleft(), word) for word in self._words()]
        if answered:
            self._proven, self._since = True, time.monotonic()
        if not ended and (answered or self.seconds_left > 0):
            return answered, []
        return self._bury(answered, "crash" if ended else "timeout")

    @property
    def _descriptors(self) -> tuple[int, int]:
        """Of its output and its input."""
        assert self._worker is not None
        process = self._worker.process
        assert process.stdout is not None
        assert process.stdin is not None
        return process.stdout.fileno(), process.stdin.fileno()

    def _send(self) -> None:
        _, writing = self._descriptors
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full; or it has died, and reading will say so
            while self._unsent:
                self._unsent = self._unsent[os.write(writing, self._unsent) :]

    def _receive(self) -> bool:
        """Read what is there; tell whether the output has ended."""
        reading, _ = self._descriptors
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(reading, 65536):
                self._unread += chunk
            return True
        return False

    def _words(self) -> list[str]:
        *words, self._unread = self._unread.split(b"\n")
        if words and not self._ready:
            assert words.pop(0) == b"ready"
            self._ready, self._since = True, time.monotonic()
        return [word.decode("ascii") for word in words]

    def _bury(self, answered: list[tuple[Pair, str]], reason: str) -> tuple[list[tuple[Pair, str]], list[Pair]]:
        ready, proven, rest = self._ready, self._proven, list(self._in_hand)
        status = self.close()
        if not ready:
            raise RuntimeError(
                f"a verification worker did not start (exit status {status}); its error is printed above. Check that "
                f"`{sys.executable} -c 'import {self._arguments[0]}'` runs"
            )
        self._start()  # so that the next pair need not wait for the import
        if reason == "crash":
            reason = _REASONS.get(status, "crash")
            # Pairs before this one, or another hand, may have brought it down.
            if proven and reason != "timeout" and not rest[0].retried:
                return answered, [rest[0]._replace(retried=True), *rest[1:]]
        return [*answered, (rest[0], reason)], rest[1:]

    def close(self) -> int:
        """End the process, drop what it has in hand, and return its exit status; a later pair starts a new one."""
        status = 0 if self._worker is None else self._worker.stop()
        self._worker = None
        self._in_hand.clear()
        self._reset()
        return status

    def _start(self) -> None:
        self._reset()
        self._worker = RunningWorker(_SCRIPT, *self._arguments)
        for descriptor in self._descriptors:
            os.set_blocking(descriptor, False)

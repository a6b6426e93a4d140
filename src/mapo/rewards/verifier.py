"""Mathematical equality in worker processes that can be killed.

Computer algebra on text that a model wrote hangs, crashes and eats memory sooner or later, and a signal cannot
interrupt what runs in C or outside the main thread. Here a process judges, a deadline of this side kills it, and
another takes its place. Workers live in sessions of their own, so that Ctrl-C does not reach them; they end with
``close``, with their input when this process ends in any way, and at the latest one second after their deadline.
"""

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_logger = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_name("verifier_worker.py")
_START_SECONDS = 120.0  # of importing math-verify from a cold, shared file system
_MAX_PAIR_CHARACTERS = 8192  # escaped as JSON they fit a pipe's buffer, so that writing to a stuck worker cannot block


class Verifier:
    """Judges pairs of gold answer and answer with math-verify, in order, each within a deadline.

    Nothing starts before the first pair. A copy (pickle, deepcopy) takes the settings and starts workers of its own,
    and so does a forked child.

    Args:
        timeout: Seconds that one pair may take.
        memory_mb: Address space of a worker, in MiB.
        num_workers: Processes that judge side by side.

    Attributes:
        failures: Failed verdicts so far by reason: "timeout", "crash", "error", "length", "gold".

    Raises:
        ValueError: When an argument is out of range.
    """

    def __init__(self, timeout: float = 3.0, memory_mb: int = 1024, num_workers: int = 1) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be > 0 seconds, got {timeout}")
        if memory_mb < 256:
            raise ValueError(f"memory_mb must be >= 256 (the algebra system alone needs most of it), got {memory_mb}")
        if num_workers < 1:
            raise ValueError(f"num_workers must be >= 1, got {num_workers}")
        self._settings = (timeout, memory_mb, num_workers)
        self._workers = [_Worker(timeout, memory_mb) for _ in range(num_workers)]
        self._lock = threading.Lock()
        self._unreadable: set[str] = set()
        self.failures: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._settings

    def verify(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        r"""Judge pairs of (gold answer, answer), LaTeX or plain.

        Returns:
            One verdict per pair, in order: True where they are equal, False where not, or where the answer cannot be
            read; None where judging failed (timeout, crash, error) or the gold answer cannot be read.

        Raises:
            RuntimeError: When a worker cannot be started.
        """
        verdicts: list[bool | None] = [None] * len(pairs)
        pending = deque(enumerate(pairs))

        def drain(worker: _Worker) -> None:
            while pending:
                try:
                    index, pair = pending.popleft()
                except IndexError:  # another worker took the last one
                    return
                verdicts[index] = self._verdict(worker.judge(pair), pair)

        with self._lock:
            if min(len(self._workers), len(pairs)) < 2:
                drain(self._workers[0])
                return verdicts
            with ThreadPoolExecutor(len(self._workers)) as threads:
                try:
                    list(threads.map(drain, self._workers))
                finally:
                    pending.clear()  # an interrupted batch ends with the pairs in hand
        return verdicts

    def _verdict(self, word: str, pair: tuple[str, str]) -> bool | None:
        if word in ("right", "wrong"):
            return word == "right"
        self.failures[word] += 1
        gold, answer = pair
        if word == "gold" and gold not in self._unreadable:
            self._unreadable.add(gold)
            _logger.warning("math-verify cannot read the gold answer %r (%d such so far)", gold, len(self._unreadable))
        _logger.debug("no verdict (%s) on %.200r against gold %.200r", word, answer, gold)
        return None

    def close(self) -> None:
        """End the workers; later pairs start new ones."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, started on first use and replaced after every failure that leaves it in doubt."""

    def __init__(self, timeout: float, memory_mb: int) -> None:
        self._timeout = timeout
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._stop: weakref.finalize[Any, Any] | None = None
        self._owner = 0

    def judge(self, pair: tuple[str, str]) -> str:
        """Return "right", "wrong", or the reason of a failure."""
        if sum(map(len, pair)) > _MAX_PAIR_CHARACTERS:
            return "length"
        process, fresh = self._running()
        try:
            _write(process, json.dumps(pair))
            verdict = _read(process, self._timeout)
        except BaseException:  # Ctrl-C as well: an answer left in the pipe would be taken for the next pair's
            self.close()
            raise
        if verdict:
            return verdict
        self.close()
        if verdict is None:
            return "timeout"
        return "crash" if fresh else self.judge(pair)  # it may have died, by another hand, before this pair

    def close(self) -> None:
        if self._stop is not None:
            self._stop()
        self._process = self._stop = None

    def _running(self) -> tuple[subprocess.Popen[bytes], bool]:
        """Return a live process of this owner, and whether it has just been started."""
        fresh = self._process is None or self._owner != os.getpid() or self._process.poll() is not None
        if fresh:
            self.close()
            self._start()
        assert self._process is not None
        return self._process, fresh

    def _start(self) -> None:
        # -P keeps this folder, whose file names are common words, off the worker's import path.
        arguments = [sys.executable, "-P", "-W", "ignore", str(_SCRIPT), str(self._timeout + 1), str(self._memory_mb)]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._process, self._owner = process, os.getpid()
        self._stop = weakref.finalize(self, _kill, process, self._owner)  # also runs when the interpreter exits
        if _read(process, _START_SECONDS) != "ready":
            self.close()
            raise RuntimeError(
                f"a verification worker did not start (exit status {process.returncode}); its error is printed above. "
                f"Check that `{sys.executable} -c 'import math_verify'` runs"
            )


def _write(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the worker has died, and reading will say so
        process.stdin.write(line.encode("ascii") + b"\n")
        process.stdin.flush()


def _read(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Return the next line; "" where the output has ended, None after ``seconds``."""
    assert process.stdout is not None
    descriptor, end, line = process.stdout.fileno(), time.monotonic() + seconds, b""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poller.poll(max(0.0, end - time.monotonic()) * 1000):
            return None
        chunk = os.read(descriptor, 4096)
        if not chunk:
            return ""
        line += chunk
    return line.decode("ascii").strip()


def _kill(process: subprocess.Popen[bytes], owner: int) -> None:
    """End and reap a worker; in a forked child, whose parent owns it, leave it alone."""
    if os.getpid() == owner:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent bytes for a process that is gone
                pipe.close()

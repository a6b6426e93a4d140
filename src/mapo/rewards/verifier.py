"""Mathematical equality in worker processes that can be killed.

Computer algebra on text that a model wrote hangs, crashes and eats memory sooner or later, and a signal cannot
interrupt what runs in C or outside the main thread. Here a process judges, a deadline of this side kills it, and
another takes its place. Workers live in sessions of their own, so that Ctrl-C does not reach them; they end with
``close``, with their input when this process ends in any way, and at the latest one second after their deadline.
"""

import logging
import os
import select
import threading
from collections import Counter, deque
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

from mapo.functional.stages import tell_stage
from mapo.rewards.verifier_process import Pair, WorkerProcess

_logger = logging.getLogger(__name__)
MAX_PAIR_CHARACTERS = 8192  # no answer is that long
_MAX_DEFAULT_WORKERS = 8

Rule = Literal["math_verify", "mathruler"]
RULES: tuple[Rule, ...] = ("math_verify", "mathruler")


class Verifier:
    """Judges pairs of gold answer and answer by a library, in order, each within a deadline.

    Nothing starts before the first pair. Pairs travel to a worker several at a time and are answered one by one: one
    that hangs or crashes ends its process, and those behind it go to the next. A copy (pickle, deepcopy) takes the
    settings and starts workers of its own, and so does a forked child.

    Args:
        timeout: Seconds that one pair may take.
        memory_mb: Address space of a worker, in MiB.
        num_workers: Processes that judge side by side; ``default_num_workers()`` when None.
        rule: The library: "math_verify" or "mathruler".

    Attributes:
        failures: Failed verdicts so far by reason: "timeout", "memory", "crash", "error", "length", "gold".

    Raises:
        ValueError: When an argument is out of range, or the library is not installed.
    """

    def __init__(
        self, timeout: float = 3.0, memory_mb: int = 1024, num_workers: int | None = None, rule: Rule = "math_verify"
    ) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be > 0 seconds, got {timeout}")
        if memory_mb < 256:
            raise ValueError(f"memory_mb must be >= 256 (the algebra system alone needs most of it), got {memory_mb}")
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers must be >= 1, got {num_workers}")
        _check_rule(rule)
        self._settings = (timeout, memory_mb, num_workers, rule)
        num_workers = num_workers or default_num_workers()
        self._workers = [WorkerProcess(rule, timeout, memory_mb) for _ in range(num_workers)]
        self._lock = threading.Lock()
        self._unreadable: set[str] = set()
        self.failures: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._settings

    def verify(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        r"""Judge pairs of (gold answer, answer), LaTeX or plain.

        Returns:
            One verdict per pair, in order: True where they are equal, False where not, or where the answer cannot be
            read; None where judging failed (timeout, memory, crash, error) or the gold answer cannot be read.

        Raises:
            RuntimeError: When a worker cannot be started.
        """
        words = ["length"] * len(pairs)
        pending = deque(
            Pair(place, gold, answer)
            for place, (gold, answer) in enumerate(pairs)
            if len(gold) + len(answer) <= MAX_PAIR_CHARACTERS
        )
        with self._lock:
            try:
                self._work_off(pending, words)
            except BaseException:  # Ctrl-C as well: an answer left in a pipe would be taken for that of a later pair
                self.close()
                raise
        return [self._verdict(word, pair) for word, pair in zip(words, pairs, strict=True)]

    def _work_off(self, pending: deque[Pair], words: list[str]) -> None:
        left = len(pending)
        while pending or any(worker.is_busy for worker in self._workers):
            tell_stage("answers compared", len(words) - left, len(words))
            while pending and (roomy := [worker for worker in self._workers if worker.has_room]):
                roomy.sort(key=lambda worker: not worker.is_ready)  # a replacement may still be starting
                for worker in roomy[: len(pending)]:
                    worker.hand(pending.popleft())
            busy = [worker for worker in self._workers if worker.is_busy]
            _wait(busy)
            for worker in busy:
                answered, returned = worker.exchange()
                pending.extendleft(reversed(returned))
                for pair, word in answered:
                    words[pair.place] = word
                left -= len(answered)

    def _verdict(self, word: str, pair: tuple[str, str]) -> bool | None:
        if word in ("right", "wrong"):
            return word == "right"
        self.failures[word] += 1
        gold, answer = pair
        if word == "gold" and gold not in self._unreadable:
            self._unreadable.add(gold)
            _logger.warning(
                "math-verify cannot read the gold answer %.200r (%d such so far)", gold, len(self._unreadable)
            )
        _logger.debug("no verdict (%s) on %.200r against gold %.200r", word, answer, gold)
        return None

    def close(self) -> None:
        """End the workers; later pairs start new ones."""
        for worker in self._workers:
            worker.close()


def default_num_workers() -> int:
    """Return the cores this process may use, shared by the ranks of its machine, 8 at most.

    The process itself waits while its workers judge, so that none is kept free for it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # torchrun says how many ranks the machine has; Lightning's own launcher only how many there are in all.
    ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1))
    return max(1, min(cores // ranks, _MAX_DEFAULT_WORKERS))


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    # mathruler does not say that it needs pylatexenc and tqdm.
    needed = ("mathruler", "pylatexenc", "tqdm") if rule == "mathruler" else ("math_verify",)
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ValueError(
            f"rule={rule!r} needs the package(s) {', '.join(missing)}: run `pip install 'mapo[mathruler]'`, or use "
            "rule='math_verify'"
        )


def _wait(workers: Sequence[WorkerProcess]) -> None:
    """Return when one of the workers can be read from or written to, or a pair is overdue."""
    poller = select.poll()
    for worker in workers:
        reading, writing = worker.pipes
        poller.register(reading, select.POLLIN)
        if writing is not None:
            poller.register(writing, select.POLLOUT)
    poller.poll(max(0.0, min(worker.seconds_left for worker in workers)) * 1000)

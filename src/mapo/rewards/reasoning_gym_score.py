"""Accuracy in tasks of reasoning-gym, by their own verifiers."""

import contextlib
import importlib.util
import logging
import os
import pickle
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.rewards.answer_text import unwrap
from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.rewards.worker_process import RunningWorker
from mapo.types import Completion

_logger = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_name("reasoning_gym_worker.py")
_START_SECONDS = 120.0  # of importing reasoning-gym from a cold, shared file system
_MAX_ANSWER_CHARACTERS = 1000  # or twice the stated answer's; longer ones are no answers
_DUNDER = re.compile(r"__\w+__")  # names by which a text that is evaluated gets at the interpreter

Job = tuple[str, dict[str, Any], dict[str, Any], str]


@dataclass(frozen=True)
class ReasoningGymScore(Reward):
    r"""What reasoning-gym's verifier of the row's task says of the last ``\boxed{…}``: in [0, 1], 1 where it is right.

    For rows of ``mapo.data.reasoning_gym.ReasoningGym``; needs the extra ``mapo[reasoning-gym]``. Many tasks give a
    wrong answer a little credit, so their accuracy is the mean score that reasoning-gym's authors report, too.

    Some verifiers hand the text to computer algebra or to Python's ``eval``. They run in a worker process with a
    deadline and a limit of memory, where ``eval`` reads values and algebra only and nothing can be written to a file.
    An answer longer than 1,000 characters (or twice the stated one), or with a name like ``__class__``, is wrong
    unseen. That stops accidents and the known tricks, but is no sandbox. An answer that a verifier trips over is wrong;
    one that takes too long or brings the worker down has no verdict (None).

    Raises:
        ValueError: When a setting is out of range, reasoning-gym is missing, or a row is not one of its entries.
    """

    weight: float = 0.9
    """Share of this component in the total reward."""
    required_for_success: bool = True
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = True
    """Whether this component is the accuracy of the metrics."""
    partial_credit: bool = True
    """Whether a score between 0 and 1 counts as it is; otherwise as 0."""
    timeout: float = 3.0
    """Seconds that a verifier may take over one answer; later the verdict is None."""
    memory_mb: int = 4096
    """Address space of the worker process, in MiB."""

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f"timeout must be > 0 seconds, got {self.timeout}")
        if self.memory_mb < 1024:
            raise ValueError(f"memory_mb must be >= 1024 (reasoning-gym alone needs most of it), got {self.memory_mb}")

    @cached_property
    def _worker(self) -> "_Worker":
        return _Worker(self.timeout, self.memory_mb)

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        jobs = [self._job(completion) for completion in completions]
        scores = self._worker.judge([job for job in jobs if job is not None])
        judged = iter(scores)
        values = [0.0 if job is None else next(judged) for job in jobs]
        return values if self.partial_credit else [value if value is None else float(value == 1) for value in values]

    def _job(self, completion: Completion) -> Job | None:
        """Return what the verifier has to judge; None where the answer is wrong unseen."""
        metadata = completion.prompt.metadata
        if not isinstance(metadata.get("entry"), dict) or not isinstance(metadata.get("task"), str):
            raise ValueError(
                f"sample {completion.prompt.sample_id!r} has no 'task' and 'entry' of reasoning-gym in its metadata: "
                "use ReasoningGymScore with mapo.data.reasoning_gym.ReasoningGym"
            )
        answer, entry = self.answer(completion), metadata["entry"]
        longest = max(_MAX_ANSWER_CHARACTERS, 2 * len(str(entry["answer"])))
        if not answer or len(answer) > longest or _DUNDER.search(answer):
            return None
        return metadata["task"], dict(metadata.get("config") or {}), entry, answer

    @override
    def answer(self, completion: Completion) -> str | None:
        boxed = last_boxed(completion.prefill + completion.text)
        return None if boxed is None else unwrap(boxed).strip()

    @override
    def close(self) -> None:
        self._worker.close()


class _Worker:
    """One process, started with the first job and replaced after every failure.

    A copy (pickle, deepcopy) starts a process of its own.
    """

    def __init__(self, timeout: float, memory_mb: int) -> None:
        self._timeout, self._memory_mb = timeout, memory_mb
        self._running: RunningWorker | None = None
        self._lock = threading.Lock()
        self.failures: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._timeout, self._memory_mb)

    def judge(self, jobs: Sequence[Job]) -> list[float | None]:
        """Return the score of every job, in order; None where there is no verdict."""
        with self._lock:
            return [self._judge(job) for job in jobs]

    def _judge(self, job: Job) -> float | None:
        process = self._process()
        try:
            _write(process, pickle.dumps(job))
            line = _read(process, self._timeout)
        except BaseException:  # Ctrl-C as well: a score left in the pipe would be taken for the next job's
            self.close()
            raise
        if not line:
            self.close()
        if not line or line == "error":
            reason = line or ("timeout" if line is None else "crash")
            self.failures[reason] += 1
            _logger.warning(
                "no verdict (%s) of task %r on %.200r (%d so far)", reason, job[0], job[3], self.failures.total()
            )
            return None
        return float(line)

    def close(self) -> None:
        """End the process; a later job starts a new one."""
        if self._running is not None:
            self._running.stop()
        self._running = None

    def _process(self) -> "subprocess.Popen[bytes]":
        if self._running is None or not self._running.is_alive:
            self.close()
            self._running = self._start()
        return self._running.process

    def _start(self) -> RunningWorker:
        if importlib.util.find_spec("reasoning_gym") is None:
            raise ValueError("ReasoningGymScore needs reasoning-gym: pip install 'mapo[reasoning-gym]'")
        worker = RunningWorker(_SCRIPT, str(self._timeout + 1), str(self._memory_mb))
        if _read(worker.process, _START_SECONDS) != "ready":
            raise RuntimeError(
                f"the worker of reasoning-gym did not start (exit status {worker.stop()}); its error is printed "
                f"above. Check that `{sys.executable} -c 'import reasoning_gym'` runs"
            )
        return worker


def _write(process: "subprocess.Popen[bytes]", content: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the worker has died, and reading will say so
        while content:
            content = content[process.stdin.write(content) :]  # unbuffered: a part may be taken at a time


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> str | None:
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

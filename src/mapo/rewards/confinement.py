"""What a worker process that judges untrusted answers gives up, called by the worker itself.

It limits accidents: memory without end, a computation that ignores its deadline, files filled up. It is no sandbox:
reading files and opening connections are not prevented.
"""

import contextlib
import math
import os
import resource
import signal
import sys
from collections.abc import Iterator

OPEN_FILES = 64  # three streams, the verdicts, and what an import opens for a moment


def limit_memory(memory_mb: int) -> None:
    """Limit the address space, in MiB, and leave no core file where it runs out."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory_mb << 20)


def confine() -> None:
    """Give up writing to files, opening many of them, and this terminal."""
    sys.dont_write_bytecode = True  # of modules that are imported later
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # keeps what libraries print out of the verdicts
    os.dup2(null, 2)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within this context the kernel ends the process after so many seconds.

    The clock's signal can be switched off from within Python; the limit of processor time, a second later, can not.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds) + 1, hard))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(kind: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of the address space
        resource.setrlimit(kind, (value, value))

"""Starting and ending processes that judge untrusted answers."""

import contextlib
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

_PACKAGES = Path(__file__).parents[2]


class RunningWorker:
    """A script in a process and a session of its own, so that Ctrl-C in this terminal does not reach it.

    Attributes:
        process: With pipes for its input and output.
    """

    process: "subprocess.Popen[bytes]"

    def __init__(self, script: Path, *arguments: str) -> None:
        """Start it; it ends with ``stop``, or with the last reference to this object.

        Args:
            script: Run by this interpreter; it may import this package.
            arguments: Of the script.
        """
        # -P keeps the script's folder, whose file names are common words, off the worker's import path.
        command = [sys.executable, "-P", "-W", "ignore", str(script), *arguments]
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_PACKAGES)]))
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # whose stacks count as memory
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | threads | {"PYTHONPATH": path},
        )
        self._owner = os.getpid()
        self._stop: Any = weakref.finalize(self, _kill, self.process, self._owner)  # also when the interpreter exits

    @property
    def is_alive(self) -> bool:
        """Whether it runs and belongs to this process, which may be a forked child of the one that started it."""
        return self._owner == os.getpid() and self.process.poll() is None

    def stop(self) -> int:
        """End the process and return its exit status."""
        self._stop()
        return self.process.returncode or 0


def _kill(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """End and reap a worker; in a forked child, whose parent owns it, leave it alone."""
    if os.getpid() == owner:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent bytes for a process that is gone
                pipe.close()

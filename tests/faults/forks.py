"""Runs of the command line as children of one process that has everything imported: a killed run costs a second.

``python forks.py`` reads one job per line of JSON, forks a child that is the run, or one per rank, and answers with one
line when all have ended. A job holds ``folder`` and ``arguments``, and may name the moment at which a child is killed.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

MARK = "MAPO_FAULT_RUN"  # in the environment of a run and of all that it starts
TEMPORARY = "tmp"  # the folder of temporary files in that of a run


class Moment(NamedTuple):
    """When a run is killed.

    Attributes:
        function: ``module:Class.method`` or ``module:function`` that is running, ``bytes`` of a checkpoint, or
            ``seconds`` since the fork.
        call: Which call of it, from 1 on; which byte; how many seconds.
        after: At the end of the call rather than at its beginning.
    """

    function: str
    call: float
    after: bool = False


class Forks:
    """The process that forks; started once, asked for any number of runs."""

    def __init__(self) -> None:
        settings = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], env=os.environ | settings, **pipes)
        self._answer()

    def run(self, folder: Path, *arguments: str, moment: Moment | None = None, sent: int = signal.SIGKILL) -> int:
        """Run a command to its end, or to that moment; return its exit code, negative for a signal."""
        return self.run_ranks(folder, *arguments, ranks=1, moment=moment, happens=int(sent))[0]

    def run_ranks(
        self,
        folder: Path,
        *arguments: str,
        ranks: int = 2,
        rank: int = -1,
        moment: Moment | None = None,
        happens: int | str = signal.SIGKILL,
        together: bool = False,
    ) -> list[int]:
        """Run a command on so many ranks, with no launcher to look after them; return the exit codes.

        Args:
            folder: Where it runs.
            arguments: Of the command.
            ranks: Their number.
            rank: One of them; -1 is the last.
            moment: When something happens to it.
            happens: A signal that it gets, or what the function of that moment does instead: ``raise``, ``loop`` for
                ever, or return ``nan``.
            together: The others are killed as soon as one has died of a signal, as when a job is.
        """
        job = {"folder": str(folder), "arguments": arguments, "ranks": ranks, "together": together}
        job |= {"rank": rank % ranks, "moment": moment, "happens": happens}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=120)

    def _answer(self) -> list[int]:
        line = self._process.stdout.readline()
        assert line, "the forking process has died"
        return json.loads(line)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that runs in this folder have left."""
    mark, found = f"{MARK}={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    _import_everything()
    print([], file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        assert len(threads) == 1, f"a process with threads must not be forked: {threads}"
        children = [os.fork() or _be_the_run(job, **place) for place in _places(job["ranks"])]
        print(_exit_codes(children, together=job["together"]), file=answers, flush=True)


def _places(ranks: int) -> list[dict[str, str]]:
    """Return what the environment says to every rank."""
    if ranks == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
    return [{**shared, "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _exit_codes(children: list[int], *, together: bool) -> list[int]:
    """Wait for all; one that stands still when the others have ended is killed, as launchers do."""
    codes: dict[int, int] = {}
    stopped: set[int] = set()
    while len(codes) < len(children):
        child, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            stopped.add(child)
        else:
            codes[child] = os.waitstatus_to_exitcode(status)
        for other in set(children) - codes.keys() if together and codes.get(child, 0) < 0 else ():
            os.kill(other, signal.SIGKILL)
        for still in stopped - codes.keys() if len(codes.keys() | stopped) == len(children) else ():
            os.kill(still, signal.SIGKILL)
    return [codes[child] for child in children]


def _import_everything() -> None:
    """Import what a run imports on its way; nothing may compute here: a child cannot use its parent's thread pool."""
    import peft  # noqa: F401
    import torch
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil  # noqa: F401

    import mapo.cli

    mapo.cli._import_components()
    torch.set_num_threads(1)


def _be_the_run(job, **place: str) -> None:
    from mapo.__main__ import main

    code = 1
    try:
        os.setsid()
        os.chdir(job["folder"])
        Path(TEMPORARY).mkdir(exist_ok=True)
        tempfile.tempdir = str(Path(TEMPORARY).absolute())
        os.environ.update(place, **{MARK: job["folder"], "TMPDIR": tempfile.tempdir})
        log = os.open("output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if job["moment"] and int(place.get("LOCAL_RANK", 0)) == job["rank"]:
            _arrange(Moment(*job["moment"]), job["happens"])
        main(job["arguments"])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _arrange(moment: Moment, happens: int | str) -> None:
    def end(result=()):
        if happens == "raise":
            raise ValueError("no reward today")
        while happens == "loop":
            pass
        if happens == "nan":
            return [float("nan") for _ in result]
        return os.kill(os.getpid(), happens)

    if moment.function == "seconds":
        _later(moment.call, happens)
    elif moment.function == "bytes":
        _while_writing(moment.call, end)
    else:
        _around(moment, end)


def _later(seconds: float, sent: int) -> None:
    run = os.getpid()
    if os.fork() == 0:  # a process and not a timer: signals of the run's own are the run's
        del os.environ[MARK]
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run, sent)
        os._exit(0)


def _around(moment: Moment, end) -> None:
    module, _, path = moment.function.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    whole, calls = getattr(owner, name), []

    def ending(*args, **kwargs):
        calls.append(1)
        now = len(calls) == moment.call
        if now and not moment.after:
            end()
        result = whole(*args, **kwargs)
        return end(result) if now and moment.after else result

    setattr(owner, name, ending)


def _while_writing(place: float, end) -> None:
    import torch

    save, written = torch.save, [0]

    class Ending:
        def __init__(self, file) -> None:
            self.file = file

        def write(self, data) -> int:
            before, written[0] = written[0], written[0] + len(data)
            if before <= place < written[0]:
                self.file.write(bytes(data)[: int(place) - before])
                self.file.flush()
                end()
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    torch.save = lambda content, file, *args, **kwargs: save(content, Ending(file), *args, **kwargs)


if __name__ == "__main__":
    _serve()

"""A disk that fails at a chosen moment of a run: a callback, so that the run's own command line asks for it."""

import ctypes
import importlib
import json
import os
import resource
import struct
import subprocess
from pathlib import Path

from lightning.pytorch import Callback

_CAPABILITIES_V3 = 0x20080522  # of capset(2)


class FailingDisk(Callback):
    """From a call of a function on, the disk is full or the run's folder read-only.

    Args:
        function: ``module:Class.method`` or ``module:function``.
        call: Which call of it, from 1 on.
        room: No file grows beyond so many bytes; None: nothing below ``runs`` can be written.
    """

    def __init__(self, function: str, call: int = 1, room: int | None = None) -> None:
        module, _, path = function.partition(":")
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        whole, calls = getattr(owner, name), []

        def failing(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                spare_the_terminal()
                if room is None:
                    lock(Path("runs"))
                else:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            return whole(*args, **kwargs)

        setattr(owner, name, failing)


def failing(function: str, call: int = 1, room: int | None = None) -> tuple[str, str]:
    """Return the arguments by which a run gets a failing disk."""
    given = {"class_path": "disks.FailingDisk", "init_args": {"function": function, "call": call, "room": room}}
    return "--trainer.callbacks+", json.dumps(given)


def spare_the_terminal() -> None:
    """Let another process, which began before the fault, write what this one says: here it is a file as well."""
    scribe = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    for stream in (1, 2):
        os.dup2(scribe.stdin.fileno(), stream)
    scribe.stdin.close()


def lock(folder: Path) -> None:
    """Let nobody write to a folder; root must do without its right to write anywhere."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    header, none = struct.pack("Ii", _CAPABILITIES_V3, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def unlock(folder: Path) -> None:
    """Undo ``lock``, from another process."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)

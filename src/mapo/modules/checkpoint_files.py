"""Checkpoint files: which are whole, which is the newest, and what a killed run has left of one."""

import fcntl
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import torch

from mapo.modules.replacing import broken_off, remove, restore
from mapo.modules.shard_sums import cut_shard, spoilt_shard

SUFFIX = ".ckpt"
_DRAFT_SUFFIX = ".part"
# A sharded checkpoint is a folder; the strategy writes these two files after the shards.
_SHARDS_INDEX, SHARDED_STATE = ".metadata", "meta.pt"
_LOCK = ".writing"  # in a folder for as long as it is a draft
# What damaged bytes lead the readers of zip archives and pickles to.
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)


def draft_of(path: Path) -> Path:
    """Return the name of a checkpoint while it is being written.

    Example:
        >>> draft_of(Path("last.ckpt")).name
        'last.ckpt.part'
    """
    return path.with_name(path.name + _DRAFT_SUFFIX)


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None where it is whole.

    Every byte of a file is read: PyTorch stores a CRC-32 with each of its records, and does not look at it when it
    loads them. Of a sharded checkpoint, a folder, the state of the trainer is read, and that the shards have the sizes
    that they were written with; ``shard_sums.spoilt_shard`` reads them.
    """
    if path.is_dir():
        missing = [name for name in (_SHARDS_INDEX, SHARDED_STATE) if not (path / name).is_file()]
        if missing:
            return f"it has no {missing[0]}: it was not finished"
        return cut_shard(path) or damage(_state_file(path))
    try:
        with zipfile.ZipFile(path) as archive:
            spoilt = archive.testzip() or next((r.filename for r in archive.infolist() if r.external_attr), None)
        if spoilt is not None:  # an attribute that says "folder" makes PyTorch leave the record out without a word
            return f"its record {spoilt} does not match its checksum"
        read_state(path)  # the archive's directory has no checksum: let PyTorch find every record by it
    except FileNotFoundError:
        return "there is no such file"
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"it cannot be read as a whole ({reason}; {path.stat().st_size} bytes)"
    return None


def require_whole(path: Path) -> None:
    """Refuse a damaged checkpoint, and name the newest whole one beside it.

    Raises:
        ValueError: It is damaged, or there is none.
    """
    fault = known_damage(path) or (spoilt_shard(path) if path.is_dir() else None)
    if fault is not None:
        raise ValueError(refusal(path, fault))


def refusal(path: Path, fault: str) -> str:
    """Return what to say of a damaged checkpoint; it names the newest whole one beside it."""
    other, _ = newest_whole(found for found in checkpoints_in(path.parent) if found != path)
    advice = "there is no other one beside it" if other is None else f"the newest whole one beside it is {other}"
    return f"the checkpoint {path} is damaged: {fault}; {advice}"


def known_damage(path: Path) -> str | None:
    """Return ``damage`` of a checkpoint, from memory where its files have not changed since it was looked for."""
    try:
        found = _state_file(path).stat()
    except OSError:
        return damage(path)
    return _damage_of(path, found.st_size, found.st_mtime_ns)


def read_state(path: Path) -> dict[str, Any]:
    """Return what a whole checkpoint holds; its tensors stay on the disk until they are looked at."""
    state: dict[str, Any] = torch.load(_state_file(path), map_location="cpu", weights_only=True, mmap=True)
    return state


def checkpoints_in(*folders: Path) -> list[Path]:
    """Return the checkpoints of these folders, whole or not."""
    return [path for folder in folders for path in folder.glob(f"*{SUFFIX}") if path.exists()]


def newest_whole(paths: Iterable[Path]) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest whole checkpoint.

    It is one of the run that was written to last, and there the one with the most optimizer steps: copying a run's
    folder gives its files new times in any order.

    Returns:
        The checkpoint, None where there is none; and what is wrong with each one that would have come before it.
    """
    paths, faults = list(paths), dict[Path, str]()
    latest = {folder: max(map(_written, group)) for folder, group in groupby(sorted(paths), key=lambda p: p.parent)}
    order = {path: (latest[path.parent], _steps(path), _written(path)) for path in paths}
    for path in sorted(paths, key=order.__getitem__, reverse=True):
        fault = known_damage(path)
        if fault is None:
            return path, faults
        faults[path] = fault
    return None, faults


def hold(draft: IO[bytes]) -> bool:
    """Show that a draft is being written, for as long as it is open; return whether another process says so."""
    try:
        fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        pass
    return False


def lock_of(draft: Path) -> Path:
    """Return the file to ``hold`` while a draft is being written: itself, or one in a folder."""
    return draft / _LOCK if draft.is_dir() else draft


def remove_drafts(*folders: Path) -> list[Path]:
    """Remove what processes that were killed while they wrote have left; return what it was."""
    removed = []
    for draft in (draft for folder in folders for draft in folder.glob(f"*{SUFFIX}{_DRAFT_SUFFIX}")):
        with lock_of(draft).open("ab") as file:
            if hold(file):
                continue
            remove(draft)
            removed.append(draft)
    return removed


def restore_replaced(*folders: Path) -> None:
    """Bring back what processes have put aside that were killed before the new one was in place; any rank may do so."""
    for path in (path for folder in folders for path in broken_off(folder, SUFFIX)):
        restore(path)


@lru_cache
def _damage_of(path: Path, size: int, written: int) -> str | None:
    return damage(path)


def _state_file(path: Path) -> Path:
    return path / SHARDED_STATE if path.is_dir() else path


def _steps(path: Path) -> float:
    """Return how many optimizer steps a checkpoint has behind it; of one that cannot be read, more than any other."""
    try:
        return float(read_state(path).get("global_step", -1))
    except _UNREADABLE:
        return float("inf")


def _written(path: Path) -> int:
    state = _state_file(path)
    return (state if state.exists() else path).stat().st_mtime_ns

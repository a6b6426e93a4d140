"""Files and folders put in the place of others: whoever is killed meanwhile leaves the old one or the new one."""

import contextlib
import os
import shutil
from pathlib import Path

_ASIDE_SUFFIX = ".replaced"


def put(draft: Path, path: Path) -> None:
    """Give a finished draft its name; what had it before is gone only when the new one is there.

    A file takes the place of a file in one step. No other pair can be exchanged in one step everywhere, so the old one
    is put aside first, and a process that is killed between the two steps leaves no ``path``, but both of them whole:
    ``restore`` brings the old one back.

    Args:
        draft: A file or a folder, on the same file system.
        path: Its name from now on: that of a file, a folder, a link, or nothing.
    """
    aside = _aside(path)
    if os.path.lexists(path) and (draft.is_dir() or _is_folder(path)):
        _make_room(path, aside)
        try:
            draft.rename(path)
        except OSError:
            aside.rename(path)
            raise
        _sync(path.parent)
        remove(aside)
    else:
        draft.replace(path)
        _sync(path.parent)


def restore(path: Path) -> bool:
    """Tidy up after a ``put`` that was broken off; return whether the old one had to be brought back."""
    aside = _aside(path)
    if not os.path.lexists(aside):
        return False
    if os.path.lexists(path):
        remove(aside)
        return False
    with contextlib.suppress(FileNotFoundError):  # another process has done so
        aside.rename(path)
    return True


def broken_off(folder: Path, suffix: str) -> list[Path]:
    """Return the paths with this suffix in a folder that ``restore`` has something to do for."""
    return [aside.with_name(aside.stem[1:]) for aside in folder.glob(f".*{suffix}{_ASIDE_SUFFIX}")]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_room(path: Path, aside: Path) -> None:
    remove(aside)
    path.rename(aside)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE_SUFFIX}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

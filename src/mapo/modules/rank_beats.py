"""What every rank last said of itself: that it lives, where it is, and whether it waits for the others."""

import itertools
import json
import socket
import sys
import sysconfig
import threading
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))

# Where Python waits for the other ranks, in an exchange or at the end of a backward pass.
_EXCHANGES = ("/torch/distributed/", "/torch/nn/parallel/distributed.py", "/torch/autograd/graph.py")

_wait_numbers = itertools.count()
_wait: list[int] = []  # the number of the one that the main thread is in


@contextmanager
def waiting() -> Iterator[None]:
    """Within this context the process only waits for the other ranks: what takes long is with them.

    For where a GPU's result is awaited; exchanges that return when they are done are known without it.
    """
    _wait[:] = [next(_wait_numbers)]
    try:
        yield
    finally:
        _wait.clear()


def current_wait() -> Hashable:
    """Return what tells the wait for other ranks that the main thread is in from all others; None when it is in none.

    Example:
        >>> with waiting():
        ...     first = current_wait() is not None
        >>> first, current_wait()
        (True, None)
    """
    if _wait:
        return _wait[0]
    frame = _main_frame()
    if frame is None or not any(part in frame.f_code.co_filename for part in _EXCHANGES):
        return None
    return id(frame), frame.f_lasti


class Still:
    """Counts looks at which something was as it was at the look before.

    Looks and not seconds: a job that is suspended as a whole and goes on has waited for nobody.
    """

    def __init__(self) -> None:
        self._value: Any = None
        self._looks = 0

    def look(self, value: Any) -> int:
        """Return how many looks in a row have found this value, after the first one.

        Example:
            >>> still = Still()
            >>> [still.look(value) for value in (7, 7, 7, 8)]
            [0, 1, 2, 0]
        """
        self._looks = self._looks + 1 if value == self._value else 0
        self._value = value
        return self._looks


class Beat(NamedTuple):
    """A sign of life.

    Attributes:
        number: Of the rank's signs; grows for as long as it lives, and is 0 once it has left.
        host: Its machine.
        waits: Whether it waited for others.
        place: What its main thread did: file, line and function.
    """

    number: int
    host: str
    waits: bool
    place: str


class Beats:
    """The signs of life of all ranks, in the store where they met."""

    def __init__(self, store: Any, *, rank: int, world_size: int, run: int) -> None:
        """Take where they are kept, and a number of the run that no other has."""
        self.rank, self.next = rank, (rank + 1) % world_size
        self.others = [other for other in range(world_size) if other != rank]
        self._store, self._prefix, self._number = store, f"mapo/beat/{run}", 0

    def give(self) -> None:
        """Say that this rank lives."""
        self._number += 1
        self._set(self._number)

    def leave(self) -> None:
        """Say that nothing more will be heard of this rank."""
        self._set(0)

    @staticmethod
    def left(beat: Beat | None) -> bool:
        """Return whether a rank has said that it leaves."""
        return beat is not None and beat.number == 0

    def read(self, ranks: Iterable[int]) -> dict[int, Beat | None]:
        """Return the latest sign of each of these ranks; None of one that has not given any."""
        keys = {rank: f"{self._prefix}/{rank}" for rank in ranks}
        return {
            rank: Beat(*json.loads(self._store.get(key))) if self._store.check([key]) else None
            for rank, key in keys.items()
        }

    def _set(self, number: int) -> None:
        beat = Beat(number, socket.gethostname(), current_wait() is not None, place_of_main_thread())
        self._store.set(f"{self._prefix}/{self.rank}", json.dumps(beat))


def place_of_main_thread() -> str:
    """Return where the main thread is: in this package or in the user's code, and what library that has called.

    Example:
        >>> place_of_main_thread().endswith(")")
        True
    """
    frame = innermost = _main_frame()
    while frame is not None and not _is_own(frame):
        frame = frame.f_back
    shown = [_name(found) for found in (frame, innermost if innermost is not frame else None) if found is not None]
    return " calling ".join(shown) or "its end"


def _main_frame() -> FrameType | None:
    return sys._current_frames().get(threading.main_thread().ident or 0)


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno} ({frame.f_code.co_qualname})"


def _is_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return Path(name).is_relative_to(_PACKAGE) or not name.startswith((*_LIBRARIES, "<"))


def describe(rank: int, beat: Beat | None) -> str:
    """Return a rank with its machine, and where it was last."""
    if beat is None:
        return f"rank {rank}, which had not begun"
    return f"rank {rank} ({beat.host}), last seen in {beat.place}"

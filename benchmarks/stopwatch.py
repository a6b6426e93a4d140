"""CPU and wall seconds of the parts of a step."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Seconds(NamedTuple):
    """CPU seconds of the whole process, its threads added up, and seconds on the wall."""

    cpu: float
    wall: float


def now() -> Seconds:
    """Return the readings of both clocks."""
    return Seconds(time.process_time(), time.perf_counter())


class Stopwatch:
    """Adds up the seconds of named parts until they are taken."""

    def __init__(self) -> None:
        self._parts: dict[str, Seconds] = defaultdict(lambda: Seconds(0.0, 0.0))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens within this context as ``name``."""
        started = now()
        yield
        self.add(name, started)

    def add(self, name: str, started: Seconds) -> None:
        """Count what happened since ``started`` as ``name``."""
        ended, before = now(), self._parts[name]
        self._parts[name] = Seconds(before.cpu + ended.cpu - started.cpu, before.wall + ended.wall - started.wall)

    def take(self) -> dict[str, Seconds]:
        """Return the parts since the last call."""
        parts, self._parts = dict(self._parts), defaultdict(lambda: Seconds(0.0, 0.0))
        return parts

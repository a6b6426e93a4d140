"""Rollouts that are given up between two decoding steps, because their run is to end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_asked: ContextVar[Callable[[], bool] | None] = ContextVar("asked", default=None)


class AbandonedError(RuntimeError):
    """A rollout was given up; nothing of it is kept, and the policy is as it was before."""


@contextmanager
def abandoned_if(asked: Callable[[], bool]) -> Iterator[None]:
    """Let rollouts within this context be given up, on this rank alone, as soon as ``asked`` returns True."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def check_abandoned() -> None:
    """Give up the rollout in hand if that is asked for; an engine may call it wherever no other rank waits for it.

    Raises:
        AbandonedError: It is.

    Example:
        >>> check_abandoned()
        >>> with abandoned_if(lambda: True):
        ...     check_abandoned()
        Traceback (most recent call last):
        mapo.rollout.abandoning.AbandonedError: the rollout was given up, since the run is to end
    """
    asked = _asked.get()
    if asked is not None and asked():
        raise AbandonedError("the rollout was given up, since the run is to end")

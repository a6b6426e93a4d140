"""How far a long piece of work is, told to whoever watches; the work itself need not know who does."""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Watcher = Callable[[str, int, int], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def watch_stages(watcher: Watcher | None) -> None:
    """Have ``watcher(what, done, total)`` called for all that ``tell_stage`` says from now on; None to end that."""
    _watcher.set(watcher)


def tell_stage(what: str, done: int, total: int) -> None:
    """Say how much of ``what`` is done; cheap enough for every decoding step and every micro-batch.

    Example:
        >>> tell_stage("sampled completions", 1, 8)  # nobody watches
        >>> watch_stages(lambda what, done, total: print(f"{done} of {total} {what}"))
        >>> tell_stage("sampled completions", 2, 8)
        2 of 8 sampled completions
        >>> watch_stages(None)
    """
    watcher = _watcher.get()
    if watcher is not None:
        watcher(what, done, total)


def told(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items, and say before each how many of them are done.

    Example:
        >>> watch_stages(lambda what, done, total: print(f"{done} of {total} {what}"))
        >>> list(told("ab", "letters"))
        0 of 2 letters
        1 of 2 letters
        ['a', 'b']
        >>> watch_stages(None)
    """
    for done, item in enumerate(items):
        tell_stage(what, done, len(items))
        yield item

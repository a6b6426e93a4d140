"""Values of all ranks, and this process's place among them."""

from typing import TypeVar

from torch import distributed

T = TypeVar("T")


def is_rank_zero() -> bool:
    """Return whether this process is the first one, or the only one."""
    return not _is_distributed() or distributed.get_rank() == 0


def gather(value: T) -> list[T]:
    """Return the value of every rank, in their order; every rank must call it.

    Example:
        >>> gather(3)
        [3]
    """
    if not _is_distributed():
        return [value]
    values: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return [item for item in values if item is not None]


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()

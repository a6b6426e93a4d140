"""What vLLM changes in the process it runs in, kept apart from the rest of that process."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import distributed


class Enclosure:
    """Lets vLLM have the environment it wants, and gives the rest of the process back what it had.

    vLLM seeds the global generators and draws from them, replaces ``torch.set_num_threads`` by a function that does
    nothing, and sets variables that later worker processes would inherit, ``LD_PRELOAD`` and ``LOCAL_WORLD_SIZE`` among
    them. They come back whenever vLLM runs again.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the variables that vLLM is to see in addition."""
        self._theirs: dict[str, str] = dict(environment)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within this context the process is vLLM's."""
        ours, set_num_threads = dict(os.environ), torch.set_num_threads
        os.environ.update(self._theirs)
        kept = ExitStack()
        kept.enter_context(isolate_rng())  # which by itself would restore nothing after an exception
        # vLLM asks for the descriptors of both, which those of notebooks and of captured output lack.
        kept.enter_context(redirect_stdout(_with_descriptor(sys.stdout, sys.__stdout__)))
        kept.enter_context(redirect_stderr(_with_descriptor(sys.stderr, sys.__stderr__)))
        try:
            yield
        finally:
            kept.close()
            self._theirs = {name: value for name, value in os.environ.items() if ours.get(name) != value}
            for name in self._theirs:
                os.environ.pop(name)
            os.environ.update(ours)
            torch.set_num_threads = set_num_threads


def rank_environment() -> dict[str, str]:
    """Return the variables by which an engine in every rank finds its place in the ranks' process group."""
    if not _has_group() or distributed.get_world_size() == 1:
        return {}
    rank, local = distributed.get_rank(), torch.cuda.current_device() if torch.cuda.is_available() else 0
    return {
        "RANK": str(rank),
        "LOCAL_RANK": os.environ.get("LOCAL_RANK", str(local)),
        "WORLD_SIZE": str(distributed.get_world_size()),
    }


@contextmanager
def group_kept() -> Iterator[None]:
    """Within this context vLLM forgets the process group that it found, instead of destroying it for all."""
    from vllm.distributed import parallel_state

    destroy = parallel_state.destroy_distributed_environment

    def forget() -> None:
        if parallel_state._WORLD is not None:
            parallel_state._WORLD.destroy()
        parallel_state._WORLD = parallel_state._NODE_COUNT = None

    parallel_state.destroy_distributed_environment = forget
    try:
        yield
    finally:
        parallel_state.destroy_distributed_environment = destroy


def shut_down(llm: Any, *, keep_group: bool) -> None:
    """Free an engine's memory.

    Args:
        llm: A ``vllm.LLM`` in this process.
        keep_group: Whether the process group was there before the engine.
    """
    core = llm.llm_engine.engine_core
    if not keep_group:
        core.shutdown()
        return
    with group_kept():
        core.shutdown()


def _with_descriptor(stream: TextIO, first: TextIO | None) -> TextIO:
    """Return the stream, or the process's first one where it is none of the system's."""
    try:
        stream.fileno()
    except OSError:
        return stream if first is None else first
    return stream


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()

"""A rank that fails tells the others why, and they stop instead of waiting for it."""

import itertools
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed
from typing_extensions import override

_INTERVAL = 1.0  # seconds between two looks
_HEARD = (
    10.0  # seconds that a failed rank stays for the others to hear why; it may be their meeting point that ends with it
)
_GRACE = 60.0  # seconds that a rank has to end by itself

_runs = itertools.count()  # the same on every rank: all of them start every fit and validation


class RankFailureError(ConnectionError):
    """Another rank of this run has failed; the message names it and says why."""


class RankWatch(Callback):
    """Writes why this rank failed where the ranks first met, and looks there for the failure of another one.

    The first failure counts: that others lose their connection is a consequence of it. A rank that hears of one breaks
    off what it does, whether it samples, waits for rewards or for other ranks, and its run ends with
    ``RankFailureError``. Where it waits inside an operation that cannot be broken off, as NCCL's, the process is ended.
    """

    def __init__(self) -> None:
        self._store: Any = None  # a torch.distributed.Store, whose type is not public
        self._rank, self._others, self._key = 0, 0, ""
        self._over = threading.Event()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and distributed.is_available() and distributed.is_initialized():
            store: Any = distributed.distributed_c10d._get_default_store()
            # A connection of its own, since another thread of this process may wait at the first one.
            self.watch(store.clone(), rank=trainer.global_rank, world_size=trainer.world_size, run=next(_runs))

    def watch(self, store: Any, *, rank: int, world_size: int, run: int) -> None:
        """Look for failures until ``teardown``.

        Args:
            store: Shared by all ranks.
            rank: Of this process.
            world_size: Number of ranks.
            run: The same number on every rank, another one for every run.
        """
        self.teardown_watch()
        self._store, self._rank, self._others = store, rank, world_size - 1
        self._key, self._over = f"mapo/failure/{run}", threading.Event()
        threading.Thread(target=self._look, args=(self._over,), daemon=True, name="mapo-rank-watch").start()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, SystemExit):  # as after SIGTERM, which all ranks obey together
            self.report(exception)

    def report(self, exception: BaseException) -> None:
        """Tell the others why this rank fails.

        Raises:
            RankFailureError: Another one has failed before.
        """
        if self._store is None:
            return
        self._over.set()
        text = f"rank {self._rank} ({socket.gethostname()}) failed: {type(exception).__name__}: {exception}"
        try:
            first = self._store.compare_set(self._key, "", text).decode()
            if first == text:
                self._wait_until_heard()
                return
        except RuntimeError:  # the process that kept the store has ended
            return
        raise RankFailureError(f"rank {self._rank} stops, because {first}") from exception

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.teardown_watch()

    def teardown_watch(self) -> None:
        """Look no longer."""
        self._over.set()
        self._store = None

    def _look(self, over: threading.Event) -> None:
        store = self._store
        while store is not None and not over.wait(_INTERVAL):
            try:
                if store.check([self._key]):
                    store.add(f"{self._key}/heard", 1)
                    self._stop(store.get(self._key).decode(), over)
                    return
            except RuntimeError:  # the process that kept the store has ended: it was told of, or nothing is wrong
                return

    def _stop(self, reason: str, over: threading.Event) -> None:
        sys.stderr.write(f"mapo: rank {self._rank} stops, because {reason}\n")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not over.wait(_GRACE):
            os._exit(1)

    def _wait_until_heard(self) -> None:
        deadline = time.monotonic() + _HEARD
        while self._store.add(f"{self._key}/heard", 0) < self._others and time.monotonic() < deadline:
            time.sleep(_INTERVAL / 10)

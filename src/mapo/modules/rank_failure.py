"""A rank that fails, dies or hangs ends the run with its name, instead of having the others wait for it."""

import itertools
import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed
from typing_extensions import override

from mapo.modules.rank_beats import Beats, Still, current_wait, describe

_INTERVAL = 1.0  # seconds between two looks
_HEARD = (
    10.0  # seconds that a failed rank stays for the others to hear why; it may be their meeting point that ends with it
)
_TOLD = 2.0  # seconds that it stays where it fails because of another
_GRACE = 60.0  # seconds that a rank has to end by itself
_SILENCE = 300.0  # seconds without a sign of life after which a rank counts as lost
_SHARE = 0.8  # of the process group's time limit: past it the process is ended, with no word of whom it waited for
_LOOKS = 4  # after a lost connection: a rank without a sign of life in that time was at the other end

_runs = itertools.count()  # the same on every rank: all of them start every fit and validation


class RankFailureError(ConnectionError):
    """Another rank of this run has failed; the message names it and says why."""


class RankWatch(Callback):
    """Tells the other ranks why this one failed, and finds out which of them failed, died or hangs.

    Every rank leaves a sign of life where the ranks first met, and why it failed if it does. The first failure counts:
    that others lose their connection is a consequence of it. A rank has failed for the others, too, when

    - it gives no sign of life after another one has lost a connection,
    - it has given none for 5 minutes (four fifths of the strategy's ``timeout``, if that is shorter),
    - another one has waited for it for four fifths of the strategy's ``timeout``.

    A rank that hears of a failure breaks off what it does, whether it samples, waits for rewards or for other ranks,
    and its run ends with ``RankFailureError``. Where it waits inside an operation that cannot be broken off, as NCCL's,
    the process is ended.
    """

    def __init__(self) -> None:
        self._store: Any = None  # a torch.distributed.Store, whose type is not public
        self._beats: Beats | None = None
        self._rank, self._key, self._patience, self._reason = 0, "", 0.0, ""
        self._rounds = 0  # in which the store answered
        # The first is set once this rank needs no word of others any more, the second once it has told its own.
        self._over, self._ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and distributed.is_available() and distributed.is_initialized():
            store: Any = distributed.distributed_c10d._get_default_store()
            limit: timedelta = getattr(trainer.strategy, "_timeout", None) or distributed.default_pg_timeout
            ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size, "run": next(_runs)}
            # A connection of its own, since another thread of this process may wait at the first one.
            self.watch(store.clone(), **ranks, timeout_s=limit.total_seconds())

    def watch(self, store: Any, *, rank: int, world_size: int, run: int, timeout_s: float = 1800.0) -> None:
        """Look for failures until ``teardown``.

        Args:
            store: Shared by all ranks.
            rank: Of this process.
            world_size: Number of ranks.
            run: The same number on every rank, another one for every run.
            timeout_s: How long ranks wait for each other.
        """
        self.teardown_watch()
        self._store, self._rank, self._key = store, rank, f"mapo/failure/{run}"
        self._beats = Beats(store, rank=rank, world_size=world_size, run=run)
        self._patience, self._reason = _SHARE * timeout_s, ""
        self._over, self._ended = threading.Event(), threading.Event()
        looks = (self._look, (store, self._beats, self._over)), (self._guard, (self._ended,))
        self._threads = [threading.Thread(target=f, args=a, daemon=True, name="mapo-rank-watch") for f, a in looks]
        for thread in self._threads:
            thread.start()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SystemExit):  # as after SIGTERM, which all ranks obey together
            self.teardown_watch()
            return
        if self._store is None:  # it fails before its set-up, over its data
            self.setup(trainer, pl_module, "")
        self.report(exception)

    def report(self, exception: BaseException) -> None:
        """Tell the others why this rank fails.

        Raises:
            RankFailureError: Another one has failed before.
        """
        if self._store is None or self._beats is None:
            return
        self._over.set()
        # What torch raises for a lost connection does not say to whom.
        lost = isinstance(exception, RuntimeError)
        try:
            first = self._claim(exception, self._reason or (self._gone(self._beats) if lost else ""))
        except RuntimeError:  # the process that kept the store has ended
            met = "rank 0 or its launcher, where the ranks had met, has ended without a word"
            first = self._reason or (met if lost else "")
        finally:
            self._join()
        if first:
            raise RankFailureError(f"rank {self._rank} stops, because {first}") from exception

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.teardown_watch()

    def teardown_watch(self) -> None:
        """Look no longer."""
        self._join()
        self._store = self._beats = None

    def _join(self) -> None:
        """End the threads: the others learn that this rank has left, and none is in the store as the process ends.

        One that is there when Python finalizes is unwound through C++ frames, which aborts the process.
        """
        self._over.set()
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=_HEARD)
        self._threads = []

    def _claim(self, exception: BaseException, because: str) -> str:
        """Say why this rank fails, or because of whom; return what was said first, unless it fails by itself."""
        own = f"rank {self._rank} ({socket.gethostname()}) failed: {type(exception).__name__}: {exception}"
        first: str = self._store.compare_set(self._key, "", because or own).decode()
        self._wait_until_heard(_HEARD if first == own else _TOLD)
        return "" if first == own else first

    def _gone(self, beats: Beats) -> str:
        """Return which ranks give no sign of life; nothing as soon as one has said why it fails."""
        before = beats.read(beats.others)
        for _ in range(_LOOKS):
            if self._store.check([self._key]):
                return ""
            time.sleep(_INTERVAL)
            self._rounds += 1
        now = beats.read(beats.others)
        still = [describe(rank, beat) for rank, beat in now.items() if beat == before[rank] and not beats.left(beat)]
        return f"{' and '.join(still)}, gives no sign of life: killed, stopped or cut off" if still else ""

    def _look(self, store: Any, beats: Beats, over: threading.Event) -> None:
        neighbour, own_wait = Still(), Still()
        try:
            while not over.wait(_INTERVAL):
                beats.give()
                if store.check([self._key]):
                    store.add(f"{self._key}/heard", 1)
                    self._stop(store.get(self._key).decode())
                    return
                if failure := self._lost(beats, neighbour) or self._late(beats, own_wait):
                    store.compare_set(self._key, "", failure)
                self._rounds += 1
            beats.leave()
        except RuntimeError:  # the process that kept the store has ended: it was told of, or the guard finds it
            return

    def _lost(self, beats: Beats, still: Still) -> str:
        """Return whether the next rank has given no sign of life for too long; each is looked after by one other."""
        beat = beats.read([beats.next])[beats.next]
        seconds = still.look(beat) * _INTERVAL
        if beat is None or beats.left(beat) or seconds <= min(_SILENCE, self._patience):
            return ""
        name = describe(beats.next, beat)
        return f"{name}, has given no sign of life for {seconds:.0f} s: killed, stopped or cut off"

    def _late(self, beats: Beats, still: Still) -> str:
        """Return for whom this rank has waited too long: those that do not wait themselves."""
        wait = current_wait()
        seconds = still.look(wait) * _INTERVAL
        if wait is None or seconds < self._patience:
            return ""
        late = {rank: beat for rank, beat in beats.read(beats.others).items() if beat is None or not beat.waits}
        names = [describe(rank, beat) for rank, beat in late.items() if not beats.left(beat)]
        if not names:
            return ""
        advice = "raise timeout of trainer.strategy if it is only slow"
        return f"{' and '.join(names)}, has had others wait for {seconds:.0f} s ({advice})"

    def _guard(self, ended: threading.Event) -> None:
        """End a process whose look has no answer: the other end of the store has ended or stands still."""
        still = Still()
        while not ended.wait(_INTERVAL):
            seconds = still.look(self._rounds) * _INTERVAL
            if seconds > min(_SILENCE, self._patience):
                self._stop(f"rank 0 or its launcher, where the ranks met, has not answered for {seconds:.0f} s")
                return

    def _stop(self, reason: str) -> None:
        self._reason, over, ended = reason, self._over, self._ended
        sys.stderr.write(f"mapo: rank {self._rank} stops, because {reason}\n")
        if not over.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not ended.wait(_GRACE):
            os._exit(1)

    def _wait_until_heard(self, seconds: float) -> None:
        deadline, others = time.monotonic() + seconds, len(self._beats.others) if self._beats else 0
        while self._store.add(f"{self._key}/heard", 0) < others and time.monotonic() < deadline:
            time.sleep(_INTERVAL / 10)
            self._rounds += 1
